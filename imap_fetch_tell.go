package main

import (
	"errors"
	"strconv"
)

// row writes one FETCH response. An item that cannot be told is left out.
func (f *imapFetch) row(seq int, m *mailboxMessage, body *imapBody, marked bool) error {
	defer body.close()
	start, given := len(f.out), f.given
	f.out = imapAppendFetch(f.out, seq, m.uid, f.uidOnly)
	first := true
	for i := range f.items.list {
		item := &f.items.list[i]
		if marked && item.kind >= imapFetchFlags {
			marked = false
			first = f.tellMarked(m, first)
		}
		mark, before := len(f.out), f.given
		f.separate(first)
		f.out = append(f.out, item.label...)
		err := f.item(item, m, body)
		if err == nil {
			first = false
			continue
		}
		if broken := (imapBrokenError{}); errors.As(err, &broken) || f.given != before {
			return err
		}
		f.fail(err)
		f.out = f.out[:mark]
	}
	if first && f.given == given {
		f.out = f.out[:start] // nothing could be told
		return nil
	}
	f.out = append(f.out, ")\r\n"...)
	return nil
}

// tellMarked tells that the flags of a message have changed, since it was read, as far as the
// items do not.
func (f *imapFetch) tellMarked(m *mailboxMessage, first bool) bool {
	if f.modSeqs && !f.uidOnly && !f.items.has(imapFetchUID) { // RFC 7162, section 3.2.4, as below
		f.separate(first)
		f.out = strconv.AppendUint(append(f.out, "UID "...), uint64(m.uid), 10)
		first = false
	}
	if !f.items.has(imapFetchFlags) {
		f.separate(first)
		f.out = append(f.out, "FLAGS "...)
		f.out, first = f.appendFlags(m), false
	}
	if f.modSeqs && !f.items.has(imapFetchModSeq) {
		f.separate(first)
		f.out = imapAppendModSeq(append(f.out, "MODSEQ "...), m.modSeq)
		first = false
	}
	return first
}

func (f *imapFetch) separate(first bool) {
	if !first {
		f.out = append(f.out, ' ')
	}
}

// item writes the value of one item.
func (f *imapFetch) item(item *imapFetchItem, m *mailboxMessage, body *imapBody) error {
	switch item.kind {
	case imapFetchUID:
		f.out = strconv.AppendUint(f.out, uint64(m.uid), 10)
	case imapFetchFlags:
		f.out = f.appendFlags(m)
	case imapFetchDate:
		if m.date < 0 {
			date, err := f.view.date(m.uid)
			if err != nil {
				return err
			}
			m.date = date.Unix()
		}
		f.out = imapAppendDate(f.out, m.date)
	case imapFetchSize:
		if m.size < 0 {
			size, err := f.view.size(m.uid)
			if err != nil {
				return err
			}
			m.size = size
		}
		f.out = strconv.AppendInt(f.out, m.size, 10)
	case imapFetchModSeq:
		f.out = imapAppendModSeq(f.out, m.modSeq)
	case imapFetchSaved:
		date, err := f.view.saved(m.uid)
		if err != nil {
			return err
		}
		f.out = imapAppendDate(f.out, date.Unix())
	case imapFetchEmailID, imapFetchThreadID:
		return f.appendObjectID(item.kind, m.uid, body.summary)
	case imapFetchEnvelope, imapFetchBodyStructure:
		if body.summary == nil {
			return errImapNoSummary
		}
		if item.kind == imapFetchEnvelope {
			f.out = append(f.out, body.summary.envelope...)
		} else {
			f.out = append(f.out, body.summary.bodyStructure...)
		}
	case imapFetchPreview:
		return f.preview(body.summary)
	case imapFetchBody:
		return f.structure(body)
	case imapFetchSection:
		return f.body(body, item)
	case imapFetchBinary:
		return f.binary(body, item)
	case imapFetchBinarySize:
		return f.binarySize(body, item)
	}
	return nil
}

// structure writes BODY, the structure without extension data.
func (f *imapFetch) structure(body *imapBody) error {
	root, err := body.tree()
	if err != nil {
		return err
	}
	out, err := messageAppendStructure(f.out, body.r, root, false)
	if err == nil {
		f.out = out
	}
	return err
}

func (f *imapFetch) appendFlags(m *mailboxMessage) []byte {
	return imapAppendFlags(f.out, m.flags, m.recent && !f.rev2, f.keywords)
}
