package main

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/unicode/norm"
)

// messageText looks for strings in a message as SEARCH does: header values and
// text parts decoded to UTF-8, compared without regard to case. As in Dovecot,
// accents are taken off letters before comparing, and stand behind them, so that "cafe"
// finds "café". One value serves many messages; it is not safe for concurrent use.
type messageText struct {
	needle []byte // folded
	raw    []byte // what was read and not yet folded
	folded []byte // what was folded, the end of the last piece before it
	kept   int    // bytes of that end

	threes *messageThrees // all that is looked at goes there, and nothing is found; or nil
	fuzzy  *messageFuzzy  // looks for words as well; or nil
}

// found tells whether the needle is in what was folded last, or, in a fuzzy search, all words are in what was folded so far.
// Behind the last piece of a text a word ends.
func (t *messageText) found(last bool) bool {
	if t.threes != nil {
		t.threes.add(t.folded)
		t.threes.addBare(t.folded, t.kept)
		return false
	}
	found := bytes.Contains(t.folded, t.needle)
	f := t.fuzzy
	if f == nil {
		return found
	}
	if found {
		f.foundWritten()
	}
	if f.read(t.folded[t.kept:]); last {
		f.end()
	}
	return f.score() > 0 && !f.scoring
}

// begin forgets what was found in another message.
func (t *messageText) begin() {
	if t.fuzzy != nil {
		t.fuzzy.begin()
		t.fuzzy.top = 0
	}
}

// score has look go through a message to the end, and gives the score of what a fuzzy search finds there.
func (t *messageText) score(look func()) uint8 {
	t.fuzzy.scoring = true
	look()
	t.fuzzy.scoring = false
	return t.fuzzy.total()
}

// overlap is how many bytes of a piece the next one has to begin with.
func (t *messageText) overlap() int {
	if t.threes != nil {
		return 2
	}
	return max(len(t.needle)-1, 0)
}

const messageTextWindow = 32 << 10

func newMessageText(needle string) *messageText {
	return &messageText{needle: messageFold(nil, []byte(needle))}
}

// messageUpper is the upper case of ASCII.
var messageUpper = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if 'a' <= i && i <= 'z' {
			table[i] = byte(i) - 0x20
		}
	}
	return table
}()

// messageFold appends src, which is UTF-8, in the form that is compared.
func messageFold(dst, src []byte) []byte {
	for len(src) > 0 {
		n := 0
		for n < len(src) && src[n] < utf8.RuneSelf {
			n++
		}
		start := len(dst)
		dst = append(dst, src[:n]...)
		for i, c := range dst[start:] {
			dst[start+i] = messageUpper[c]
		}
		src = src[n:]
		for len(src) > 0 && src[0] >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(src)
			if decomposed := norm.NFD.Properties(src[:size]).Decomposition(); decomposed != nil {
				for _, r := range string(decomposed) {
					dst = utf8.AppendRune(dst, unicode.ToUpper(r))
				}
			} else {
				dst = utf8.AppendRune(dst, unicode.ToUpper(r))
			}
			src = src[size:]
		}
	}
	return dst
}

// inHeader looks in all (name "") or the named fields of a raw header block. An
// empty needle is found if a field of the name is there.
func (t *messageText) inHeader(header []byte, name string) bool {
	for len(header) > 0 {
		if name != "" && !messageBeginsField(header, name) {
			header = messageSkipField(header)
			continue
		}
		field, value, _, rest := messageNextField(header)
		if field == nil {
			return false
		}
		header = rest
		if name != "" && len(t.needle) == 0 {
			return true
		}
		t.folded, t.kept = t.folded[:0], 0
		if t.fuzzy != nil {
			t.fuzzy.field(name, field)
		}
		if name == "" && len(field) > 0 { // a line without a colon is text, too
			t.folded = messageFold(t.folded, field)
			t.folded = append(t.folded, ": "...)
		}
		if messagePlain(value) {
			t.folded = messageFold(t.folded, bytes.TrimLeft(value, " \t"))
		} else {
			t.folded = messageFold(t.folded, []byte(strings.ReplaceAll(messageDecodeHeader(value), "\t", " ")))
		}
		if t.found(true) {
			return true
		}
	}
	return false
}

// messagePlain tells whether a header value needs no decoding.
func messagePlain(value []byte) bool {
	for _, c := range value {
		if c >= utf8.RuneSelf || c == '\n' || c == '?' || c == '\t' {
			return false
		}
	}
	return true
}

// inBody looks in the text parts below p: SEARCH BODY; with headers also in all
// header blocks: SEARCH TEXT.
func (t *messageText) inBody(r io.ReaderAt, p *messagePart, headers bool) (bool, error) {
	if t.fuzzy != nil {
		t.fuzzy.heading = !headers
	}
	if headers {
		header, err := messageReadHeader(r, p)
		if err != nil || t.inHeader(header, "") {
			return err == nil, err
		}
		if t.fuzzy != nil {
			t.fuzzy.heading = false
		}
	}
	for _, child := range p.children {
		if found, err := t.inBody(r, child, headers); found || err != nil {
			return found, err
		}
	}
	if len(p.children) > 0 || p.mediaType != "text" && p.mediaType != "message" && !p.tooDeep {
		return false, nil
	}
	return t.inPart(r, p)
}

// messageFill reads until p is full or the text ends: for each piece the end of the one before is copied, which is as long as what
// is looked for, and some decoders give a byte at a time.
func messageFill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = r.Read(p[n:])
		n += more
	}
	return n, err
}

// inPart looks in one text part.
func (t *messageText) inPart(r io.ReaderAt, p *messagePart) (bool, error) {
	if p.bodyEnd == p.bodyStart {
		return false, nil
	}
	body, known := messageDecode(r, p)
	if !known {
		return false, nil
	}
	if charset := p.charset(); charset != nil {
		body = charset.NewDecoder().Reader(body)
	}
	if t.raw == nil {
		t.raw = make([]byte, messageTextWindow)
	}
	t.folded, t.kept = t.folded[:0], 0
	rest := 0 // bytes of a rune that was cut
	for {
		n, err := messageFill(body, t.raw[rest:])
		text := t.raw[:rest+n]
		rest = 0
		if err == nil {
			rest = messageCutRune(text)
		}
		t.folded = messageFold(t.folded, text[:len(text)-rest])
		if t.found(err == io.EOF) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		} else if err != nil {
			return false, err
		}
		copy(t.raw, text[len(text)-rest:])
		if keep := t.overlap(); len(t.folded) > keep {
			t.folded = t.folded[:copy(t.folded, t.folded[len(t.folded)-keep:])]
		}
		t.kept = len(t.folded)
	}
}

// messageCutRune gives how many bytes at the end begin a rune that is not whole.
func messageCutRune(text []byte) int {
	for i := 1; i <= min(len(text), utf8.UTFMax-1); i++ {
		c := text[len(text)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}

// charset gives the encoding of a text part, nil if it is read as UTF-8: that, ASCII,
// and what nobody knows.
func (p *messagePart) charset() encoding.Encoding {
	for _, param := range p.params {
		if !strings.EqualFold(param.name, "charset") {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(param.value))
		if name == "utf-8" || name == "us-ascii" || name == "utf8" || name == "ascii" {
			return nil
		}
		enc, err := htmlindex.Get(name)
		if err != nil {
			return nil
		}
		if canonical, _ := htmlindex.Name(enc); canonical == "utf-8" || canonical == "replacement" {
			return nil
		}
		return enc
	}
	return nil
}
