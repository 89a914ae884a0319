package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one client connection. The three doors share it; it knows no
// protocol. One goroutine, the session's, uses it; only wake and shutdown may
// be called from others.
//
// Input is read through a buffer that is given back to a pool while the
// connection waits for its client, so an idle connection costs no buffers.
// Output is buffered and its errors are sticky: flush reports the first.
//
// The three kinds of connection are read differently, see conn_read.go.
type conn struct {
	net.Conn               // TLS after startTLS or on an implicit TLS port
	log      *slog.Logger  // carries the session's id and the remote address
	timeout  time.Duration // for each wait for input and for each flush

	in         *connBuffer // nil while there is no input
	start, end int         // in[start:end] is not yet consumed
	long       []byte      // a line longer than in, while it is the caller's
	raw        syscall.RawConn
	rawTry     func(fd uintptr) bool // c.tryRead, made once
	tryErr     error                 // what tryRead met
	first      [connFirst]byte       // TLS: what a wait for input reads into
	shaken     bool                  // TLS: the handshake was tried
	shakeErr   error

	stays  func() bool // tells whether the login still counts; nil: nobody has logged in
	looked time.Time   // when it was asked

	deflate  *connDeflate // nil unless the connection compresses
	flushing bool         // it has, and something of the client's last flush may come

	out      *connBuffer // nil while there is no output
	outLen   int
	writeErr error // sticky

	mu      sync.Mutex // guards all below, and Conn against being replaced; never held while reading or writing
	waiting bool       // wait has set its deadline and may be ended by an earlier one
	woken   bool       // not yet told
	down    bool
	atDown  func() // called by shutdown, if there is somebody who reads past this conn
}

type connBuffer [16 << 10]byte

var connBuffers = sync.Pool{New: func() any { return new(connBuffer) }}

const (
	connFirst            = 128               // most commands fit
	connLook             = 5 * time.Second   // how long a login may be overlooked that does not count any more
	connHandshakeTimeout = time.Minute       // a client that is there needs a second, an old printer ten
	connChunk            = 256 << 10         // written under one deadline
	connCopyBelow        = len(connBuffer{}) // a file up to this goes through the output buffer
)

var (
	errLineTooLong = errors.New("line too long") // the whole line was skipped, the next may be read
	errWoken       = errors.New("woken")         // by wake, nothing was read
	errShutdown    = errors.New("server is shutting down")
	errConnLogin   = errors.New("the login does not count any more: the password was changed or taken back, or the user removed")
)

// newConn wraps an accepted connection. nc may be a *tls.Conn whose handshake
// has not happened yet.
func newConn(nc net.Conn, log *slog.Logger, timeout time.Duration) *conn {
	c := &conn{Conn: nc, log: log, timeout: timeout}
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			c.raw, c.rawTry = raw, c.tryRead
		}
	}
	return c
}

// loggedIn says how it is told whether the client's login still counts. Whoever is silent is not asked about: there is
// nothing to keep from them.
func (c *conn) loggedIn(stays func() bool) { c.stays, c.looked = stays, time.Now() }

// wait blocks until input is there to be read (nil), wake was called
// (errWoken), shutdown was called (errShutdown), the deadline passed
// (os.ErrDeadlineExceeded), the login does not count any more (errConnLogin)
// or the connection failed. It does not flush.
// timeout 0 means c.timeout. Input goes before a wake, which is then told by
// a later wait; shutdown goes before input.
func (c *conn) wait(timeout time.Duration) error {
	return c.look(c.waitInput(timeout)) // a client may wait for days, so what is on the stack then is little
}

// look asks now and then whether the login still counts, before a wait's outcome is told.
func (c *conn) look(outcome error) error {
	if c.stays == nil || outcome != nil && !errors.Is(outcome, errWoken) && !errors.Is(outcome, os.ErrDeadlineExceeded) {
		return outcome
	}
	now := time.Now()
	if now.Sub(c.looked) < connLook {
		return outcome
	}
	if c.looked = now; !c.stays() {
		return errConnLogin
	}
	return outcome
}

func (c *conn) waitInput(timeout time.Duration) error {
	if told, err := c.beginWait(timeout); told {
		return err
	}
	return c.endWait(c.fill())
}

// beginWait tells when there is something to say without waiting.
func (c *conn) beginWait(timeout time.Duration) (told bool, err error) {
	if timeout == 0 {
		timeout = c.timeout
	}
	if err := c.handshake(); err != nil {
		return true, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.told(c.buffered() == 0); err != nil || c.buffered() > 0 {
		return true, err
	}
	c.waiting = true
	c.long = nil
	c.Conn.SetReadDeadline(time.Now().Add(timeout)) // where this fails, so does reading
	return false, nil
}

// endWait says why reading came to an end: for a deadline, others may have been the reason.
func (c *conn) endWait(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if told := c.told(true); told != nil {
			return told
		}
	}
	return err
}

