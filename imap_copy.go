package main

import (
	"errors"
	"strconv"
)

// COPY and MOVE, each also by UID (RFC 9051, sections 6.4.7, 6.4.8 and 6.4.9).

func (s *imapSession) cmdCopy() error { return s.transfer(s.selected.view.copy, false) }
func (s *imapSession) cmdMove() error { return s.transfer(s.selected.view.move, true) }

// transfer copies or moves messages. What a MOVE has taken away is told by the loop, as
// after every command that may tell it.
func (s *imapSession) transfer(do func(uids []uint32, to string) (mailboxCopied, error), move bool) error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	set, err := s.r.readSet()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	to, err := s.folder(name)
	if err != nil {
		return err
	}
	spans, err := s.selected.spans(set, s.byUID())
	if err != nil {
		return err
	}
	lowest := uint32(0)
	if move {
		spans, lowest = s.limit(spans)
	} else if err := s.limitCopy(spans); err != nil {
		return err
	}
	uids := spans.pick(s.selected.view.uids())
	if !s.byUID() && len(s.selected.view.messages(uids)) < len(uids) {
		return errMailboxExpunged // RFC 2180, section 4.4.1: all or nothing
	}
	progress := s.begins(len(uids), 1)
	view := s.selected.view
	view.copied = func() { progress.done.Add(1) }
	defer func() { view.copied = nil }()
	var copied mailboxCopied
	err = s.during(func() (err error) { copied, err = do(uids, to); return err })
	if errors.Is(err, errMailboxNotFound) {
		return s.noTarget(to)
	} else if err != nil {
		return err
	}
	s.lowest = lowest
	s.brought(name, copied.to)
	switch {
	case len(copied.from) == 0:
		return imapOK{"", "there are no such messages"}
	case !s.mayRead(name):
		return nil
	case move: // before the EXPUNGEs (RFC 6851, section 4.3)
		s.c.printf("* OK [%s] moved", imapCopyUID(copied))
		return nil
	}
	return imapOK{imapCopyUID(copied), s.name + " completed"}
}

// imapCopyUID is the response code COPYUID (RFC 4315, section 3).
func imapCopyUID(copied mailboxCopied) string {
	b := append([]byte(nil), "COPYUID "...)
	b = strconv.AppendUint(b, uint64(copied.uidValidity), 10)
	b = imapAppendSet(append(b, ' '), copied.from)
	b = imapAppendSet(append(b, ' '), copied.to)
	return string(b)
}
