package main

import "strings"

// OBJECTID (RFC 8474). The letters before the identifiers keep the three kinds apart, and keep
// them from looking like numbers (section 8.1).

func imapMailboxID(id string) string { return "F" + id }
func imapEmailID(id string) string   { return "M" + id }

// imapThreadID is computed from the message alone, so it never changes, and is the same in all
// folders and for all copies (RFC 8474, section 5.2). A message that names no message, not even
// itself, is a thread of its own.
func imapThreadID(contentID string, summary *messageSummary) string {
	if id := messageThreadID(summary.header); id != "" {
		return "T" + id
	}
	return "T" + contentID
}

// imapIsObjectID tells whether text is an objectid (RFC 8474, section 7).
func imapIsObjectID(text string) bool {
	return len(text) >= 1 && len(text) <= 255 && !strings.ContainsFunc(text, func(c rune) bool {
		return c != '_' && c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	})
}

// appendObjectID appends EMAILID's or THREADID's value.
func (f *imapFetch) appendObjectID(kind imapFetchKind, uid uint32, summary *messageSummary) error {
	id, err := f.view.contentID(uid)
	switch {
	case err != nil:
		return err
	case kind == imapFetchEmailID:
		id = imapEmailID(id)
	case summary == nil:
		return errImapNoSummary
	default:
		id = imapThreadID(id, summary)
	}
	f.out = append(append(append(f.out, '('), id...), ')')
	return nil
}

// hasObjectID holds EMAILID or THREADID against the message. One that is gone does not match.
func (m *imapSearchMessage) hasObjectID(k *imapSearchKey) imapMaybe {
	id, err := m.search.view.contentID(m.uid)
	if err != nil {
		return imapNever
	}
	if k.kind == imapSearchEmailID {
		return imapSay(imapEmailID(id) == k.text)
	}
	return imapSay(imapThreadID(id, m.summary) == k.text)
}

// readObjectID reads the argument of EMAILID or THREADID.
func (p *imapSearchParser) readObjectID(name string) (key imapSearchKey, err error) {
	if key.kind = imapSearchEmailID; name == "THREADID" {
		key.kind = imapSearchThreadID
	}
	if key.text, err = p.r.readAtom(); err == nil && !imapIsObjectID(key.text) {
		err = imapBad("not an identifier: " + key.text)
	}
	return key, err
}
