package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"
)

// conn is one client connection. The three doors share it; it knows no
// protocol. One goroutine, the session's, uses it; only wake and shutdown may
// be called from others.
//
// Input is read through a buffer that is given back to a pool while the
// connection waits for its client, so an idle connection costs no buffers.
// Output is buffered and its errors are sticky: flush reports the first.
type conn struct {
	net.Conn               // TLS after startTLS or on an implicit TLS port
	log      *slog.Logger  // carries the session's id and the remote address
	timeout  time.Duration // for each wait for input and for each flush
}

var (
	errLineTooLong = errors.New("line too long") // the whole line was skipped, the next may be read
	errWoken       = errors.New("woken")         // by wake, nothing was read
	errShutdown    = errors.New("server is shutting down")
)

// newConn wraps an accepted connection. nc may be a *tls.Conn whose handshake
// has not happened yet.
func newConn(nc net.Conn, log *slog.Logger, timeout time.Duration) *conn { panic("stub") }

// wait blocks until input is there to be read (nil), wake was called
// (errWoken), shutdown was called (errShutdown), the deadline passed
// (os.ErrDeadlineExceeded) or the connection failed. It does not flush.
// timeout 0 means c.timeout.
func (c *conn) wait(timeout time.Duration) error { panic("stub") }

// wake ends another goroutine's wait, or the next one, with errWoken. Only wait
// reports it: peek and readLine go on reading.
func (c *conn) wake() { panic("stub") }

// shutdown asks the session to end: its wait, now or later, gives errShutdown.
func (c *conn) shutdown() { panic("stub") }

// buffered tells how many bytes can be read without waiting for the client
// (for TLS: of those already decrypted).
func (c *conn) buffered() int { panic("stub") }

// peek gives the bytes that are buffered, at least one, waiting if there are
// none. They are valid until the next read.
func (c *conn) peek() ([]byte, error) { panic("stub") }

// discard consumes n of the bytes that peek gave.
func (c *conn) discard(n int) { panic("stub") }

// Read reads through the buffer (io.Reader).
func (c *conn) Read(p []byte) (int, error) { panic("stub") }

// readLine gives the next line without its CRLF or lone LF, valid until the
// next read. A line of more than max bytes is skipped whole, in bounded memory,
// and gives errLineTooLong.
func (c *conn) readLine(max int) ([]byte, error) { panic("stub") }

// Write, WriteString and printf put bytes into the output buffer (printf adds
// CRLF); a full buffer is written to the client.
func (c *conn) Write(p []byte) (int, error)       { panic("stub") }
func (c *conn) WriteString(s string) (int, error) { panic("stub") }
func (c *conn) printf(format string, args ...any) { panic("stub") }

// sendFile writes n bytes of f from offset off, by sendfile where the
// connection is plain. It flushes what was written before.
func (c *conn) sendFile(f *os.File, off, n int64) error { panic("stub") }

// flush writes what is buffered and reports the first error of all writes
// so far.
func (c *conn) flush() error { panic("stub") }

// startTLS makes the handshake. Input that was buffered before it is thrown
// away: nothing sent in clear counts afterwards (RFC 3207, section 4.2).
func (c *conn) startTLS(cfg *tls.Config) error { panic("stub") }

// tlsState is nil on a plain connection. It completes the handshake if need be.
func (c *conn) tlsState() *tls.ConnectionState { panic("stub") }

// remoteAddr is the client's address; invalid for a unix socket or a pipe.
func (c *conn) remoteAddr() netip.Addr { panic("stub") }

// isLocal tells whether the client is on this machine: a loopback address, a
// unix socket or a pipe.
func (c *conn) isLocal() bool { panic("stub") }
