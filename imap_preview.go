package main

import "bytes"

// FETCH PREVIEW (RFC 8970). Previews are made when mail comes in and are kept with the
// summaries, so LAZY gives nearly all of them.

// readPreviewModifiers reads what may follow PREVIEW (RFC 8970, section 6), and adds what
// the item needs. Behind an item that stands alone, a list of other words is that of FETCH.
func (r *imapReader) readPreviewModifiers(items *imapFetchItems) error {
	lazy := bytes.HasPrefix(bytes.ToUpper(r.line[:min(len(r.line), len(" (LAZY"))]), []byte(" (LAZY"))
	if !lazy {
		items.preview, items.summary = true, true
		return nil
	}
	items.lazy = true
	r.take(' ')
	return r.readList(func() error {
		word, err := r.readWord()
		if err == nil && word != "LAZY" {
			err = imapBad("there is no such PREVIEW modifier")
		}
		return err
	})
}

// preview writes a preview. Only LAZY lets it be NIL (RFC 8970, section 3.2).
func (f *imapFetch) preview(summary *messageSummary) error {
	switch {
	case summary != nil && summary.previewed:
		f.out = f.appendText(summary.preview)
	case f.items.preview:
		return errImapNoSummary
	default:
		f.out = append(f.out, "NIL"...)
	}
	return nil
}

// appendText appends a text in UTF-8. Such text stands in quotes only for a client that has
// enabled it (RFC 6855, section 3; RFC 9051, section 4.3); the others get it as a literal.
func (f *imapFetch) appendText(text []byte) []byte {
	if !f.utf8 && bytes.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
		return imapAppendLiteral(f.out, string(text))
	}
	return imapAppendString(f.out, string(text))
}
