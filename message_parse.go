package main

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// messageParser reads a message from start to end, once, through a window, and
// builds the tree as it goes. Counters run over the whole message; a part's sizes are
// differences of them.
type messageParser struct {
	r          io.Reader
	buf        []byte // window: buf[start:end] is not yet consumed
	start, end int
	eof        bool
	err        error // of the reader

	pos     int64 // offset in the file of buf[start]
	wire    int64 // wire bytes before it
	lines   int64 // LFs before it
	newline int   // bytes of the line end just before pos, 0 if there is none
	cr      bool  // the byte before pos is a CR
	nul     bool  // a NUL was seen
	body    bool  // the line end just before pos is in a body, not a header's end

	bounds  []messageBoundary // of the multiparts around, innermost last
	parts   int
	header  []byte          // of the part at hand
	fields  []messageField  // of header
	scratch []byte          // what is put together, before it is known how long it is
	summary *messageSummary // to be filled, or nil
}

// messageBoundary is a multipart's boundary.
type messageBoundary struct{ text string }

// messageBoundaryMost is what counts of a boundary, as in Dovecot; RFC 2046, section
// 5.1.1 allows 70.
const messageBoundaryMost = 80

const messageWindow = 32 << 10

var messageParsers = sync.Pool{New: func() any { return &messageParser{buf: make([]byte, messageWindow)} }}

func newMessageParser(r io.Reader) *messageParser {
	p := messageParsers.Get().(*messageParser)
	*p = messageParser{r: r, buf: p.buf, header: p.header[:0], fields: p.fields[:0], scratch: p.scratch[:0], bounds: p.bounds[:0]}
	return p
}

func (p *messageParser) release() {
	if cap(p.header) > messageWindow {
		p.header = nil
	}
	if cap(p.scratch) > messageWindow {
		p.scratch = nil
	}
	if cap(p.fields) > 1000 {
		p.fields = nil
	}
	p.r, p.summary = nil, nil
	messageParsers.Put(p)
}

// fill reads more into the window; false at the end.
func (p *messageParser) fill() bool {
	if p.eof {
		return false
	}
	if p.start == p.end {
		p.start, p.end = 0, 0
	} else if p.end == len(p.buf) {
		copy(p.buf, p.buf[p.start:p.end])
		p.start, p.end = 0, p.end-p.start
	}
	for range 100 {
		n, err := p.r.Read(p.buf[p.end:])
		fresh := p.buf[p.end : p.end+n]
		p.end += n
		if n > 0 && !p.nul {
			p.nul = bytes.IndexByte(fresh, 0) >= 0
		}
		if err != nil {
			p.eof = true
			if err != io.EOF {
				p.err = err
			}
			return n > 0
		}
		if n > 0 {
			return true
		}
	}
	p.eof, p.err = true, io.ErrNoProgress
	return false
}

// take consumes n bytes of the window, which hold no LF but perhaps the last.
func (p *messageParser) take(n int) {
	if n == 0 {
		return
	}
	b := p.buf[p.start : p.start+n]
	p.pos += int64(n)
	p.wire += int64(n)
	if b[n-1] == '\n' {
		p.lines++
		p.newline = 1
		if n > 1 && b[n-2] == '\r' || n == 1 && p.cr {
			p.newline = 2
		} else {
			p.wire++
		}
		p.cr = false
	} else {
		p.newline = 0
		p.cr = b[n-1] == '\r'
	}
	p.start += n
}

// line consumes up to and with the next LF, or what the window holds of a long line, and
// gives it; whole tells that the line's end is in it. nil at the end.
func (p *messageParser) line() (text []byte, whole bool) {
	for seen := 0; ; {
		b := p.buf[p.start:p.end]
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			p.take(seen + i + 1)
			return b[:seen+i+1], true
		}
		seen = len(b)
		if seen == len(p.buf) || !p.fill() {
			b = p.buf[p.start:p.end]
			if len(b) > seen && seen < len(p.buf) {
				continue
			}
			p.take(len(b))
			return b, false
		}
	}
}

// atBoundary tells whether a boundary line is next, where a line begins: the index
// in bounds, or -1, and whether it closes its multipart.
func (p *messageParser) atBoundary() (hit int, closes bool) {
	if len(p.bounds) == 0 {
		return -1, false
	}
	for p.end-p.start < 2+messageBoundaryMost+3 && bytes.IndexByte(p.buf[p.start:p.end], '\n') < 0 && p.fill() {
	}
	b := p.buf[p.start:p.end]
	if len(b) < 2 || b[0] != '-' || b[1] != '-' {
		return -1, false
	}
	b = b[2:]
	line := b
	dashes := false
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		line = bytes.TrimSuffix(b[:i], []byte("\r"))
		dashes = len(line) > 2 && bytes.HasSuffix(line, []byte("--"))
	} else if len(line) > messageBoundaryMost+2 {
		line = line[:messageBoundaryMost+2]
	}
	hit = p.findBoundary(line, dashes)
	if hit < 0 {
		return -1, false
	}
	return hit, bytes.HasPrefix(b[len(p.bounds[hit].text):], []byte("--"))
}

