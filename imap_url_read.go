package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reading what a URL stands for. It is what FETCH BODY.PEEK[section]<partial> would give, and changes nothing.

// imapURLReader reads messages by URLs, one after the other. It keeps the mailbox and the message that it has read last.
type imapURLReader struct {
	tree *mailboxAccess
	view *mailboxView // nil at first
	body imapBody
	last imapTree
}

func (r *imapURLReader) close() {
	r.body.reset(nil, 0, nil, nil)
	r.last = imapTree{} // another folder's message may have the same UID and size
	if r.view != nil {
		r.view.close()
		r.view = nil
	}
}

// open gives what a URL of the user whose tree it is stands for, in a folder. errImapURL if there is nothing.
func (r *imapURLReader) open(u *imapURL, folder string) (io.Reader, error) {
	if r.view == nil || r.view.name() != folder {
		r.close()
		view, err := r.tree.view(folder, true, nil)
		if errors.Is(err, errMailboxNotFound) || errors.Is(err, errMailboxName) || errors.Is(err, errMailboxRights) {
			return nil, errImapURL
		} else if err != nil {
			return nil, err
		}
		r.view = view
	}
	if u.validity != 0 && u.validity != r.view.uidValidity() {
		return nil, errImapURL
	}
	if r.body.view != r.view || r.body.uid != u.uid {
		r.body.reset(r.view, u.uid, nil, &r.last)
	}
	text, err := r.body.section(&u.section, u.partial)
	if errors.Is(err, errMailboxExpunged) || errors.Is(err, errMailboxGone) {
		return nil, errImapURL
	}
	return text, err
}

// section reads a section in wire form, or a part of it. errImapURL if there is no such section.
func (b *imapBody) section(sec *imapSection, partial *imapPartial) (io.Reader, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	if len(sec.path) > 0 {
		if p, err := b.part(sec); err != nil {
			return nil, err
		} else if p == nil {
			return nil, errImapURL
		}
	}
	if sec.what == imapSectionFields || sec.what == imapSectionFieldsNot {
		text, err := b.fields(nil, sec)
		start, count := partial.cut(int64(len(text)))
		return bytes.NewReader(text[start : start+count]), err
	}
	from, to, err := b.bounds(sec)
	if err != nil {
		return nil, err
	}
	whole := imapWhole{b.r, b.size}
	if b.summary == nil {
		b.summary = b.view.knownSummary(b.uid)
	}
	if b.plain() {
		start, count := partial.cut(to - from)
		return messageWire(whole, from+start, count), nil
	}
	text := messageWire(whole, from, to-from)
	if partial == nil {
		return text, nil
	}
	if _, err := io.CopyN(io.Discard, text, partial.start); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading a message: %w", err)
	}
	return io.LimitReader(text, partial.count), nil
}

// imapWhole is a message that has to be there to its end: one that another program cuts short meanwhile is an error, and
// not a shorter message, by which a client might replace it.
type imapWhole struct {
	r    io.ReaderAt
	size int64
}

func (w imapWhole) ReadAt(p []byte, off int64) (n int, err error) {
	n, err = w.r.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < w.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
