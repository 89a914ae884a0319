package main

import (
	"errors"
	"slices"
	"strings"
)

// mailboxSameKeyword compares keyword names, which are the same in any case
// (RFC 9051, section 2.3.2).
func mailboxSameKeyword(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

// keywordFlags gives the bits of keyword names, adding those the folder does not
// have yet; errMailboxKeywords when there is no room. Who may not set keywords adds none.
func (v *mailboxView) keywordFlags(names []string) (flags mailboxFlags, err error) {
	if !v.may(mailboxRightWrite) {
		return v.knownKeywordFlags(names), nil
	}
	err = v.peek(func() error { flags, err = v.mb.keywordFlags(names, true); return err })
	return flags, err
}

// knownKeywordFlags is keywordFlags without adding: what no message here can have is
// left out. For SEARCH and for removing flags.
func (v *mailboxView) knownKeywordFlags(names []string) (flags mailboxFlags) {
	v.peek(func() error { flags, _ = v.mb.keywordFlags(names, false); return nil })
	return flags
}

// keywordsFull tells that no further keyword can be added.
func (v *mailboxView) keywordsFull() (full bool) {
	v.peek(func() error {
		full = len(v.mb.keywords) >= maildirKeywords && !slices.Contains(v.mb.keywords, "")
		return nil
	})
	return full
}

func (mb *mailbox) keywordFlags(names []string, add bool) (flags mailboxFlags, err error) {
	if add && !mb.keywordsFit(names) {
		return 0, errMailboxKeywords
	}
	for _, name := range names {
		if mailboxSameKeyword(name, "$Forwarded") {
			flags |= mailboxFlagForwarded
		}
		bit, err := mb.keywordBit(name, add)
		if errors.Is(err, errMaildirKeywordsFull) && flags&mailboxFlagForwarded != 0 {
			continue // the letter P is enough
		} else if err != nil {
			return 0, err
		}
		if bit != mb.forwarded {
			flags |= mailboxFlags(bit)
		}
	}
	return flags, nil
}

// keywordsFit tells whether there is room for those of names that are new. A number that is
// given is never free again, so names are added all or none.
func (mb *mailbox) keywordsFit(names []string) bool {
	known := slices.DeleteFunc(slices.Clone(mb.keywords), func(name string) bool { return name == "" })
	for _, name := range names {
		if mailboxSameKeyword(name, "$Forwarded") ||
			slices.ContainsFunc(known, func(k string) bool { return mailboxSameKeyword(k, name) }) {
			continue
		}
		if known = append(known, name); len(known) > maildirKeywords {
			return false
		}
	}
	return true
}

// keywordBit gives a keyword's bit in file names, 0 if it has none and add is
// false.
func (mb *mailbox) keywordBit(name string, add bool) (maildirFlags, error) {
	for i, known := range mb.keywords {
		if mailboxSameKeyword(known, name) {
			return 1 << (maildirKeyword0 + i), nil
		}
	}
	if !add {
		return 0, nil
	}
	i, err := mb.md.addKeyword(name)
	if err != nil {
		return 0, err
	}
	if err := mb.refreshKeywords(); err != nil {
		return 0, err
	}
	return 1 << (maildirKeyword0 + i), nil
}