// findBoundary looks from the innermost boundary outwards for the longest that the
// line begins with; what follows it does not matter.
func (p *messageParser) findBoundary(line []byte, dashes bool) int {
	best := -1
	for i := len(p.bounds) - 1; i >= 0; i-- {
		text := p.bounds[i].text
		if len(line) < len(text) || string(line[:len(text)]) != text || best >= 0 && len(p.bounds[best].text) >= len(text) {
			continue
		}
		best = i
		if len(text) == len(line) || len(text) == len(line)-2 && dashes {
			break
		}
	}
	return best
}

// skip consumes lines up to a boundary line or the end.
func (p *messageParser) skip() (hit int, closes bool) {
	for p.body = false; ; p.body = true {
		if p.start == p.end && !p.fill() {
			return -1, false
		}
		if p.buf[p.start] == '-' {
			if hit, closes = p.atBoundary(); hit >= 0 {
				return hit, closes
			}
		}
		if !p.skipLine() {
			return -1, false
		}
	}
}

// skipLine consumes the rest of a line; false at the end.
func (p *messageParser) skipLine() bool {
	for {
		b := p.buf[p.start:p.end]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			p.take(i + 1)
			return true
		}
		p.take(len(b))
		if !p.fill() {
			return false
		}
	}
}

// readHeader consumes a part's header with the empty line and keeps its text in wire
// form. hit is a boundary that comes before the empty line, else -1; ended tells that the
// message ends in the header.
func (p *messageParser) readHeader() (hit int, closes, ended bool) {
	p.header = p.header[:0]
	for {
		if p.start == p.end && !p.fill() {
			return -1, false, true
		}
		if p.buf[p.start] == '-' {
			if hit, closes = p.atBoundary(); hit >= 0 {
				return hit, closes, false
			}
		}
		empty := true
		for {
			text, whole := p.line()
			p.keepHeader(text)
			if empty && whole && len(bytes.TrimSuffix(text[:len(text)-1], []byte("\r"))) == 0 {
				return -1, false, false
			}
			empty = false
			if whole {
				break
			}
			if len(text) == 0 {
				return -1, false, true
			}
		}
	}
}

// keepHeader adds text to the header at hand, in wire form.
func (p *messageParser) keepHeader(text []byte) {
	if len(p.header)+len(text) > messageHeaderMost {
		return
	}
	if len(text) > 0 && text[len(text)-1] == '\n' {
		line := text[:len(text)-1]
		p.header = append(p.header, line...)
		if len(p.header) == 0 || p.header[len(p.header)-1] != '\r' {
			p.header = append(p.header, '\r')
		}
		p.header = append(p.header, '\n')
	} else {
		p.header = append(p.header, text...)
	}
}

// messageHideNULs gives NULs the value that they have on the wire.
func messageHideNULs(b []byte) {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return
		}
		b[i] = 0x80
		b = b[i+1:]
	}
}

// parse reads the part that begins here, up to a boundary that is not its own or the
// end. digest tells that a part without Content-Type is a message (RFC 2046, section
// 5.1.5).
func (p *messageParser) parse(part *messagePart, digest bool, depth int) (hit int, closes bool) {
	p.parts++
	part.headerStart = p.pos
	headerWire := p.wire
	hit, closes, ended := p.readHeader()
	part.bodyStart, part.headerSize = p.pos, p.wire-headerWire
	if p.describe(part, digest, depth); depth == 0 && p.summary != nil {
		p.summary.headerOnly = ended
	}
	bodyWire, bodyLines := p.wire, p.lines
	if hit < 0 && !ended {
		hit, closes = p.parseBody(part, depth)
	} else {
		p.body = false
		part.addEmpty(p.pos)
	}
	part.bodyEnd, part.bodySize, part.bodyLines = p.pos, p.wire-bodyWire, p.lines-bodyLines
	if hit >= 0 && part.bodyEnd == part.bodyStart && part.bodyStart > part.headerStart {
		part.bodyStart -= int64(p.newline) // as below, out of the header
		part.bodyEnd = part.bodyStart
		part.headerSize -= 2
	}
	if hit >= 0 && p.body {
		// The line end before a boundary is part of the boundary (RFC 2046, section 5.1.1).
		part.bodyEnd -= int64(p.newline)
		part.bodySize -= 2
		part.bodyLines--
	}
	return hit, closes
}

