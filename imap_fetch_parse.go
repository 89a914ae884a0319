package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// What FETCH asks for (RFC 9051, section 9, fetch-att; RFC 3501 for the RFC822 items).

// imapFetchMacros stand alone and for several items (RFC 9051, section 6.4.5).
var imapFetchMacros = map[string][]imapFetchKind{
	"ALL":  {imapFetchFlags, imapFetchDate, imapFetchSize, imapFetchEnvelope},
	"FAST": {imapFetchFlags, imapFetchDate, imapFetchSize},
	"FULL": {imapFetchFlags, imapFetchDate, imapFetchSize, imapFetchEnvelope, imapFetchBody},
}

// imapFetchPlain are the items that are a single word.
var imapFetchPlain = map[string]imapFetchKind{
	"UID":           imapFetchUID,
	"FLAGS":         imapFetchFlags,
	"INTERNALDATE":  imapFetchDate,
	"RFC822.SIZE":   imapFetchSize,
	"MODSEQ":        imapFetchModSeq,
	"SAVEDATE":      imapFetchSaved,
	"EMAILID":       imapFetchEmailID,
	"ENVELOPE":      imapFetchEnvelope,
	"THREADID":      imapFetchThreadID,
	"PREVIEW":       imapFetchPreview,
	"BODY":          imapFetchBody,
	"BODYSTRUCTURE": imapFetchBodyStructure,
}

// imapFetchOld are RFC 3501's other names for sections; whether they set \Seen.
var imapFetchOld = map[string]struct {
	what imapSectionWhat
	seen bool
}{
	"RFC822":        {imapSectionAll, true},
	"RFC822.HEADER": {imapSectionHeader, false},
	"RFC822.TEXT":   {imapSectionText, true},
}

// readFetchItems reads all items or a macro. With byUID the UID is told whether it
// was asked for or not (RFC 9051, section 6.4.9).
func (r *imapReader) readFetchItems(byUID bool) (*imapFetchItems, error) {
	items := &imapFetchItems{}
	if byUID {
		items.add(imapFetchItem{kind: imapFetchUID, label: "UID "})
	}
	if !r.take('(') {
		name, err := r.readFetchName()
		if err != nil {
			return nil, err
		}
		if macro, ok := imapFetchMacros[name]; ok {
			for _, kind := range macro {
				items.addPlain(kind)
			}
		} else if err := r.readFetchItem(items, name); err != nil {
			return nil, err
		}
	} else {
		for {
			name, err := r.readFetchName()
			if err == nil {
				err = r.readFetchItem(items, name)
			}
			if err != nil {
				return nil, err
			}
			if r.take(')') {
				break
			}
			if err := r.readSpace(); err != nil {
				return nil, err
			}
		}
	}
	items.order()
	return items, nil
}

// readFetchName reads the word that an item begins with, in capitals.
func (r *imapReader) readFetchName() (string, error) {
	name := r.readWhile(func(c byte) bool { return imapIsLetter(c) || '0' <= c && c <= '9' || c == '.' })
	if name == "" {
		return "", imapBad("a FETCH item is missing")
	}
	return strings.ToUpper(name), nil
}

func imapIsLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// readFetchItem reads the rest of one item.
func (r *imapReader) readFetchItem(items *imapFetchItems, name string) error {
	if old, ok := imapFetchOld[name]; ok {
		items.add(imapFetchItem{kind: imapFetchSection, label: name + " ", section: imapSection{what: old.what}})
		items.seen = items.seen || old.seen
		return nil
	}
	if r.peek() != '[' {
		kind, ok := imapFetchPlain[name]
		if !ok {
			return imapBad("unknown FETCH item " + name)
		}
		items.addPlain(kind)
		if kind == imapFetchPreview {
			return r.readPreviewModifiers(items)
		}
		return nil
	}
	item := imapFetchItem{kind: imapFetchSection}
	base, peek := strings.CutSuffix(name, ".PEEK")
	switch {
	case base == "BODY":
	case base == "BINARY":
		item.kind = imapFetchBinary
	case name == "BINARY.SIZE":
		item.kind, base, peek = imapFetchBinarySize, name, true
	default:
		return imapBad("unknown FETCH item " + name)
	}
	section, err := r.readSection(&item.section)
	if err != nil {
		return err
	}
	item.label = base + section
	if item.kind != imapFetchSection && item.section.what != imapSectionAll {
		return imapBad("BINARY takes part numbers only") // RFC 9051, section 9, section-binary
	}
	if r.peek() == '<' && item.kind != imapFetchBinarySize {
		if item.partial, err = r.readPartial(); err != nil {
			return err
		}
		item.label += "<" + strconv.FormatInt(item.partial.start, 10) + ">"
	}
	item.label += " "
	items.add(item)
	items.seen = items.seen || !peek
	return nil
}

