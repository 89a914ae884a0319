package main

import (
	"sort"
	"strconv"
	"strings"
)

// messageLexer reads the tokens of structured header fields (RFC 5322, section
// 3.2), as Dovecot does where they are broken. Comments are skipped; the last one is kept
// for old addresses, where it is a name.
type messageLexer struct {
	text    string
	comment string
	open    bool // a comment did not end
}

func (l *messageLexer) peek() byte {
	if l.text == "" {
		return 0
	}
	return l.text[0]
}

// space skips white space and comments. It tells whether anything is left.
func (l *messageLexer) space() bool {
	for l.text != "" {
		switch l.text[0] {
		case ' ', '\t', '\r', '\n':
			l.text = l.text[1:]
		case '(':
			if !l.skipComment() {
				return false
			}
		default:
			return true
		}
	}
	return false
}

// skipComment skips a comment; false if it does not end.
func (l *messageLexer) skipComment() bool {
	var out []byte
	depth := 0
	for i := 0; i < len(l.text); i++ {
		switch c := l.text[i]; c {
		case '(':
			if depth++; depth > 1 {
				out = append(out, c)
			}
		case ')':
			if depth--; depth == 0 {
				l.text, l.comment = l.text[i+1:], string(out)
				return true
			}
			out = append(out, c)
		case '\\':
			if i+1 < len(l.text) {
				i++
				out = append(out, l.text[i])
			}
		case '\r', '\n':
		default:
			out = append(out, c)
		}
	}
	l.text, l.open = "", true
	return false
}

