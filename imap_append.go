package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"
)

// APPEND (RFC 9051, section 6.3.12; RFC 3502) and REPLACE (RFC 8508). A message goes from the connection to tmp/ as it
// comes, never into memory.

// imapAppend is what an APPEND says before a message.
type imapAppend struct {
	flags    mailboxAppendFlags
	date     time.Time
	catenate bool // parts of the message follow (RFC 4469)
	text     imapAppendText
}

// imapAppendText is the head of a literal with a message, or with a part of one.
type imapAppendText struct {
	size int64
	sync bool // the client waits to be asked for the literal
	utf8 bool // the literal stands in "UTF8 (~{...})" (RFC 6855, section 4)
}

var errImapEmpty = imapNo{imap.ResponseCodeCannot, "a message has at least one byte"}

// imapAppendMost is how many messages one APPEND takes.
const imapAppendMost = 1000

// cmdAppend takes one message or several (RFC 3502), all or none.
func (s *imapSession) cmdAppend() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return err
	}
	var drafts []*mailboxDraft
	var flags []mailboxAppendFlags
	var sum mailboxQuota // of the messages before
	for len(drafts) == 0 || len(s.r.line) > 0 {
		var a *imapAppend
		var draft *mailboxDraft
		if err = s.limitAppend(len(drafts) + 1); err == nil {
			a, err = s.readAppend()
		}
		if err == nil {
			draft, err = s.appendOne(name, a, mailboxQuota{sum.bytes, sum.messages + 1})
		}
		if err != nil {
			break
		}
		drafts, flags = append(drafts, draft), append(flags, a.flags)
		sum = mailboxQuota{sum.bytes + draft.size(), sum.messages + 1}
	}
	if err != nil {
		for _, draft := range drafts {
			draft.abort()
		}
		return err
	}
	validity, uids, err := mailboxAppend(drafts, flags)
	if err != nil {
		return err
	}
	s.brought(name, uids)
	if !s.mayRead(name) {
		return nil
	}
	code := fmt.Appendf(nil, "APPENDUID %d ", validity) // RFC 4315, section 3
	return imapOK{string(imapAppendSet(code, uids)), "APPEND completed"}
}

// cmdReplace appends a message and then removes another, durably: a power cut leaves one of the
// two or both (RFC 8508).
func (s *imapSession) cmdReplace() error {
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
	if err != nil {
		return err
	}
	a, err := s.readAppend()
	if err != nil {
		return err
	}
	view := s.selected.view
	if len(set.ranges) != 1 || set.ranges[0].a != set.ranges[0].b {
		return imapBad("one message is replaced at a time")
	}
	old, err := s.selected.resolve(set, s.byUID())
	if err == nil {
		err = view.need(mailboxRightDeleted | mailboxRightExpunge) // RFC 8508, section 4.1
	}
	switch {
	case err != nil:
		return err
	case len(view.messages(old)) == 0:
		return imapNo{imap.ResponseCodeNonExistent, "there is no such message"}
	}
	base, err := s.replaceBase(name, old)
	if err != nil {
		return err
	}
	draft, err := s.appendOne(name, a, base)
	if err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		draft.abort()
		return err
	}
	validity, uids, err := mailboxAppend([]*mailboxDraft{draft}, []mailboxAppendFlags{a.flags})
	if err != nil {
		return err
	}
	s.brought(name, uids)
	if s.mayRead(name) {
		s.c.printf("* OK [APPENDUID %d %d] this replaces it", validity, uids[0]) // before the EXPUNGE (RFC 8508, section 4.3)
	}
	return view.remove(old)
}

// replaceBase is what there will be more in a mailbox's quota besides the bytes of a message that replaces others. What is replaced
// makes room (RFC 8508, section 3), but only for its own owner.
func (s *imapSession) replaceBase(name string, old []uint32) (base mailboxQuota, err error) {
	folder, err := s.folder(name)
	if err != nil {
		return base, err
	}
	if !s.selected.view.sharesQuota(folder) {
		return mailboxQuota{0, 1}, nil
	}
	replaced, err := s.selected.view.diskSizes(old)
	return mailboxQuota{-replaced.bytes, 0}, err
}

