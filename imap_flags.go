package main

import (
	"time"

	"github.com/emersion/go-imap/v2"
)

// imapAppendFlags appends a message's flags as a list.
func imapAppendFlags(dst []byte, flags mailboxFlags, recent bool, keywords []string) []byte {
	dst = append(dst, '(')
	start := len(dst)
	add := func(name string) {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, name...)
	}
	for _, flag := range imapFlags {
		if flags&flag.bit != 0 {
			add(string(flag.name))
		}
	}
	if recent {
		add(`\Recent`)
	}
	if flags&mailboxFlagForwarded != 0 {
		add("$Forwarded")
	}
	for i, name := range keywords {
		if name != "" && flags&(1<<(mailboxKeyword0+i)) != 0 {
			add(name)
		}
	}
	return append(dst, ')')
}

// imapFlags are the system flags (RFC 9051, section 2.3.2).
var imapFlags = []struct {
	name imap.Flag
	bit  mailboxFlags
}{
	{imap.FlagAnswered, mailboxFlagAnswered},
	{imap.FlagFlagged, mailboxFlagFlagged},
	{imap.FlagDeleted, mailboxFlagDeleted},
	{imap.FlagSeen, mailboxFlagSeen},
	{imap.FlagDraft, mailboxFlagDraft},
}

// imapAppendDate appends INTERNALDATE, in this machine's time zone.
func imapAppendDate(dst []byte, date int64) []byte {
	return time.Unix(date, 0).AppendFormat(dst, `"02-Jan-2006 15:04:05 -0700"`)
}
