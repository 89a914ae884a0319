package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"
)

// APPEND (RFC 9051, section 6.3.12). The message goes from the connection to tmp/ as it
// comes, never into memory.

// imapAppend is what an APPEND says before the message.
type imapAppend struct {
	folder string
	flags  mailboxAppendFlags
	date   time.Time
	size   int64
	sync   bool // the client waits to be asked for the literal
	utf8   bool // the literal stands in "UTF8 (~{...})" (RFC 6855, section 4)
}

func (s *imapSession) cmdAppend() error {
	a, err := s.readAppend()
	if err != nil {
		return err
	}
	draft, err := s.startAppend(a)
	if err != nil {
		return err
	}
	if err := s.r.acceptLiteral(a.sync); err != nil {
		draft.abort()
		return err
	}
	writeErr := s.receive(draft, a.size)
	if s.r.broken == nil && writeErr == nil {
		writeErr = s.readAppendEnd(a)
	}
	if err := writeErr; err != nil {
		draft.abort()
		return err
	}
	if err := draft.finish(a.date); err != nil {
		draft.abort()
		return err
	}
	validity, uids, err := mailboxAppend([]*mailboxDraft{draft}, []mailboxAppendFlags{a.flags})
	if err != nil {
		return err
	}
	return imapOK{fmt.Sprintf("APPENDUID %d %d", validity, uids[0]), "APPEND completed"} // RFC 4315, section 3
}

// readAppend reads all up to the literal.
func (s *imapSession) readAppend() (*imapAppend, error) {
	a := &imapAppend{date: time.Now()}
	if err := s.r.readSpace(); err != nil {
		return nil, err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return nil, err
	}
	if err := s.r.readSpace(); err != nil {
		return nil, err
	}
	if s.r.peek() == '(' {
		if a.flags.flags, a.flags.keywords, err = s.r.readFlags(); err != nil {
			return nil, err
		}
		if err := s.r.readSpace(); err != nil {
			return nil, err
		}
	}
	if s.r.peek() == '"' {
		if a.date, err = s.r.readDateTime(); err != nil {
			return nil, err
		}
		if err := s.r.readSpace(); err != nil {
			return nil, err
		}
	}
	if s.r.peek() == 'U' || s.r.peek() == 'u' {
		if word, err := s.r.readWord(); err != nil || word != "UTF8" {
			return nil, imapBad("a message is missing")
		}
		if !s.r.take(' ') || !s.r.take('(') || s.r.peek() != '~' {
			return nil, imapBad("UTF8 (~{size} is missing")
		}
		a.utf8 = true
	}
	s.r.take('~') // literal8: the message may hold NULs (RFC 3516, section 4.4)
	if a.size, a.sync, err = s.r.readLiteralHead(); err != nil {
		return nil, err
	}
	a.folder, err = s.folder(name)
	return a, err
}

// startAppend refuses what cannot be taken before the client sends it.
func (s *imapSession) startAppend(a *imapAppend) (*mailboxDraft, error) {
	switch {
	case a.utf8 && !s.utf8:
		return nil, imapBad("ENABLE UTF8=ACCEPT comes before UTF8") // RFC 6855, section 4
	case a.size > s.door.appendLimit:
		return nil, imapNo{imap.ResponseCodeTooBig, fmt.Sprintf("messages here have at most %d bytes", s.door.appendLimit)} // RFC 7889, section 4
	case a.size == 0:
		return nil, imapNo{imap.ResponseCodeCannot, "a message has at least one byte"}
	}
	draft, err := s.tree.draft(a.folder)
	if errors.Is(err, errMailboxNotFound) {
		return nil, imapNo{imap.ResponseCodeTryCreate, "there is no such mailbox"} // RFC 9051, section 6.3.12
	}
	return draft, err
}

// receive copies the literal into the draft. When that fails for a reason of ours,
// the rest of the literal is read nevertheless, so that the session can go on.
func (s *imapSession) receive(draft *mailboxDraft, size int64) error {
	var writeErr error
	for size > 0 {
		if err := s.r.flushBeforeWait(); err != nil {
			return err
		}
		chunk, err := s.c.peek()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return s.r.fail(err)
		}
		chunk = chunk[:min(int64(len(chunk)), size)]
		if writeErr == nil {
			_, writeErr = draft.Write(chunk)
		}
		s.c.discard(len(chunk))
		size -= int64(len(chunk))
	}
	if err := s.r.afterLiteral(); err != nil {
		return err
	}
	return writeErr
}

// readAppendEnd reads what follows the message.
func (s *imapSession) readAppendEnd(a *imapAppend) error {
	if a.utf8 && !s.r.take(')') {
		return imapBad("UTF8 ( does not end")
	}
	return s.r.readEnd()
}
