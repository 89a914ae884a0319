package main

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unsafe"

	"golang.org/x/text/encoding/htmlindex"
)

// messageNextField takes the first field off a header block. name is without
// the colon and what stands before it, value what follows it, folded lines included,
// without the last line end; whole is all of it. A line without a colon has no name.
// name is nil at the empty line or the end.
func messageNextField(block []byte) (name, value, whole, rest []byte) {
	i := 0
	for {
		n := bytes.IndexByte(block[i:], '\n')
		if n < 0 {
			i = len(block)
			break
		}
		i += n + 1
		if i >= len(block) || block[i] != ' ' && block[i] != '\t' {
			break
		}
	}
	whole, rest = block[:i], block[i:]
	text := messageTrimEnd(whole)
	if len(text) == 0 {
		return nil, nil, whole, rest
	}
	colon := bytes.IndexByte(text, ':')
	if lf := bytes.IndexByte(text, '\n'); colon < 0 || lf >= 0 && lf < colon {
		return text[:0], text, whole, rest
	}
	return bytes.TrimRight(text[:colon], " \t"), text[colon+1:], whole, rest
}

// messageField is one field of a header block, as messageNextField gives it.
type messageField struct{ name, value, whole []byte }

// messageSplit appends the fields of a header block, up to the empty line.
func messageSplit(dst []messageField, block []byte) []messageField {
	for len(block) > 0 {
		name, value, whole, rest := messageNextField(block)
		if name == nil {
			break
		}
		dst, block = append(dst, messageField{name, value, whole}), rest
	}
	return dst
}

// messageBeginsField tells whether a header block begins with a field of this name.
func messageBeginsField(block []byte, name string) bool {
	n := len(name)
	if len(block) <= n || block[0]|0x20 != name[0]|0x20 || !strings.EqualFold(string(block[:n]), name) {
		return false
	}
	for n < len(block) && (block[n] == ' ' || block[n] == '\t') {
		n++
	}
	return n < len(block) && block[n] == ':'
}

// messageSkipField passes over the first field of a header block; nil at the empty line
// or the end.
func messageSkipField(block []byte) []byte {
	if block[0] == '\n' || block[0] == '\r' && len(block) > 1 && block[1] == '\n' {
		return nil
	}
	for {
		n := bytes.IndexByte(block, '\n')
		if n < 0 {
			return nil
		}
		if block = block[n+1:]; len(block) == 0 || block[0] != ' ' && block[0] != '\t' {
			return block
		}
	}
}

// messageTrimEnd takes one line end off.
func messageTrimEnd(text []byte) []byte {
	text = bytes.TrimSuffix(text, []byte("\n"))
	return bytes.TrimSuffix(text, []byte("\r"))
}

// messageUnfold undoes folding (RFC 5322, section 2.2.3): a line end and the white
// space after it are one space. White space before the value is dropped.
func messageUnfold(value []byte) string {
	value = bytes.TrimLeft(value, " \t\r\n")
	if !messageIsFolded(value) {
		return string(value)
	}
	return messageUnfoldLines(value)
}

// messageUnfolded is messageUnfold for a short while: what it gives may share value's memory.
func messageUnfolded(value []byte) string {
	value = bytes.TrimLeft(value, " \t\r\n")
	if !messageIsFolded(value) {
		return unsafe.String(unsafe.SliceData(value), len(value))
	}
	return messageUnfoldLines(value)
}

func messageIsFolded(value []byte) bool {
	return bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0
}

func messageUnfoldLines(value []byte) string {
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\r' && i+1 < len(value) && value[i+1] == '\n' {
			continue
		}
		if c == '\r' { // a bare CR is no line end, and must not become one
			c = ' '
		}
		if c != '\n' {
			out = append(out, c)
			continue
		}
		for i+1 < len(value) && (value[i+1] == ' ' || value[i+1] == '\t') {
			i++
		}
		if i+1 < len(value) && (len(out) == 0 || out[len(out)-1] != ' ') {
			out = append(out, ' ')
		}
	}
	return string(out)
}