// told gives what others wanted this session to know; c.mu is held.
func (c *conn) told(wakes bool) error {
	switch {
	case c.down:
		return errShutdown
	case c.woken && wakes:
		c.woken = false
		return errWoken
	}
	return nil
}

// wake ends another goroutine's wait, or the next one, with errWoken. Only wait
// reports it: peek and readLine go on reading.
func (c *conn) wake() { c.interrupt(&c.woken) }

// shutdown asks the session to end: its wait, now or later, gives errShutdown.
func (c *conn) shutdown() {
	c.interrupt(&c.down)
	c.mu.Lock()
	atDown := c.atDown
	c.mu.Unlock()
	if atDown != nil {
		atDown()
	}
}

// whenDown has f called by shutdown, now or later. It is for those who do not read by wait.
func (c *conn) whenDown(f func()) {
	c.mu.Lock()
	c.atDown = f
	down := c.down
	c.mu.Unlock()
	if down {
		f()
	}
}

func (c *conn) interrupt(why *bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*why = true
	if c.waiting {
		c.Conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose wait has ended
	}
}

// buffered tells how many bytes can be read without waiting for the client
// (for TLS: of those already decrypted).
func (c *conn) buffered() int { return c.end - c.start }

// peek gives the bytes that are buffered, at least one, waiting if there are
// none. They are valid until the next read.
func (c *conn) peek() ([]byte, error) {
	if c.buffered() == 0 {
		if err := c.more(); err != nil {
			return nil, err
		}
	}
	return c.in[c.start:c.end], nil
}

// discard consumes n of the bytes that peek gave.
func (c *conn) discard(n int) { c.start = min(c.start+n, c.end) }

// Read reads through the buffer (io.Reader).
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := c.peek()
	n := copy(p, b)
	c.discard(n)
	return n, err
}

// readLine gives the next line without its CRLF or lone LF, valid until the
// next read. A line of more than max bytes is skipped whole, in bounded memory,
// and gives errLineTooLong.
func (c *conn) readLine(max int) ([]byte, error) {
	c.long = nil
	seen := 0 // buffered bytes that are known to hold no LF
	for {
		if i := bytes.IndexByte(c.bytes()[seen:], '\n'); i >= 0 {
			line := c.bytes()[:seen+i]
			c.discard(seen + i + 1)
			if c.long != nil {
				c.long = append(c.long, line...)
				line = c.long
			}
			line = bytes.TrimSuffix(line, []byte("\r"))
			if len(line) > max {
				return nil, errLineTooLong
			}
			return line, nil
		}
		seen = c.buffered()
		if len(c.long)+seen > max+1 { // the one may be the CR
			return nil, c.skipLine()
		}
		if seen == len(connBuffer{}) {
			c.long = append(c.long, c.bytes()...)
			c.discard(seen)
			seen = 0
		}
		if err := c.more(); err == io.EOF && seen+len(c.long) > 0 {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
}

// skipLine throws the line away that readLine has begun.
func (c *conn) skipLine() error {
	c.long = nil
	for skipped := 0; ; {
		b, err := c.peek()
		if err != nil {
			return err
		}
		if skipped += len(b); skipped > connSkipMost && c.deflate != nil {
			return errConnInflate
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			c.discard(i + 1)
			return errLineTooLong
		}
		c.discard(len(b))
	}
}

// Write, WriteString and printf put bytes into the output buffer (printf adds
// CRLF); a full buffer is written to the client.
func (c *conn) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 && c.writeErr == nil {
		if c.outLen == 0 && len(p) >= len(connBuffer{}) {
			n := min(len(p), connChunk)
			c.send(p[:n])
			p = p[n:]
			continue
		}
		n := copy(c.room(), p)
		c.outLen += n
		p = p[n:]
	}
	return written - len(p), c.writeErr
}

func (c *conn) WriteString(s string) (int, error) {
	written := len(s)
	for len(s) > 0 && c.writeErr == nil {
		n := copy(c.room(), s)
		c.outLen += n
		s = s[n:]
	}
	return written - len(s), c.writeErr
}

func (c *conn) printf(format string, args ...any) {
	fmt.Fprintf(c, format, args...)
	c.WriteString("\r\n")
}

// room is the free part of the output buffer, never empty.
func (c *conn) room() []byte {
	if c.out == nil {
		c.out = connBuffers.Get().(*connBuffer)
	} else if c.outLen == len(c.out) {
		c.send(c.out[:c.outLen])
		c.outLen = 0
	}
	return c.out[c.outLen:]
}

// unsent tells whether there is output that flush would write.
func (c *conn) unsent() bool { return c.outLen > 0 }

// flush writes what is buffered and reports the first error of all writes
// so far.
func (c *conn) flush() error {
	if c.out != nil {
		c.send(c.out[:c.outLen])
		connBuffers.Put(c.out)
		c.out, c.outLen = nil, 0
	}
	return c.writeErr
}

// send writes p to the client under a deadline of its own.
func (c *conn) send(p []byte) {
	if c.writeErr == nil {
		c.writeErr = c.handshake()
	}
	if c.deflate != nil {
		c.sendDeflated(p)
		return
	}
	if c.writeErr == nil {
		c.writeErr = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	}
	if c.writeErr == nil && len(p) > 0 {
		_, c.writeErr = c.Conn.Write(p)
	}
}

// sendFile writes n bytes of f from offset off, by sendfile where the
// connection is plain and the file not small. It may move f's position.
// A file that has fewer bytes is an error after which nothing more is sent:
// the client was promised n.
func (c *conn) sendFile(f *os.File, off, n int64) error {
	tcp, plain := c.Conn.(*net.TCPConn)
	if n > int64(connCopyBelow) && plain && c.deflate == nil {
		if err := c.flush(); err != nil {
			return err
		}
		c.writeErr = c.sendPlain(tcp, f, off, n)
		return c.writeErr
	}
	for n > 0 && c.writeErr == nil {
		room := c.room()
		got, err := f.ReadAt(room[:min(int64(len(room)), n)], off)
		c.outLen += got
		off, n = off+int64(got), n-int64(got)
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && n > 0 && c.writeErr == nil {
			c.writeErr = fmt.Errorf("sending a file: %w", err)
		}
	}
	return c.writeErr
}

// sendPlain lets the kernel copy, a chunk under each deadline.
func (c *conn) sendPlain(tcp *net.TCPConn, f *os.File, off, n int64) error {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return fmt.Errorf("sending a file: %w", err)
	}
	for n > 0 {
		if err := tcp.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
		sent, err := tcp.ReadFrom(io.LimitReader(f, min(n, connChunk)))
		n -= sent
		if err == nil && sent == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("sending a file: %w", err)
		}
	}
	return nil
}

