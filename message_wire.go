package main

import (
	"bytes"
	"encoding/base64"
	"io"
)

// messageWire gives size bytes of a file from offset off in wire form.
func messageWire(r io.ReaderAt, off, size int64) io.Reader {
	w := &messageWireReader{r: io.NewSectionReader(r, off, size)}
	if off > 0 { // a CR may stand just before
		var before [1]byte
		if n, _ := r.ReadAt(before[:], off-1); n == 1 {
			w.cr = before[0] == '\r'
		}
	}
	return w
}

// messageWireNULs is messageWire with NULs as they are: for BINARY, whose lines end with
// CRLF as well (RFC 3516, section 6).
func messageWireNULs(r io.ReaderAt, off, size int64) io.Reader {
	return &messageWireReader{r: io.NewSectionReader(r, off, size), nuls: true}
}

// messageIsWire tells whether text is in wire form: no NUL, no LF without CR.
func messageIsWire(text []byte) bool {
	if bytes.IndexByte(text, 0) >= 0 {
		return false
	}
	for at := 0; ; at++ {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return true
		}
		if at += i; at == 0 || text[at-1] != '\r' {
			return false
		}
	}
}

// messageWireSize is the size of text in wire form.
func messageWireSize(text []byte) int64 {
	size := int64(len(text))
	for at := 0; ; at++ {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return size
		}
		if at += i; at == 0 || text[at-1] != '\r' {
			size++
		}
	}
}

// messageAppendWire appends text in wire form. It does in memory what messageWire does
// to a file.
func messageAppendWire(dst, text []byte) []byte {
	start := len(dst)
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			break
		}
		dst = append(dst, text[:i]...)
		if n := len(dst); n == start || dst[n-1] != '\r' {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		text = text[i+1:]
	}
	dst = append(dst, text...)
	for rest := dst[start:]; ; {
		i := bytes.IndexByte(rest, 0)
		if i < 0 {
			return dst
		}
		rest[i] = 0x80
		rest = rest[i+1:]
	}
}

// messageWireReader turns what it reads into the wire form.
type messageWireReader struct {
	r   io.Reader
	in  []byte // made when it is needed
	raw []byte // of in, not yet turned
	cr  bool   // the last byte was a CR
	err error

	nuls bool // stay as they are
}

func (w *messageWireReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) >= messageWireDirect && len(w.raw) == 0 && w.err == nil {
		return w.direct(p)
	}
	for n == 0 || len(w.raw) > 0 {
		if len(w.raw) == 0 {
			if w.err != nil {
				return n, w.err
			}
			if w.in == nil {
				w.in = make([]byte, 4096)
			}
			var got int
			got, w.err = w.r.Read(w.in)
			w.raw = w.in[:got]
			if !w.nuls {
				messageHideNULs(w.raw)
			}
			continue
		}
		before := n
		n += w.turn(p[n:])
		if n == before || n == len(p) {
			break
		}
	}
	return n, nil
}

// messageWireDirect is how large a reader's buffer must be for direct.
const messageWireDirect = 8192

// direct reads into the second half of p and turns from there to the first: at its
// worst a text grows to twice its length, so what is written never overtakes what is
// still to be read.
func (w *messageWireReader) direct(p []byte) (n int, err error) {
	raw := p[len(p)-len(p)/2:]
	got, err := w.r.Read(raw)
	if raw = raw[:got]; !w.nuls {
		messageHideNULs(raw)
	}
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			w.cr = raw[len(raw)-1] == '\r'
			n += copy(p[n:], raw)
			break
		}
		if i > 0 {
			w.cr = raw[i-1] == '\r'
			n += copy(p[n:], raw[:i])
		}
		if raw = raw[i+1:]; !w.cr {
			p[n] = '\r'
			n++
		}
		p[n] = '\n'
		n++
		w.cr = false
	}
	return n, err
}

// turn fills p from raw. It leaves p as it is if a CRLF would not fit.
func (w *messageWireReader) turn(p []byte) (n int) {
	for len(w.raw) > 0 && n < len(p) {
		i := bytes.IndexByte(w.raw, '\n')
		if i < 0 || i > 0 {
			run := w.raw
			if i > 0 {
				run = run[:i]
			}
			copied := copy(p[n:], run)
			w.cr = w.raw[copied-1] == '\r'
			w.raw = w.raw[copied:]
			n += copied
			continue
		}
		if !w.cr {
			p[n] = '\r'
			w.cr = true // the LF comes with the next turn
			n++
			continue
		}
		p[n] = '\n'
		w.cr = false
		w.raw = w.raw[1:]
		n++
	}
	return n
}

