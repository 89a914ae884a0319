package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// The text of messages: BODY[section]<partial>, the older RFC822 items, and BINARY
// (RFC 9051, section 6.4.5.1; RFC 3516). What is small goes through the command's
// output buffer; what is large streams, by sendfile where the file is in wire form.

// imapSection is a section specification.
type imapSection struct {
	path  []int // part numbers
	what  imapSectionWhat
	names []string // of header fields
	usual bool     // the summaries hold them all
}

type imapSectionWhat uint8

const (
	imapSectionAll imapSectionWhat = iota
	imapSectionHeader
	imapSectionFields
	imapSectionFieldsNot
	imapSectionText
	imapSectionMIME
)

// imapPartial is <start.count>; count is all there is if it was not given.
type imapPartial struct{ start, count int64 }

// cut gives the part of size bytes that p stands for.
func (p *imapPartial) cut(size int64) (start, count int64) {
	if p == nil {
		return 0, size
	}
	start = min(p.start, size)
	return start, min(p.count, size-start)
}

// imapFetchSmall is what is read into memory at once. A larger body streams.
const imapFetchSmall = 64 << 10

// errImapUnknownCTE says that a part is encoded in a way nobody knows (RFC 3516,
// section 4.3).
var errImapUnknownCTE = errors.New("unknown content transfer encoding")

// imapBody is one message whose text is read. It opens the file and reads the
// MIME tree once, when they are needed.
type imapBody struct {
	view    *mailboxView
	uid     uint32
	summary *messageSummary // nil if it is not known and was not needed
	last    *imapTree       // of the session, nil if it keeps none
	root    *messagePart

	r    io.ReaderAt // the message, once it is open: f, or mem
	size int64
	most int64        // a message up to this size is taken into memory
	f    *os.File     // nil if the message is in memory
	mem  bytes.Reader // of buf
	buf  []byte
	wire []byte // buf in wire form: buf itself if it is, else conv; nil if that was not needed
	conv []byte
	err  error // of opening
}

// reset turns to another message. The memory is used again.
func (b *imapBody) reset(view *mailboxView, uid uint32, summary *messageSummary, last *imapTree) {
	b.close()
	*b = imapBody{view: view, uid: uid, summary: summary, last: last, most: imapFetchSmall, buf: b.buf, conv: b.conv}
}

func (b *imapBody) close() {
	if b.f != nil {
		b.f.Close() // read only: there is nothing to lose
		b.f = nil
	}
}

// open opens the message, and takes one that is not large into memory.
func (b *imapBody) open() error {
	if b.r == nil && b.err == nil {
		b.err = b.load()
	}
	return b.err
}

func (b *imapBody) load() error {
	f, err := b.view.open(b.uid)
	if err != nil {
		return err
	}
	b.f = f
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading a message: %w", err)
	}
	if b.size = info.Size(); b.size > b.most {
		b.r = f
		return nil
	}
	b.buf = slices.Grow(b.buf[:0], int(b.size))[:b.size]
	if n, err := f.ReadAt(b.buf, 0); n < len(b.buf) {
		return fmt.Errorf("reading a message: %w", err)
	}
	b.close()
	b.mem.Reset(b.buf)
	b.r = &b.mem
	return nil
}

// top gives the message itself without reading more than its header's end takes.
func (b *imapBody) top() (*messagePart, error) {
	if b.root != nil {
		return b.root, nil
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	if b.summary == nil {
		s, err := b.view.summary(b.uid)
		if err != nil {
			return nil, err
		}
		b.summary = s
	}
	header := min(b.summary.headerSize, b.size)
	return &messagePart{bodyStart: header, bodyEnd: b.size}, nil
}

// tree reads the MIME tree.
func (b *imapBody) tree() (*messagePart, error) {
	if b.root != nil {
		return b.root, nil
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	if b.last != nil && b.last.uid == b.uid && b.last.size == b.size {
		b.root = b.last.root
		return b.root, nil
	}
	root, err := messageParse(b.r, b.size)
	if err != nil {
		return nil, fmt.Errorf("reading a message: %w", err)
	}
	if b.root = root; b.last != nil && b.size > imapFetchSmall && len(root.children) < 100 {
		*b.last = imapTree{b.uid, b.size, root}
	}
	return root, nil
}

// imapTree is the tree of the large message that was read last: a client that takes a
// part piece by piece would have the whole message read for each.
type imapTree struct {
	uid  uint32
	size int64
	root *messagePart
}

// part gives the part a section speaks of, nil if there is none: of HEADER and
// TEXT behind part numbers it is the message in that part (RFC 9051, section
// 6.4.5.1).
func (b *imapBody) part(sec *imapSection) (*messagePart, error) {
	if len(sec.path) == 0 {
		return b.top()
	}
	root, err := b.tree()
	if err != nil {
		return nil, err
	}
	p := root.part(sec.path)
	if p == nil || sec.what == imapSectionAll || sec.what == imapSectionMIME {
		return p, nil
	}
	if !p.embedded || len(p.children) != 1 {
		return nil, nil
	}
	return p.children[0], nil
}

// bounds gives the section's place in the file. Header fields have none.
func (b *imapBody) bounds(sec *imapSection) (from, to int64, err error) {
	if sec.what == imapSectionAll && len(sec.path) == 0 {
		err := b.open()
		return 0, b.size, err
	}
	p, err := b.part(sec)
	if p == nil || err != nil {
		return 0, 0, err
	}
	switch sec.what {
	case imapSectionHeader, imapSectionMIME:
		return p.headerStart, p.bodyStart, nil
	}
	return p.bodyStart, p.bodyEnd, nil
}

// fields appends the header fields a section names, in wire form.
func (b *imapBody) fields(dst []byte, sec *imapSection) ([]byte, error) {
	not := sec.what == imapSectionFieldsNot
	if sec.usual {
		if b.summary == nil {
			s, err := b.view.summary(b.uid)
			if err != nil {
				return dst, err
			}
			b.summary = s
		}
		dst = messageFields(dst, b.summary.header, sec.names, false)
		if b.summary.headerOnly {
			dst = dst[:len(dst)-2]
		}
		return dst, nil
	}
	p, err := b.part(sec)
	if p == nil || err != nil {
		return dst, err
	}
	header, err := messageReadHeader(b.r, p)
	if err != nil {
		return dst, fmt.Errorf("reading a header: %w", err)
	}
	dst = messageFields(dst, header, sec.names, not)
	if !not && !bytes.HasSuffix(header, []byte("\r\n\r\n")) && string(header) != "\r\n" {
		dst = dst[:len(dst)-2] // a message that ends in its header has no empty line (RFC 9051, section 6.4.5.1)
	}
	return dst, nil
}

func imapUsualFields(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !messageUsualField(name) })
}