// messageReadHeader gives a part's raw header block, the empty line included, in
// wire form. What is longer than the room's limit is cut at a line's end.
func messageReadHeader(r io.ReaderAt, p *messagePart) ([]byte, error) {
	size := min(p.bodyStart-p.headerStart, messageHeaderMost)
	header := make([]byte, size)
	n, err := r.ReadAt(header, p.headerStart)
	if header = header[:n]; err != nil && err != io.EOF {
		return nil, err
	}
	if !messageIsWire(header) {
		header = messageAppendWire(make([]byte, 0, messageWireSize(header)), header)
	}
	if size < p.bodyStart-p.headerStart {
		header = header[:bytes.LastIndexByte(header, '\n')+1]
	}
	return header, nil
}

// messageFields appends those fields of a wire-form header block whose names are
// (or, with not, are not) among names, then the empty line: BODY[HEADER.FIELDS]. With
// not, lines that are no fields are among them, and the empty line is only if there is one
// (RFC 9051, section 6.4.5.1).
func messageFields(dst, header []byte, names []string, not bool) []byte {
	for len(header) > 0 {
		name, _, whole, rest := messageNextField(header)
		header = rest
		if name == nil {
			if not {
				dst = append(dst, whole...)
			}
			break
		}
		if len(name) == 0 && !not || messageHasName(names, name) == not {
			continue
		}
		dst = append(dst, whole...)
		if whole[len(whole)-1] != '\n' && !not {
			dst = append(dst, "\r\n"...)
		}
	}
	if not {
		return dst
	}
	return append(dst, "\r\n"...)
}

func messageHasName(names []string, name []byte) bool {
	for _, n := range names {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return true
		}
	}
	return false
}

// messageFieldOf gives the unfolded raw value of the first field of that name.
func messageFieldOf(header []byte, name string) (value []byte, ok bool) {
	for len(header) > 0 {
		field, raw, _, rest := messageNextField(header)
		if field == nil {
			return nil, false
		}
		if len(field) == len(name) && strings.EqualFold(string(field), name) {
			return []byte(messageUnfold(raw)), true
		}
		header = rest
	}
	return nil, false
}

// messageWords decodes encoded words in every charset that browsers know.
var messageWords = mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	encoding, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return encoding.NewDecoder().Reader(input), nil
}}

// messageDecodeHeader gives a raw header value with its encoded words decoded to
// UTF-8 (RFC 2047) and folding undone. A word that does not decode stays as it is.
func messageDecodeHeader(raw []byte) string {
	text := messageUnfold(raw)
	if !strings.Contains(text, "=?") {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	var out strings.Builder
	between := false // only white space since an encoded word
	for text != "" {
		i := strings.Index(text, "=?")
		if i < 0 {
			break
		}
		word := messageEncodedWord(text[i:])
		if word == "" {
			out.WriteString(text[:i+2])
			text, between = text[i+2:], false
			continue
		}
		decoded, err := messageWords.Decode(word)
		if err != nil {
			out.WriteString(text[:i+len(word)])
			text, between = text[i+len(word):], false
			continue
		}
		if !between || strings.Trim(text[:i], " \t\r\n") != "" {
			out.WriteString(text[:i])
		}
		out.WriteString(decoded)
		text, between = text[i+len(word):], true
	}
	out.WriteString(text)
	return strings.ToValidUTF8(out.String(), "\uFFFD")
}

// messageEncodedWord gives the encoded word that text begins with, or "".
func messageEncodedWord(text string) string {
	parts := 0
	for i := 2; i < len(text) && i < 1000; i++ {
		switch c := text[i]; {
		case c == '?' && parts < 2:
			parts++
		case c == '?' && i+1 < len(text) && text[i+1] == '=':
			return text[:i+2]
		case c == ' ' && parts < 2, c == '\n':
			return ""
		}
	}
	return ""
}
