package main

import (
	"crypto/tls"
	"io"
	"os"
	"syscall"
	"time"
)

// How input gets into the buffer. The aim is that a connection which waits
// holds none:
//
//   - a socket is tried, and waited for, by the system's own call, with a
//     buffer taken only for the try;
//   - TLS waits with the few bytes of c.first, and once they are full takes a
//     buffer for the rest of what it has decrypted;
//   - anything else (a pipe, in tests) waits with its buffer.

// bytes is what is buffered.
func (c *conn) bytes() []byte {
	if c.in == nil {
		return nil
	}
	return c.in[c.start:c.end]
}

// more waits for further input, for c.timeout.
func (c *conn) more() error {
	if err := c.handshake(); err != nil {
		return err
	}
	c.mu.Lock()
	c.Conn.SetReadDeadline(time.Now().Add(c.timeout)) // where this fails, so does reading
	c.mu.Unlock()
	return c.fill()
}

// fill blocks until it has read at least a byte behind those that are
// buffered, of which there are fewer than the buffer holds.
func (c *conn) fill() error {
	if c.start == c.end {
		c.start, c.end = 0, 0
	} else if c.start > 0 {
		copy(c.in[:], c.in[c.start:c.end])
		c.start, c.end = 0, c.end-c.start
	}
	if c.deflate != nil {
		return c.fillDeflated()
	}
	return c.fillPlain()
}

// fillPlain is fill when the buffer has been made ready.
func (c *conn) fillPlain() error {
	t, isTLS := c.Conn.(*tls.Conn)
	switch {
	case c.raw != nil:
		c.tryErr = nil
		if err := c.raw.Read(c.rawTry); err != nil {
			return err
		}
		return c.tryErr
	case isTLS && c.end == 0:
		return c.fillTLS(t)
	default:
		c.take()
		return c.readSome(c.Conn)
	}
}

// tryRead reads what a socket has; false if it has nothing yet.
func (c *conn) tryRead(fd uintptr) bool {
	c.take()
	n, err := syscall.Read(int(fd), c.in[c.end:])
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), c.in[c.end:])
	}
	switch {
	case err == syscall.EAGAIN:
		if c.end == 0 {
			c.release()
		}
		return false
	case err != nil:
		c.tryErr = os.NewSyscallError("read", err)
	case n == 0:
		c.tryErr = io.EOF
	default:
		c.end += n
	}
	return true
}

func (c *conn) fillTLS(t *tls.Conn) error {
	c.release()
	n := 0
	var err error
	for n == 0 && err == nil {
		n, err = t.Read(c.first[:])
	}
	if n == 0 {
		return err
	}
	c.take()
	c.end = copy(c.in[:], c.first[:n])
	clear(c.first[:n])
	if n < connFirst || err != nil {
		return nil // an error comes again
	}
	// The rest of the record has been decrypted and is had without waiting,
	// which a deadline in the past makes sure of. Such an error is not for good.
	c.mu.Lock()
	err = t.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()
	if err == nil {
		c.readSome(t) // any other error than of the deadline comes again at the next read
	}
	return nil
}

func (c *conn) readSome(r io.Reader) error {
	for {
		n, err := r.Read(c.in[c.end:])
		c.end += n
		if n > 0 {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (c *conn) take() {
	if c.in == nil {
		c.in = connBuffers.Get().(*connBuffer)
	}
}

// release gives the input buffer back and forgets what was in it.
func (c *conn) release() {
	if c.in != nil {
		connBuffers.Put(c.in)
		c.in = nil
	}
	c.start, c.end = 0, 0
}