// body writes a section as a literal.
func (f *imapFetch) body(b *imapBody, item *imapFetchItem) error {
	sec := &item.section
	if sec.what == imapSectionFields || sec.what == imapSectionFieldsNot {
		text, err := b.fields(f.scratch[:0], sec)
		if err != nil {
			return err
		}
		f.scratch = text
		f.literal(item.partial, text)
		return nil
	}
	from, to, err := b.bounds(sec)
	if err != nil {
		return err
	}
	if b.wire != nil && len(sec.path) == 0 && sec.what == imapSectionAll {
		f.literal(item.partial, b.wire)
		return nil
	}
	if to-from <= imapFetchSmall {
		return f.small(b, item, from, to)
	}
	return f.large(b, item, from, to)
}

// literal appends text, or the part of it that was asked for.
func (f *imapFetch) literal(partial *imapPartial, text []byte) {
	start, count := partial.cut(int64(len(text)))
	f.literalHead(count)
	f.out = append(f.out, text[start:start+count]...)
}

func (f *imapFetch) literalHead(size int64) {
	f.out = append(f.out, '{')
	f.out = strconv.AppendInt(f.out, size, 10)
	f.out = append(f.out, "}\r\n"...)
}

// small writes a range of a message that is in memory, or a small range of one that
// is not.
func (f *imapFetch) small(b *imapBody, item *imapFetchItem, from, to int64) error {
	var raw []byte
	if b.f == nil {
		raw = b.buf[from:to]
	} else {
		raw = slices.Grow(f.scratch[:0], int(to-from))[:to-from]
		f.scratch = raw
		if n, err := b.f.ReadAt(raw, from); n < len(raw) {
			return fmt.Errorf("reading a message: %w", err)
		}
	}
	switch {
	case b.plain() || messageIsWire(raw):
		f.literal(item.partial, raw)
	case item.partial == nil:
		f.literalHead(messageWireSize(raw))
		f.out = messageAppendWire(f.out, raw)
	default:
		f.wire = messageAppendWire(f.wire[:0], raw)
		f.literal(item.partial, f.wire)
	}
	return nil
}

// toWire brings a message that is in memory into wire form.
func (b *imapBody) toWire() {
	if b.f != nil {
		return
	}
	if b.wire = b.buf; !messageIsWire(b.buf) {
		b.conv = messageAppendWire(b.conv[:0], b.buf)
		b.wire = b.conv
	}
}

// plain tells that the file is known to be in wire form.
func (b *imapBody) plain() bool {
	if b.summary == nil {
		return false
	}
	return b.summary.wireSize == b.size && !b.summary.hasNUL
}

// large streams a range of the file.
func (f *imapFetch) large(b *imapBody, item *imapFetchItem, from, to int64) error {
	if b.summary == nil {
		b.summary = b.view.knownSummary(b.uid)
	}
	wire, plain := to-from, b.plain()
	if !plain {
		var err error
		if wire, plain, err = f.measure(b, from, to); err != nil {
			return err
		}
	}
	start, count := item.partial.cut(wire)
	f.literalHead(count)
	if plain && count <= imapFetchSmall {
		at := len(f.out)
		f.out = slices.Grow(f.out, int(count))[:at+int(count)]
		if _, err := b.f.ReadAt(f.out[at:], from+start); err != nil && err != io.EOF {
			return imapBroken(err)
		}
		return nil
	}
	if err := f.give(); err != nil {
		return err
	}
	if plain {
		return imapBroken(f.c.sendFile(b.f, from+start, count))
	}
	return f.stream(messageWire(b.f, from, to-from), start, count)
}

