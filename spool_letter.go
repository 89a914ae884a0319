package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"time"
)

// spoolLetter is a message that a program has written. All its lines end with CRLF.
type spoolLetter struct {
	fields [][]byte // of the header, with their folded lines
	head   int      // bytes of them
	body   [][]byte
	size   int64 // of all
	max    int64 // of size

	inHead, skips bool // while it is read; skips: a line that is no part of it
}

const (
	spoolMaxHead = 1 << 20
	spoolChunk   = 64 << 10
)

var errSpoolHead = errors.New("the header is larger than 1 MiB")

var spoolCRLF = []byte("\r\n")

// spoolReadLetter reads a message: to the end, or, if dots is set, to a line that is a dot.
// Lines may end with LF or CRLF. A message without a header is taken for a body.
func spoolReadLetter(r io.Reader, dots bool, max int64) (*spoolLetter, error) {
	l := &spoolLetter{max: max, inHead: true}
	in := bufio.NewReaderSize(r, spoolChunk)
	begins, held := true, false // held: a CR at the end of a piece, which a LF may follow
	for {
		piece, err := in.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, fmt.Errorf("reading the message: %w", err)
		}
		text, ended := bytes.CutSuffix(piece, []byte("\n"))
		last := err == io.EOF
		if begins && dots && (ended || last) && string(bytes.TrimSuffix(text, []byte("\r"))) == "." {
			return l, nil
		}
		if last && begins && len(piece) == 0 {
			return l, nil
		}
		if held && !(ended && len(text) == 0) {
			text = append([]byte("\r"), text...)
		}
		text, held = bytes.CutSuffix(text, []byte("\r"))
		if err := l.take(text, begins, ended || last); err != nil || last {
			return l, err
		}
		begins, held = ended, held && !ended
	}
}

// take adds a line, or a piece of one.
func (l *spoolLetter) take(text []byte, begins, ends bool) error {
	if begins && l.inHead {
		l.skips = false
		name := spoolFieldName(text)
		folded := len(l.fields) > 0 && len(text) > 0 && (text[0] == ' ' || text[0] == '\t')
		switch {
		case ends && len(text) == 0:
			l.inHead = false
			return nil
		case folded:
		case name != "":
			l.fields = append(l.fields, nil)
		case len(l.fields) == 0 && (bytes.HasPrefix(text, []byte("From ")) || bytes.HasPrefix(text, []byte(">From "))):
			l.skips = true // out of an mbox file
		default: // a body without an empty line before it
			l.inHead = false
		}
	}
	if l.skips && l.inHead {
		return nil
	}
	l.add(text)
	if ends {
		l.add(spoolCRLF)
	}
	switch {
	case l.head > spoolMaxHead:
		return errSpoolHead
	case l.size > l.max:
		return errSpoolSize
	}
	return nil
}

func (l *spoolLetter) add(text []byte) {
	l.size += int64(len(text))
	if l.inHead {
		last := &l.fields[len(l.fields)-1]
		*last = append(*last, text...)
		l.head += len(text)
		return
	}
	if l.size > l.max {
		return
	}
	for len(text) > 0 { // in chunks, since a growing slice takes up to three times as much
		n := len(l.body)
		if n == 0 || len(l.body[n-1]) == spoolChunk {
			l.body = append(l.body, make([]byte, 0, spoolChunk))
			n++
		}
		part := text[:min(len(text), spoolChunk-len(l.body[n-1]))]
		l.body[n-1] = append(l.body[n-1], part...)
		text = text[len(part):]
	}
}

// spoolFieldName gives the name of the field that a line begins, in lower case, "" if it
// begins none (RFC 5322, sections 2.2 and 4.5).
func spoolFieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return ""
	}
	name := bytes.TrimRight(line[:i], " \t")
	if bytes.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' }) {
		return ""
	}
	return strings.ToLower(string(name))
}

func (l *spoolLetter) has(name string) bool {
	return slices.ContainsFunc(l.fields, func(f []byte) bool { return spoolFieldName(f) == name })
}

// recipients are those that the header names: of To, Cc and Bcc, or, if somebody sends it on, of those
// with Resent- before them (RFC 5322, section 3.6.6). bad are entries that are none.
func (l *spoolLetter) recipients() (list []address, bad []string) {
	prefix := ""
	for _, name := range []string{"resent-to", "resent-cc", "resent-bcc"} {
		if l.has(name) {
			prefix = "resent-"
		}
	}
	for _, field := range l.fields {
		switch spoolFieldName(field) {
		case prefix + "to", prefix + "cc", prefix + "bcc":
			_, value, _ := bytes.Cut(field, []byte(":"))
			more, wrong := addressList(string(value))
			list, bad = append(list, more...), append(bad, wrong...)
		}
	}
	return list, bad
}

// hide takes out the fields that no recipient may see.
func (l *spoolLetter) hide() {
	l.fields = slices.DeleteFunc(l.fields, func(f []byte) bool {
		name := spoolFieldName(f)
		if name != "bcc" && name != "resent-bcc" {
			return false
		}
		l.size -= int64(len(f))
		return true
	})
}

// complete adds what a message must have (RFC 5322, section 3.6) and should have.
func (l *spoolLetter) complete(name string, from address, hostname string, at time.Time) {
	for _, field := range []struct{ name, value string }{
		{"From", spoolMailbox(name, from)},
		{"Date", at.Format("Mon, 2 Jan 2006 15:04:05 -0700")},
		{"Message-ID", "<" + rand.Text() + "@" + hostname + ">"},
	} {
		if !l.has(strings.ToLower(field.name)) {
			text := []byte(field.name + ": " + field.value + "\r\n")
			l.fields = append(l.fields, text)
			l.size += int64(len(text))
		}
	}
}

// spoolMailbox writes an address with a person's name.
func spoolMailbox(name string, a address) string {
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	switch {
	case name == "":
		return a.String()
	case strings.ContainsFunc(name, func(r rune) bool { return r > '~' }):
		name = mime.QEncoding.Encode("utf-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r != ' ' && !addressAtext(r) }):
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return name + " <" + a.String() + ">"
}

// write writes the message.
func (l *spoolLetter) write(w io.Writer) error {
	parts := append(slices.Clone(l.fields), spoolCRLF)
	for _, part := range append(parts, l.body...) {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