// addEmpty gives a message/rfc822 part that ends in its header the empty message that
// is in it.
func (part *messagePart) addEmpty(pos int64) {
	if part.embedded {
		child := &messagePart{headerStart: pos, bodyStart: pos, bodyEnd: pos, mediaType: "text", mediaSubtype: "plain", encoding: "7bit"}
		child.envelope = messageAppendEnvelope(nil, nil)
		part.children = []*messagePart{child}
	}
}

// describe takes from the header at hand what says what the part is.
func (p *messageParser) describe(part *messagePart, digest bool, depth int) {
	p.fields = messageSplit(p.fields[:0], p.header)
	part.readFields(p.fields, depth == 0 || part.envelope != nil)
	if !part.typed {
		part.mediaType, part.mediaSubtype = "text", "plain"
		if digest {
			part.embedded = true
		}
	}
	if (part.isMultipart() || part.embedded) && (depth >= messageNestedMost-1 || p.parts >= messagePartsMost) {
		part.tooDeep = true
		part.flatten()
	}
	if part.envelope != nil {
		part.envelope = messageAppendEnvelope(part.envelope, p.fields)
	}
	if depth == 0 && p.summary != nil {
		p.summarizeHeader()
	}
}

// summarizeHeader takes what a summary keeps from the message's header.
func (p *messageParser) summarizeHeader() {
	s := p.summary
	p.scratch = messageAppendEnvelope(p.scratch[:0], p.fields)
	s.envelope = bytes.Clone(p.scratch)
	p.scratch = p.scratch[:0]
	for _, field := range p.fields {
		if len(field.name) == 0 || !messageIsUsual(field.name) {
			continue
		}
		p.scratch = append(p.scratch, field.whole...)
		if s.sent.IsZero() && len(field.name) == 4 && strings.EqualFold(string(field.name), "date") {
			if t, ok := messageParseDate(messageUnfolded(field.value)); ok {
				s.sent = t
				_, s.sentZone = t.Zone()
			}
		}
	}
	messageHideNULs(p.scratch)
	s.header = bytes.Clone(p.scratch)
}

// messageIsUsual is messageUsualField without making a string of the name.
func messageIsUsual(name []byte) bool {
	var lower [32]byte
	if len(name) > len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return messageUsualNames[string(lower[:len(name)])]
}

// parseBody reads a part's body.
func (p *messageParser) parseBody(part *messagePart, depth int) (hit int, closes bool) {
	switch {
	case part.multipart:
		return p.parseChildren(part, depth)
	case part.embedded:
		child := &messagePart{}
		part.children = []*messagePart{child}
		hit, closes = p.parseEmbedded(child, depth)
		return hit, closes
	}
	return p.skip()
}

// parseEmbedded reads the message in a message/rfc822 part.
func (p *messageParser) parseEmbedded(child *messagePart, depth int) (hit int, closes bool) {
	summary := p.summary
	p.summary = nil
	child.envelope = []byte{} // to be made when its header is there
	hit, closes = p.parse(child, false, depth+1)
	p.summary = summary
	return hit, closes
}

// parseChildren reads a multipart: the preamble, the parts, the epilogue.
func (p *messageParser) parseChildren(part *messagePart, depth int) (hit int, closes bool) {
	own := len(p.bounds)
	boundary, _ := part.boundary()
	p.bounds = append(p.bounds, messageBoundary{boundary})
	digest := part.mediaSubtype == "digest"
	hit, closes = p.skip()
	for hit == own && !closes && p.parts < messagePartsMost {
		if !p.skipLine() { // the boundary is all there is
			hit = -1
			break
		}
		child := &messagePart{}
		part.children = append(part.children, child)
		hit, closes = p.parse(child, digest, depth+1)
	}
	for hit == own && !closes { // too many: the rest is text
		p.skipLine()
		hit, closes = p.skip()
	}
	p.bounds = p.bounds[:own]
	if hit == own { // its end: what follows is nobody's
		p.skipLine()
		hit, closes = p.skip()
	}
	return hit, closes
}

// boundary is the multipart's boundary, without "--".
func (part *messagePart) boundary() (text string, ok bool) {
	for _, param := range part.params {
		if strings.EqualFold(param.name, "boundary") {
			return param.value[:min(len(param.value), messageBoundaryMost)], true
		}
	}
	return "", false
}
