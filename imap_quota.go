package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// GETQUOTA and GETQUOTAROOT (RFC 9208). A user who has limits has one quota root, which all
// folders share; what is in a shared folder counts for its owner. Limits come from the configuration alone, so there is no SETQUOTA.

// imapQuotaRoot begins the name of a quota root. The user's name follows.
const imapQuotaRoot = "#user/"

func (s *imapSession) cmdGetQuota() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	root, err := s.r.readAstring()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	user, ok := strings.CutPrefix(root, imapQuotaRoot)
	var limits, used mailboxQuota
	if ok {
		limits, used, err = s.tree.usageOf(user)
	}
	if !ok || errors.Is(err, errMailboxNotFound) || err == nil && limits == (mailboxQuota{}) { // of others only what GETQUOTAROOT tells (RFC 9208, section 8)
		return imapNo{imap.ResponseCodeNonExistent, "there is no such quota root"}
	} else if err != nil {
		return err
	}
	s.tellQuota(user, limits, used)
	return nil
}

// cmdGetQuotaRoot takes names of own mailboxes that do not exist, too.
func (s *imapSession) cmdGetQuotaRoot() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	folder, err := s.folder(name)
	if err != nil {
		return err
	}
	owner, limits, used, err := s.tree.usage(folder)
	if err != nil {
		return err
	}
	out := s.appendName([]byte("* QUOTAROOT "), s.clientName(folder))
	if limits == (mailboxQuota{}) { // RFC 9208, section 4.2.2: no root
		s.c.Write(append(out, "\r\n"...))
		return nil
	}
	s.c.Write(append(imapAppendAstring(append(out, ' '), imapQuotaRoot+owner), "\r\n"...))
	s.tellQuota(owner, limits, used)
	return nil
}

// tellQuota is the QUOTA response: what has no limit is not in it (RFC 9208, section 4.2.1).
func (s *imapSession) tellQuota(owner string, limits, used mailboxQuota) {
	const kib = 1024 // RFC 9208, section 5.1
	out := imapAppendAstring([]byte("* QUOTA "), imapQuotaRoot+owner)
	separator := " ("
	if limits.bytes > 0 {
		out = strconv.AppendInt(append(out, separator+"STORAGE "...), (used.bytes+kib-1)/kib, 10)
		out = strconv.AppendInt(append(out, ' '), limits.bytes/kib, 10)
		separator = " "
	}
	if limits.messages > 0 {
		out = strconv.AppendInt(append(out, separator+"MESSAGE "...), used.messages, 10)
		out = strconv.AppendInt(append(out, ' '), limits.messages, 10)
	}
	s.c.Write(append(out, ")\r\n"...))
}