// startTLS makes the handshake, after flushing. Input that was buffered before
// it is thrown away: nothing sent in clear counts afterwards (RFC 3207,
// section 4.2).
func (c *conn) startTLS(cfg *tls.Config) error {
	if err := c.flush(); err != nil {
		return err
	}
	c.release()
	if c.deflate != nil {
		c.deflate.release()
	}
	c.mu.Lock()
	c.Conn = tls.Server(c.Conn, cfg)
	c.mu.Unlock()
	c.raw, c.rawTry = nil, nil
	return c.handshake()
}

// handshake completes a TLS handshake that is still to be made. It is made
// apart from all reading, because a wake must not end it half way.
func (c *conn) handshake() error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok || c.shaken {
		return c.shakeErr
	}
	c.shaken = true
	c.shakeErr = t.SetDeadline(time.Now().Add(min(c.timeout, connHandshakeTimeout)))
	if c.shakeErr == nil {
		c.shakeErr = t.Handshake()
	}
	if c.shakeErr == nil && t.ConnectionState().NegotiatedProtocol == connChallenge {
		c.shakeErr = errConnChallenge
	}
	if c.shakeErr != nil {
		c.shakeErr = fmt.Errorf("TLS handshake: %w", c.shakeErr)
	}
	return c.shakeErr
}

// connChallenge is spoken by a CA that looks whether a name leads here: all is said with the handshake, and nothing
// may follow (RFC 8737, section 3).
const connChallenge = "acme-tls/1"

var errConnChallenge = errors.New("it was a CA's look at a name, and is over")

// tlsState is nil on a plain connection. It completes the handshake if need be.
func (c *conn) tlsState() *tls.ConnectionState {
	t, ok := c.Conn.(*tls.Conn)
	if !ok || c.handshake() != nil {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// channelBinding is what names this TLS connection and no other (RFC 9266), nil without TLS, and with
// a TLS that cannot tell.
func (c *conn) channelBinding() []byte {
	state := c.tlsState()
	if state == nil {
		return nil
	}
	binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil // RFC 9266, section 4.2: TLS 1.2 without an extended master secret
	}
	return binding
}

// remoteAddr is the client's address; invalid for a unix socket or a pipe.
func (c *conn) remoteAddr() netip.Addr {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("") // a prefix contains no address with a zone
}

// isLocal tells whether the client is on this machine: a loopback address, a
// unix socket or a pipe.
func (c *conn) isLocal() bool {
	addr := c.remoteAddr()
	return !addr.IsValid() || addr.IsLoopback()
}

// Close closes the connection. What was not flushed is lost.
func (c *conn) Close() error {
	c.release()
	if c.deflate != nil {
		c.deflate.release()
	}
	if c.out != nil {
		connBuffers.Put(c.out)
		c.out, c.outLen = nil, 0
	}
	if c.writeErr == nil {
		c.writeErr = net.ErrClosed
	}
	return c.Conn.Close()
}