// measure reads a range of the file to learn its size in wire form, and whether
// it is in wire form already.
func (f *imapFetch) measure(b *imapBody, from, to int64) (wire int64, plain bool, err error) {
	buf := slices.Grow(f.scratch[:0], imapFetchSmall)[:imapFetchSmall]
	f.scratch = buf
	wire, plain, last := to-from, true, byte(0)
	for from < to {
		n, err := b.f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if n == 0 {
			return 0, false, fmt.Errorf("reading a message: %w", err)
		}
		from += int64(n)
		text := buf[:n]
		plain = plain && bytes.IndexByte(text, 0) < 0
		for at := 0; ; at++ {
			i := bytes.IndexByte(text[at:], '\n')
			if i < 0 {
				break
			}
			if at += i; at > 0 {
				last = text[at-1]
			}
			if last != '\r' {
				wire, plain = wire+1, false
			}
		}
		last = text[n-1]
	}
	return wire, plain, nil
}

// stream writes count bytes of r behind the first start.
func (f *imapFetch) stream(r io.Reader, start, count int64) error {
	if _, err := io.CopyN(io.Discard, r, start); err != nil {
		return imapBroken(err)
	}
	_, err := io.CopyN(f.c, r, count)
	return imapBroken(err)
}

// imapBrokenError says that an answer was cut short in the middle: the client waits
// for bytes that do not come, so the connection has to end.
type imapBrokenError struct{ error }

func (e imapBrokenError) Unwrap() error { return e.error }

func imapBroken(err error) error {
	if err == nil {
		return nil
	}
	return imapBrokenError{fmt.Errorf("sending a message: %w", err)}
}

// binary writes a part with its transfer encoding undone (RFC 3516, section 4.3).
func (f *imapFetch) binary(b *imapBody, item *imapFetchItem) error {
	open, err := b.decoder(&item.section)
	if err != nil {
		return err
	}
	buf := slices.Grow(f.scratch[:0], imapFetchSmall)[:imapFetchSmall]
	f.scratch = buf
	r := open()
	n, err := io.ReadFull(r, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		start, count := item.partial.cut(int64(n))
		f.binaryHead(count, bytes.IndexByte(buf[:n], 0) >= 0)
		f.out = append(f.out, buf[start:start+count]...)
		return nil
	} else if err != nil {
		return fmt.Errorf("decoding a message: %w", err)
	}
	size, nul := int64(n), bytes.IndexByte(buf, 0) >= 0
	for err == nil {
		n, err = r.Read(buf)
		size, nul = size+int64(n), nul || bytes.IndexByte(buf[:n], 0) >= 0
	}
	if err != io.EOF {
		return fmt.Errorf("decoding a message: %w", err)
	}
	start, count := item.partial.cut(size)
	f.binaryHead(count, nul)
	if err := f.give(); err != nil {
		return err
	}
	return f.stream(open(), start, count)
}

// binaryHead begins a literal, or a literal8 if there is a NUL: the client need
// not look for one itself (RFC 3516, section 4.3).
func (f *imapFetch) binaryHead(size int64, nul bool) {
	if nul {
		f.out = append(f.out, '~')
	}
	f.literalHead(size)
}

func (f *imapFetch) binarySize(b *imapBody, item *imapFetchItem) error {
	open, err := b.decoder(&item.section)
	if err != nil {
		return err
	}
	size, err := io.Copy(io.Discard, open())
	if err != nil {
		return fmt.Errorf("decoding a message: %w", err)
	}
	f.out = strconv.AppendInt(f.out, size, 10)
	return nil
}

// decoder gives a function that begins to decode a part. What is no leaf of the
// MIME tree has no encoding of its own (RFC 9051, section 6.4.5: a client may not ask
// for it); it is given as it is.
func (b *imapBody) decoder(sec *imapSection) (open func() io.Reader, err error) {
	if len(sec.path) == 0 {
		if err := b.open(); err != nil {
			return nil, err
		}
		return func() io.Reader { return messageWireNULs(b.r, 0, b.size) }, nil
	}
	p, err := b.part(sec)
	if err != nil {
		return nil, err
	} else if p == nil {
		return func() io.Reader { return bytes.NewReader(nil) }, nil
	}
	switch {
	case len(p.children) > 0, p.encoding == "7bit", p.encoding == "8bit", p.encoding == "binary":
		return func() io.Reader { return messageWireNULs(b.r, p.bodyStart, p.bodyEnd-p.bodyStart) }, nil
	}
	if _, known := messageDecode(b.r, p); !known {
		return nil, errImapUnknownCTE
	}
	return func() io.Reader { r, _ := messageDecode(b.r, p); return r }, nil
}
