package main

import (
	"compress/flate"
	"io"
	"sync"
	"time"
)

// A connection that compresses (RFC 1951, as RFC 4978 has it), under TLS if there is TLS.
//
// What goes out is compressed piece by piece: each begins with a compressor out of a pool, which knows
// nothing of the piece before, and ends at a byte. So a connection that waits, for input or
// for a client that reads slowly, has no compressor: those are as many as cores compress at a time.
// What comes in is decompressed into c.in; the little that must be kept is in connInflater.

// connDeflate is what a connection has while it compresses.
type connDeflate struct {
	inflater connInflater
	err      error // of the input, for good

	raw        *connBuffer // as it came; nil while there is none
	start, end int         // raw[start:end] is not yet decompressed
}

const (
	connDeflatePiece = 64 << 10 // compressed at a time, while more is there
	connSkipMost     = 64 << 20 // of a line that is too long: a few KiB can say as much
)

// connDeflated is a piece, compressed.
type connDeflated struct{ b []byte }

func (d *connDeflated) Write(p []byte) (int, error) {
	d.b = append(d.b, p...)
	return len(p), nil
}

var (
	connDeflaters = sync.Pool{New: func() any {
		w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
		if err != nil {
			panic(err) // there is no such level
		}
		return w
	}}
	connDeflateds = sync.Pool{New: func() any { return new(connDeflated) }}
)

// startDeflate compresses from here on, after flushing. Input that is there already is thrown
// away: the client had to wait for the answer (RFC 4978, section 3).
func (c *conn) startDeflate() error {
	if err := c.flush(); err != nil {
		return err
	}
	c.release()
	c.deflate = &connDeflate{}
	return nil
}

// endDeflate goes on without, after flushing. Input that is there already is thrown away.
func (c *conn) endDeflate() error {
	if err := c.flush(); err != nil || c.deflate == nil {
		return err
	}
	c.deflate.release()
	c.release()
	c.deflate, c.flushing = nil, true
	return nil
}

// skipFlush passes over what may still come of the client's last flush when compression has ended: bytes that no command
// begins with. It tells whether there was nothing else yet.
func (c *conn) skipFlush() bool {
	if !c.flushing {
		return false
	}
	for _, b := range c.bytes() {
		if b >= ' ' && b < 0x7f {
			c.flushing = false
			return false
		}
		c.discard(1)
	}
	return true
}

// deflating tells whether the connection compresses.
func (c *conn) deflating() bool { return c.deflate != nil }

// sendDeflated compresses p and writes it.
func (c *conn) sendDeflated(p []byte) {
	for len(p) > 0 && c.writeErr == nil {
		n := min(len(p), connDeflatePiece)
		d := connDeflateds.Get().(*connDeflated)
		d.b = d.b[:0]
		w := connDeflaters.Get().(*flate.Writer)
		w.Reset(d)
		if _, c.writeErr = w.Write(p[:n]); c.writeErr == nil {
			c.writeErr = w.Flush()
		}
		w.Reset(io.Discard)
		connDeflaters.Put(w)
		if c.writeErr == nil {
			c.writeErr = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		}
		if c.writeErr == nil {
			_, c.writeErr = c.Conn.Write(d.b)
		}
		connDeflateds.Put(d)
		p = p[n:]
	}
}

// fillDeflated is fill for a connection that compresses.
func (c *conn) fillDeflated() error {
	z := c.deflate
	for z.err == nil {
		c.take()
		n, used, err := z.inflater.inflate(c.in[c.end:], z.bytes())
		z.start += used
		c.end += n
		if z.err = err; z.start == z.end {
			z.release()
		}
		if n > 0 {
			return nil
		}
		if c.end == 0 {
			c.release()
		}
		if err != nil {
			break
		}
		if err := c.fillRaw(); err != nil {
			return err
		}
	}
	return z.err
}

// fillRaw reads compressed input as if it were not: what the connection has read lies aside meanwhile.
func (c *conn) fillRaw() error {
	z := c.deflate
	in, start, end := c.in, c.start, c.end
	c.in, c.start, c.end = nil, 0, 0
	err := c.fillPlain()
	if c.end == 0 {
		c.release()
	}
	z.raw, z.start, z.end = c.in, c.start, c.end
	c.in, c.start, c.end = in, start, end
	return err
}

func (z *connDeflate) bytes() []byte {
	if z.raw == nil {
		return nil
	}
	return z.raw[z.start:z.end]
}

func (z *connDeflate) release() {
	if z.raw != nil {
		connBuffers.Put(z.raw)
		z.raw = nil
	}
	z.start, z.end = 0, 0
}