// mayRead tells whether the client may be told the UIDs of what it has brought into a mailbox: those of one that it cannot open
// would tell it how much mail comes there (RFC 9051, sections 6.3.12 and 7.1).
func (s *imapSession) mayRead(name string) bool {
	folder, err := s.folder(name)
	if err != nil {
		return false
	}
	rights, err := s.tree.rights(folder)
	return err == nil && rights&mailboxRightRead != 0
}

// readAppend reads all up to the literal, or to the first of several parts.
func (s *imapSession) readAppend() (a *imapAppend, err error) {
	a = &imapAppend{date: time.Now()}
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
	switch c := s.r.peek() | 0x20; {
	case c == 'c':
		if word, err := s.r.readWord(); err != nil || word != "CATENATE" || !s.r.take(' ') || !s.r.take('(') {
			return nil, imapBad("CATENATE ( is missing")
		}
		a.catenate = true
		return a, nil
	case c == 'u':
		if word, err := s.r.readWord(); err != nil || word != "UTF8" || !s.r.take(' ') {
			return nil, imapBad("a message is missing")
		}
		a.text, err = s.r.readAppendText(true)
	default:
		a.text, err = s.r.readAppendText(false)
	}
	return a, err
}

// readAppendText reads the head of a literal, with utf8 of one that stands in parentheses.
func (r *imapReader) readAppendText(utf8 bool) (text imapAppendText, err error) {
	if text.utf8 = utf8; utf8 && (!r.take('(') || r.peek() != '~') {
		return text, imapBad("UTF8 (~{size} is missing")
	}
	r.take('~') // literal8: the message may hold NULs (RFC 3516, section 4.4)
	text.size, text.sync, err = r.readLiteralHead()
	return text, err
}

// appendOne takes one message, up to D3; base is what there will be more besides. What cannot be taken is refused before the client
// sends it.
func (s *imapSession) appendOne(name string, a *imapAppend, base mailboxQuota) (*mailboxDraft, error) {
	folder, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	if !a.catenate {
		if err = s.mayTake(&a.text, 0); err == nil && a.text.size == 0 {
			err = errImapEmpty
		}
		if err != nil {
			return nil, err
		}
	}
	draft, err := s.tree.draft(folder)
	if errors.Is(err, errMailboxNotFound) {
		return nil, s.noTarget(folder)
	} else if err != nil {
		return nil, err
	}
	draft.by = s.listener()
	if a.catenate {
		err = s.catenate(draft, base)
	} else {
		err = s.take(draft, &a.text, base)
	}
	if err == nil && len(s.r.line) > 0 && s.r.peek() != ' ' {
		err = imapBad("too many arguments")
	}
	if err == nil {
		err = draft.finish(a.date)
	}
	if err != nil {
		draft.abort()
		return nil, err
	}
	return draft, nil
}

// mayTake refuses a literal that cannot be taken behind so many bytes of a message.
func (s *imapSession) mayTake(text *imapAppendText, before int64) error {
	if text.utf8 && !s.utf8 {
		return imapBad("ENABLE UTF8=ACCEPT comes before UTF8") // RFC 6855, section 4
	}
	if text.size > s.door.appendLimit-before {
		return s.tooBig()
	}
	return nil
}

// tooBig refuses a message (RFC 7889, section 4; RFC 4469, section 4.2).
func (s *imapSession) tooBig() error {
	return imapNo{imap.ResponseCodeTooBig, fmt.Sprintf("messages here have at most %d bytes", s.door.appendLimit)}
}

// take takes a literal, if there is room for it.
func (s *imapSession) take(draft *mailboxDraft, text *imapAppendText, base mailboxQuota) error {
	if err := draft.room(base.bytes+draft.size()+text.size, base.messages); err != nil {
		return err
	}
	if err := s.r.acceptLiteral(text.sync); err != nil {
		return err
	}
	if err := s.receive(draft, text.size); err != nil {
		return err
	}
	if text.utf8 && !s.r.take(')') {
		return imapBad("UTF8 ( does not end")
	}
	return nil
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