// readSection reads "[...]" and gives it as it is told to the client.
func (r *imapReader) readSection(sec *imapSection) (label string, err error) {
	r.take('[')
	label = "["
	for {
		digits := r.readWhile(func(c byte) bool { return '0' <= c && c <= '9' })
		if digits == "" {
			break
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		if err != nil { // no message has so many parts
			n = math.MaxInt32
		}
		if digits[0] == '0' {
			return "", imapBad("part numbers begin with 1")
		}
		sec.path = append(sec.path, int(n))
		label += digits
		if !r.take('.') {
			if !r.take(']') {
				return "", imapBad("a ] is missing")
			}
			return label + "]", nil
		}
		label += "."
	}
	word := strings.ToUpper(r.readWhile(func(c byte) bool { return imapIsLetter(c) || c == '.' }))
	label += word
	switch {
	case word == "" && len(sec.path) == 0:
	case word == "HEADER":
		sec.what = imapSectionHeader
	case word == "TEXT":
		sec.what = imapSectionText
	case word == "MIME" && len(sec.path) > 0:
		sec.what = imapSectionMIME
	case word == "HEADER.FIELDS" || word == "HEADER.FIELDS.NOT":
		if sec.what = imapSectionFields; word != "HEADER.FIELDS" {
			sec.what = imapSectionFieldsNot
		}
		names, err := r.readFieldNames(sec)
		if err != nil {
			return "", err
		}
		label += names
	default:
		return "", imapBad("not a section")
	}
	if !r.take(']') {
		return "", imapBad("a ] is missing")
	}
	return label + "]", nil
}

// readFieldNames reads the header-list of HEADER.FIELDS.
func (r *imapReader) readFieldNames(sec *imapSection) (label string, err error) {
	if err := r.readSpace(); err != nil {
		return "", err
	}
	if !r.take('(') {
		return "", imapBad("a list of header fields is missing")
	}
	text := []byte(" (")
	for {
		name, err := r.readAstring()
		if err != nil {
			return "", err
		}
		if name = strings.ToUpper(name); strings.ContainsFunc(name, func(c rune) bool { return c > 0x7e }) {
			return "", imapBad("no header field has such a name") // nor would an IMAP4rev1 client take it back in quotes
		}
		sec.names = append(sec.names, name)
		if len(sec.names) > 1 {
			text = append(text, ' ')
		}
		text = imapAppendAstring(text, name)
		if r.take(')') {
			return string(append(text, ')')), nil
		}
		if err := r.readSpace(); err != nil {
			return "", err
		}
	}
}

// readPartial reads "<start.count>". Without a count it is all that follows, as in
// Dovecot.
func (r *imapReader) readPartial() (*imapPartial, error) {
	r.take('<')
	p := &imapPartial{count: math.MaxInt64}
	var err error
	if p.start, err = r.readNumber64(); err != nil {
		return nil, err
	}
	if r.take('.') {
		if p.count, err = r.readNumber64(); err != nil {
			return nil, err
		}
	}
	if !r.take('>') {
		return nil, imapBad("a partial is <start.count>")
	}
	return p, nil
}

func (items *imapFetchItems) addPlain(kind imapFetchKind) {
	if slices.ContainsFunc(items.list, func(item imapFetchItem) bool { return item.kind == kind }) {
		return
	}
	for name, k := range imapFetchPlain {
		if k == kind {
			items.add(imapFetchItem{kind: kind, label: name + " "})
		}
	}
}

// add adds an item and notes what it will need.
func (items *imapFetchItems) add(item imapFetchItem) {
	items.list = append(items.list, item)
	switch item.kind {
	case imapFetchSize:
		items.size = true
	case imapFetchEnvelope, imapFetchBodyStructure, imapFetchThreadID:
		items.summary = true
	case imapFetchBody, imapFetchBinary, imapFetchBinarySize:
		items.files = true
	case imapFetchSection:
		sec := &items.list[len(items.list)-1].section
		sec.usual = len(sec.path) == 0 && sec.what == imapSectionFields && imapUsualFields(sec.names)
		items.files = items.files || !sec.usual
		items.whole = items.whole || len(sec.path) == 0 && sec.what == imapSectionAll
		if len(sec.path) == 0 && sec.what != imapSectionAll { // the header's end is in it, or the fields are
			items.summary = true
		}
	}
}

// order puts what is short first: a client sees the flags before the text.
func (items *imapFetchItems) order() {
	slices.SortStableFunc(items.list, func(a, b imapFetchItem) int {
		return min(int(a.kind), int(imapFetchEnvelope)) - min(int(b.kind), int(imapFetchEnvelope))
	})
}
