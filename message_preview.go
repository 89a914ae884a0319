package main

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A preview is the beginning of what a message says, as plain text in one line (RFC 8970,
// section 3.3). It is made of the first part that has text: what is attached or encrypted has
// none. White space is folded, what cannot be seen is left out, and quoted text counts only
// where there is nothing else, as in Dovecot.

const (
	messagePreviewMost  = 200 // characters
	messagePreviewParts = 16  // text parts that are looked at
)

// messagePreviewReads are how many bytes of a part are looked at: the next number only if those
// before did not fill the preview. HTML has a long head now and then.
var messagePreviewReads = map[bool][]int64{
	false: {1 << 10, 16 << 10},
	true:  {1 << 10, 16 << 10, 128 << 10},
}

// messagePreview gives the preview of a message, which is empty if there is nothing to show.
func messagePreview(r io.ReaderAt, root *messagePart) ([]byte, error) {
	tries := messagePreviewParts
	return messagePreviewBelow(r, root, &tries)
}

func messagePreviewBelow(r io.ReaderAt, p *messagePart, tries *int) ([]byte, error) {
	if p.mediaType == "multipart" && p.mediaSubtype == "encrypted" ||
		p.fields.disposition != nil && strings.EqualFold(*p.fields.disposition, "attachment") {
		return nil, nil
	}
	for _, child := range p.children {
		if preview, err := messagePreviewBelow(r, child, tries); len(preview) > 0 || err != nil {
			return preview, err
		}
	}
	if len(p.children) > 0 || p.mediaType != "text" || *tries == 0 {
		return nil, nil
	}
	switch p.mediaSubtype {
	case "plain", "markdown", "html":
		*tries--
		return messagePreviewPart(r, p)
	}
	return nil, nil
}

// messagePreviewPart gives the preview of one text part.
func messagePreviewPart(r io.ReaderAt, p *messagePart) ([]byte, error) {
	html := p.mediaSubtype == "html"
	reads := messagePreviewReads[html]
	for _, most := range reads {
		cut := *p
		cut.bodyEnd = min(p.bodyEnd, p.bodyStart+most)
		body, known := messageDecode(r, &cut)
		if !known {
			return nil, nil
		}
		if charset := p.charset(); charset != nil {
			body = charset.NewDecoder().Reader(body)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		whole := cut.bodyEnd == p.bodyEnd
		if !whole { // what was cut in two stands at the end
			text = text[:max(0, len(text)-utf8.UTFMax)]
			text = text[:len(text)-messageCutRune(text)]
		}
		preview, full := messagePreviewText(text, html)
		if full || whole || most == reads[len(reads)-1] {
			return preview, nil
		}
	}
	return nil, nil
}

// messagePreviewText gives the preview of a text, and tells whether more text would not
// change it.
func messagePreviewText(text []byte, html bool) (preview []byte, full bool) {
	var said, quoted messagePreviewLine
	if html {
		messagePreviewHTML(text, &said, &quoted)
	} else {
		messagePreviewPlain(text, &said, &quoted)
	}
	if len(said.text) == 0 {
		said = quoted
		return said.text, false // something may be said later
	}
	return said.text, said.full
}

// messagePreviewPlain takes a plain text apart. Quoted are lines that begin with ">".
func messagePreviewPlain(text []byte, said, quoted *messagePreviewLine) {
	armor := false // in the header lines of a signed text
	for len(text) > 0 && !said.full {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		switch {
		case armor:
			armor = len(bytes.TrimSpace(line)) > 0
			continue
		case bytes.HasPrefix(line, []byte("-----BEGIN PGP SIGNED MESSAGE-----")):
			armor = true
			continue
		case bytes.HasPrefix(line, []byte("-----BEGIN PGP ")): // a message, or a signature: nothing to read follows
			return
		}
		to := said
		if len(line) > 0 && line[0] == '>' {
			to = quoted
			line = bytes.TrimLeft(line, "> \t")
		}
		to.add(line)
		to.rune('\n')
	}
}

// messagePreviewLine is a preview that is being put together.
type messagePreviewLine struct {
	text  []byte
	count int  // characters in it
	space bool // there was white space behind it
	full  bool
}

func (l *messagePreviewLine) add(text []byte) {
	for len(text) > 0 && !l.full {
		r, size := utf8.DecodeRune(text)
		l.rune(r)
		text = text[size:]
	}
}

func (l *messagePreviewLine) rune(r rune) {
	switch {
	case l.full:
		return
	case ' ' < r && r < 0x7f: // nearly all
	case unicode.IsSpace(r), r == 0x2800: // a blank Braille pattern pads some mails
		l.space = len(l.text) > 0
		return
	case r == '\u200c', r == '\u200d': // joiners: words and emoji need them, padding does not
		if len(l.text) == 0 || l.space {
			return
		}
	case r == '\u034f', unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r):
		return
	}
	if l.space && l.count+1 < messagePreviewMost {
		l.text = append(l.text, ' ')
		l.count++
	} else if l.space {
		l.full = true
		return
	}
	l.space = false
	l.text = utf8.AppendRune(l.text, r)
	l.count++
	l.full = l.count >= messagePreviewMost
}
