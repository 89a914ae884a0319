package main

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208). A user who has limits has one quota root, which all
// folders share; what is in a shared folder counts for its owner. Limits come from the configuration, or are
// set by those whom it names.

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
	switch {
	case ok && s.setsQuotas() && s.door.auth.exists(user):
		limits, used, err = s.quotaOf(user)
	case ok:
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
	out := append(imapAppendAstring([]byte("* QUOTA "), imapQuotaRoot+owner), " ("...)
	if limits.bytes > 0 {
		out = strconv.AppendInt(append(out, "STORAGE "...), (used.bytes+imapQuotaUnit-1)/imapQuotaUnit, 10)
		out = strconv.AppendInt(append(out, ' '), limits.bytes/imapQuotaUnit, 10)
	}
	if limits.messages > 0 {
		if limits.bytes > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(append(out, "MESSAGE "...), used.messages, 10)
		out = strconv.AppendInt(append(out, ' '), limits.messages, 10)
	}
	s.c.Write(append(out, ")\r\n"...))
}

const imapQuotaUnit = 1024 // bytes; RFC 9208, section 5.1

// setsQuotas tells whether the user may set limits.
func (s *imapSession) setsQuotas() bool { return slices.Contains(s.door.quotaAdmins, s.user) }

// quotaOf is what any user may have and has.
func (s *imapSession) quotaOf(user string) (limits, used mailboxQuota, err error) {
	t, err := s.door.store.tree(user)
	if err != nil {
		return limits, used, err
	}
	return t.usage()
}

// cmdSetQuota sets the limits of a user. Those that are not given are none afterwards (RFC 9208, section 4.1.3).
func (s *imapSession) cmdSetQuota() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	root, err := s.r.readAstring()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	given := map[string]int64{}
	err = s.r.readList(func() error {
		resource, err := s.r.readWord()
		if err == nil {
			err = s.r.readSpace()
		}
		if err != nil {
			return err
		}
		if _, twice := given[resource]; twice || len(given) == imapQuotaResourcesMost {
			return imapBad("one limit of each kind is enough")
		}
		given[resource], err = s.r.readNumber64()
		return err
	})
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	if !s.setsQuotas() {
		return imapNo{imap.ResponseCodeNoPerm, "you may not set limits"}
	}
	user, ok := strings.CutPrefix(root, imapQuotaRoot)
	if !ok || !s.door.auth.exists(user) {
		return imapNo{imap.ResponseCodeNonExistent, "there is no such quota root"}
	}
	limits, err := imapQuotaLimits(given)
	if err != nil {
		return err
	}
	t, err := s.door.store.tree(user)
	if err != nil {
		return err
	}
	if err := t.setLimits(limits); errors.Is(err, errMailboxQuotaFixed) {
		return imapNo{imap.ResponseCodeCannot, errMailboxQuotaFixed.Error()}
	} else if err != nil {
		return err
	}
	logIMAPQuotaSet(s.c.log, s.user, user, limits.bytes, limits.messages)
	limits, used, err := t.usage()
	if err != nil {
		return err
	}
	s.tellQuota(user, limits, used)
	return nil
}

const imapQuotaResourcesMost = 10 // in one command

// imapQuotaLimits makes limits of what SETQUOTA has. 0, by which nothing would be allowed, stands here for no limit, so it cannot be set.
func imapQuotaLimits(given map[string]int64) (limits mailboxQuota, err error) {
	for resource, limit := range given {
		switch {
		case resource != "STORAGE" && resource != "MESSAGE":
			return limits, imapNo{imap.ResponseCodeCannot, "limits are of STORAGE and MESSAGE"}
		case limit == 0 || resource == "STORAGE" && limit > math.MaxInt64/imapQuotaUnit:
			return limits, imapNo{imap.ResponseCodeCannot, "a limit of this size cannot be set"}
		case resource == "STORAGE":
			limits.bytes = limit * imapQuotaUnit
		default:
			limits.messages = limit
		}
	}
	return limits, nil
}