// messageDecode gives a part's body with its content transfer encoding undone
// (RFC 3516 BINARY). known is false for an encoding nobody knows.
func messageDecode(r io.ReaderAt, p *messagePart) (body io.Reader, known bool) {
	section := io.NewSectionReader(r, p.bodyStart, p.bodyEnd-p.bodyStart)
	switch p.encoding {
	case "7bit", "8bit", "binary":
		return section, true
	case "base64":
		return &messageLenient{base64.NewDecoder(base64.StdEncoding, &messageBase64Reader{r: section})}, true
	case "quoted-printable":
		return &messageQPReader{r: messageWireNULs(r, p.bodyStart, p.bodyEnd-p.bodyStart)}, true
	case "x-uuencode", "x-uue", "uuencode", "uue":
		return newMessageUUReader(section), true
	}
	return section, false
}

// messageBase64Reader gives the base64 characters alone, up to padding, and pads
// what ends too early: broken mail is read as far as it goes (RFC 2045, section 6.8).
type messageBase64Reader struct {
	r    io.Reader
	n    int // characters given
	done bool
}

func (b *messageBase64Reader) Read(p []byte) (int, error) {
	for !b.done {
		n, err := b.r.Read(p)
		kept := p[:0]
		for _, c := range p[:n] {
			switch {
			case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
				kept = append(kept, c)
				continue
			case c == '=':
				b.done = true
			}
			if b.done {
				break
			}
		}
		b.n += len(kept)
		if err != nil {
			b.done = true
			if err != io.EOF {
				return len(kept), err
			}
		}
		if len(kept) > 0 {
			return len(kept), nil
		}
	}
	pad := 0
	if b.n%4 > 1 { // a single character holds no byte
		pad = copy(p[:min(len(p), 4-b.n%4)], "==")
		b.n += pad
	}
	if pad == 0 {
		return 0, io.EOF
	}
	return pad, nil
}

// messageLenient ends where a decoder finds its input broken.
type messageLenient struct{ r io.Reader }

func (l *messageLenient) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && err != io.EOF {
		err = io.EOF
	}
	return n, err
}

// messageUUReader decodes uuencode, an encoding of old times that RFC 2045 calls
// by no name.
type messageUUReader struct {
	r       io.Reader
	in      []byte
	out     []byte
	begun   bool
	ended   bool
	readErr error
}

func newMessageUUReader(r io.Reader) *messageUUReader { return &messageUUReader{r: r} }

func (u *messageUUReader) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		line, ok := u.line()
		if !ok || u.ended {
			if u.readErr != nil && u.readErr != io.EOF {
				return 0, u.readErr
			}
			return 0, io.EOF
		}
		u.decode(line)
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// line gives the next line; longer ones than a line can be are cut.
func (u *messageUUReader) line() ([]byte, bool) {
	for {
		if i := bytes.IndexByte(u.in, '\n'); i >= 0 {
			line := u.in[:i]
			u.in = u.in[i+1:]
			return bytes.TrimSuffix(line, []byte("\r")), true
		}
		if u.readErr != nil {
			line := u.in
			u.in = nil
			return line, len(line) > 0
		}
		if len(u.in) > 1000 {
			u.in = u.in[:0]
		}
		buf := make([]byte, 4096)
		var n int
		n, u.readErr = u.r.Read(buf)
		u.in = append(u.in, buf[:n]...)
	}
}

func (u *messageUUReader) decode(line []byte) {
	if !u.begun {
		u.begun = bytes.HasPrefix(line, []byte("begin "))
		return
	}
	if len(line) == 0 || bytes.Equal(line, []byte("end")) {
		u.ended = true
		return
	}
	size := int(line[0]-' ') & 63
	for line = line[1:]; size > 0 && len(line) >= 2; line = line[min(4, len(line)):] {
		var group [4]byte
		for i := range group {
			if i < len(line) {
				group[i] = (line[i] - ' ') & 63
			}
		}
		three := [3]byte{group[0]<<2 | group[1]>>4, group[1]<<4 | group[2]>>2, group[2]<<6 | group[3]}
		n := min(size, 3)
		u.out = append(u.out, three[:n]...)
		size -= n
	}
}