// messageIsAtext is atext, 8-bit bytes included.
func messageIsAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// messageIsMIME is what a MIME token is made of (RFC 2045, section 5.1).
func messageIsMIME(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

func (l *messageLexer) while(is func(byte) bool) string {
	i := 0
	for i < len(l.text) && is(l.text[i]) {
		i++
	}
	s := l.text[:i]
	l.text = l.text[i:]
	return s
}

// quoted reads a quoted string, unquoted; false if it does not end.
func (l *messageLexer) quoted() (string, bool) {
	var out []byte
	for i := 1; i < len(l.text); i++ {
		switch c := l.text[i]; c {
		case '"':
			l.text = l.text[i+1:]
			return string(out), true
		case '\\':
			if i+1 < len(l.text) {
				i++
				out = append(out, l.text[i])
			}
		case '\r', '\n':
		default:
			out = append(out, c)
		}
	}
	l.text = ""
	return string(out), false
}

// readFields takes from a part's header what says what the part is. Of a field
// that comes twice the first counts. In the header of a message (root) they count only
// with a MIME-Version or a Content-Type.
func (part *messagePart) readFields(header []messageField, root bool) {
	f := &part.fields
	part.encoding = "7bit"
	isMIME := !root
	for i := range header {
		name, value := header[i].name, header[i].value
		if len(name) < len("content-id") || name[0]|0x20 != 'c' || !strings.EqualFold(string(name[:8]), "content-") {
			isMIME = isMIME || len(name) == len("mime-version") && strings.EqualFold(string(name), "mime-version")
			continue
		}
		switch strings.ToLower(string(name[8:])) {
		case "type":
			part.readType(messageUnfold(value))
		case "transfer-encoding":
			if f.encoding == nil {
				part.readEncoding(messageUnfold(value))
			}
		case "id":
			messageFirst(&f.id, value)
		case "description":
			messageFirst(&f.description, value)
		case "md5":
			messageFirst(&f.md5, value)
		case "location":
			messageFirst(&f.location, value)
		case "disposition":
			if f.disposition == nil {
				f.readDisposition(messageUnfold(value))
			}
		case "language":
			if f.language == nil {
				f.readLanguage(messageUnfold(value))
			}
		}
	}
	if !isMIME && !part.typed {
		part.fields, part.encoding = messagePartFields{}, "7bit"
	}
}

func messageFirst(field **string, value []byte) {
	if *field == nil {
		text := messageUnfold(value)
		*field = &text
	}
}

// readType reads a Content-Type.
func (part *messagePart) readType(value string) {
	if part.typed {
		return
	}
	part.typed = true
	l := messageLexer{text: value}
	l.space()
	typeName := l.while(messageIsMIME)
	more := l.space()
	if typeName != "" && !more && !l.open { // Dovecot has such a type without a subtype
		part.typeName, part.mediaType = typeName, strings.ToLower(typeName)
		if part.mediaType == "multipart" {
			part.flatten()
		}
		return
	}
	if typeName == "" || l.peek() != '/' {
		return // and one that does not parse is "" "" there
	}
	l.text = l.text[1:]
	l.space()
	subtypeName := l.while(messageIsMIME)
	if subtypeName == "" || l.space() && l.peek() != ';' {
		return
	}
	part.typeName, part.subtypeName = typeName, subtypeName
	part.mediaType, part.mediaSubtype = strings.ToLower(typeName), strings.ToLower(subtypeName)
	if part.mediaType == "message" && part.mediaSubtype == "rfc822" {
		part.embedded, part.typeName, part.subtypeName = true, "message", "rfc822"
	}
	part.params = messageParams(&l)
	if part.mediaType == "multipart" {
		_, part.multipart = part.boundary()
	}
}

func (part *messagePart) readEncoding(value string) {
	l := messageLexer{text: value}
	l.space()
	token := l.while(messageIsMIME)
	if token == "" || l.space() {
		return
	}
	part.fields.encoding = &token
	part.encoding = strings.ToLower(token)
}

func (f *messagePartFields) readDisposition(value string) {
	l := messageLexer{text: value}
	l.space()
	token := l.while(messageIsMIME)
	f.disposition = &token
	l.space()
	f.dispositionParams = messageParams(&l)
}

func (f *messagePartFields) readLanguage(value string) {
	l := messageLexer{text: value}
	for l.space() {
		tag := l.while(messageIsAtext)
		if tag == "" {
			return
		}
		f.language = append(f.language, tag)
		l.space()
		if l.peek() != ',' {
			return
		}
		l.text = l.text[1:]
	}
}

// flatten makes a part that cannot be what it says a leaf.
func (part *messagePart) flatten() {
	part.multipart, part.embedded = false, false
	part.typed, part.typeName, part.subtypeName = true, "application", "octet-stream"
	part.mediaType, part.mediaSubtype = "application", "octet-stream"
}

// messageParams reads parameters, "; name=value", and puts those together that are
// split (RFC 2231). Where one is broken, the next ";" begins another.
func messageParams(l *messageLexer) []messageParam {
	var params []messageParam
	var pieces []messagePiece
	for l.space() {
		if l.peek() != ';' {
			l.text = l.text[1:]
			continue
		}
		l.text = l.text[1:]
		name, value, ok := l.param()
		if !ok {
			if l.text != "" {
				l.text = l.text[1:]
			}
			continue
		}
		if piece, ok := messagePieceOf(name, value); ok {
			pieces = append(pieces, piece)
		} else {
			params = append(params, messageParam{name, value})
		}
	}
	return append(params, messageJoinPieces(pieces)...)
}

// param reads "name=value". A value is a token or a quoted string.
func (l *messageLexer) param() (name, value string, ok bool) {
	l.space()
	name = l.while(messageIsMIME)
	if name == "" || !l.space() || l.peek() != '=' {
		return "", "", false
	}
	l.text = l.text[1:]
	l.space()
	if l.peek() == '"' {
		value, ok = l.quoted()
	} else {
		value, ok = l.while(messageIsMIME), true
	}
	l.space()
	return name, value, ok && !l.open
}

// messagePiece is one of "name*0*=..." (RFC 2231, section 3).
type messagePiece struct {
	name, value string
	index       int
	extended    bool
	written     string // the name as it is written
}

func messagePieceOf(name, value string) (piece messagePiece, ok bool) {
	star := strings.IndexByte(name, '*')
	if star <= 0 {
		return piece, false
	}
	digits, extended := strings.CutSuffix(name[star+1:], "*")
	if name[star:] == "*" {
		digits, extended = "0", true
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return piece, false
	}
	return messagePiece{name[:star], value, int(n), extended, name}, true
}

// messageJoinPieces puts the pieces of a name together, if none is missing. If one is
// extended the whole is: "name*".
func messageJoinPieces(pieces []messagePiece) (params []messageParam) {
	sort.SliceStable(pieces, func(i, j int) bool {
		if a, b := strings.ToLower(pieces[i].name), strings.ToLower(pieces[j].name); a != b {
			return a < b
		}
		return pieces[i].index < pieces[j].index
	})
	for len(pieces) > 0 {
		n, extended, whole := 0, false, true
		for n < len(pieces) && strings.EqualFold(pieces[n].name, pieces[0].name) {
			extended = extended || pieces[n].extended
			whole = whole && pieces[n].index == n
			n++
		}
		if whole {
			params = append(params, messageJoin(pieces[:n], extended))
		} else {
			for _, p := range pieces[:n] {
				params = append(params, messageParam{p.written, p.value})
			}
		}
		pieces = pieces[n:]
	}
	return params
}

func messageJoin(pieces []messagePiece, extended bool) messageParam {
	name, value := pieces[0].name, ""
	for _, p := range pieces {
		if extended && !p.extended {
			value += messagePercent(p.value)
		} else {
			value += p.value
		}
	}
	if extended {
		name += "*"
	}
	return messageParam{name, value}
}

// messagePercent writes a plain piece among extended ones.
func messagePercent(value string) string {
	var out strings.Builder
	for i := range len(value) {
		c := value[i]
		if c == '%' || c <= ' ' || c >= 0x7f || strings.IndexByte(`*'()<>@,;:\"/[]?=`, c) >= 0 {
			out.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
