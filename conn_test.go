package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// connPairs makes one connection of each kind: the server's end as a conn, and
// the client's.
var connPairs = map[string]func(t *testing.T) (*conn, net.Conn){
	"pipe": func(t *testing.T) (*conn, net.Conn) {
		client, server := net.Pipe()
		return connForTest(server), client
	},
	"tcp": func(t *testing.T) (*conn, net.Conn) {
		client, server := connTCP(t)
		return connForTest(server), client
	},
	"tls": func(t *testing.T) (*conn, net.Conn) {
		client, server := connTCP(t)
		return connForTest(tls.Server(server, connTLSConfig(t))), tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	},
	"starttls": func(t *testing.T) (*conn, net.Conn) {
		client, server := connTCP(t)
		c, done := connForTest(server), make(chan error)
		go func() { done <- c.startTLS(connTLSConfig(t)) }()
		tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return c, tc
	},
}

func connForTest(nc net.Conn) *conn {
	return newConn(nc, slog.New(slog.DiscardHandler), 10*time.Second)
}

// needLoopback skips a test on a machine whose loopback interface is down, as in a
// fresh network namespace.
func needLoopback(t testing.TB) {
	t.Helper()
	if !connLoopback() {
		t.Skip("127.0.0.1 cannot be reached")
	}
}

var connLoopback = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return false
	}
	c.Close()
	return true
})

func connTCP(t *testing.T) (client, server net.Conn) {
	t.Helper()
	needLoopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func connTLSConfig(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Error(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// eachConn runs a test on every kind of connection.
func eachConn(t *testing.T, test func(t *testing.T, c *conn, client net.Conn)) {
	for name, pair := range connPairs {
		t.Run(name, func(t *testing.T) {
			c, client := pair(t)
			defer c.Close()
			defer client.Close()
			test(t, c, client)
		})
	}
}

func TestConnReadLine(t *testing.T) {
	tests := []struct {
		in   string
		max  int
		want []string // "!" for a line too long
		err  error
	}{
		{"a\r\nb\nc\r\n", 10, []string{"a", "b", "c"}, io.EOF},
		{"\r\n\n", 10, []string{"", ""}, io.EOF},
		{"a\rb\r\r\n", 10, []string{"a\rb\r"}, io.EOF},
		{"12345\r\n12345\n123456\r\n123456\n1\n", 5, []string{"12345", "12345", "!", "!", "1"}, io.EOF},
		{"123456", 5, nil, io.ErrUnexpectedEOF},
		{"12345678", 5, nil, io.EOF}, // skipped to the end
		{strings.Repeat("x", 16384) + "\r\nb\n", 16384, []string{strings.Repeat("x", 16384), "b"}, io.EOF},
		{strings.Repeat("x", 16383) + "\r\nb\n", 16384, []string{strings.Repeat("x", 16383), "b"}, io.EOF},
		{strings.Repeat("x", 16384) + "\r\nb\n", 16383, []string{"!", "b"}, io.EOF},
		{strings.Repeat("y", 65536) + "\r\nb\n", 65536, []string{strings.Repeat("y", 65536), "b"}, io.EOF},
		{strings.Repeat("y", 65537) + "\r\nb\n", 65536, []string{"!", "b"}, io.EOF},
		{strings.Repeat("z", 1e6) + "\r\nb\n", 65536, []string{"!", "b"}, io.EOF},
	}
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		for _, test := range tests {
			// One connection for all: what would be the end of input is a last line.
			end := "the end\n"
			if test.err != io.EOF || strings.HasPrefix(test.in, "12345678") {
				continue
			}
			go io.WriteString(client, test.in+end)
			for _, want := range append(test.want, "the end") {
				line, err := c.readLine(test.max)
				if want == "the end" && test.max < 7 {
					want = "!"
				}
				if errors.Is(err, errLineTooLong) && want == "!" {
					continue
				}
				if err != nil || string(line) != want {
					t.Fatalf("%.20q: got %.20q %d bytes, %v; want %.20q %d bytes", test.in, line, len(line), err, want, len(want))
				}
			}
		}
	})
	for _, test := range tests {
		client, server := net.Pipe()
		go func() { io.WriteString(client, test.in); client.Close() }()
		c := connForTest(server)
		var err error
		for err == nil || errors.Is(err, errLineTooLong) {
			_, err = c.readLine(test.max)
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%.20q: ends with %v, want %v", test.in, err, test.err)
		}
	}
}

// What was buffered together is told by buffered, however it came.
func TestConnPipelined(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		go client.Write(bytes.Repeat([]byte("NOOP\r\n"), 100))
		if err := c.wait(0); err != nil {
			t.Fatal(err)
		}
		if c.buffered() != 600 {
			t.Errorf("%d bytes are buffered, want 600", c.buffered())
		}
		for range 100 {
			if line, err := c.readLine(10); err != nil || string(line) != "NOOP" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if c.buffered() != 0 {
			t.Errorf("%d bytes are left", c.buffered())
		}
	})
}

func TestConnPeek(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		want := strings.Repeat("0123456789", 10_000)
		go io.WriteString(client, want)
		var got []byte
		for len(got) < len(want)/2 {
			b, err := c.peek()
			if err != nil || len(b) == 0 {
				t.Fatal(len(b), err)
			}
			n := min(len(b), 777)
			got = append(got, b[:n]...)
			c.discard(n)
		}
		rest := make([]byte, len(want)-len(got))
		if _, err := io.ReadFull(c, rest); err != nil {
			t.Fatal(err)
		}
		if string(got)+string(rest) != want {
			t.Error("other bytes than were sent")
		}
	})
}

func TestConnWake(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		go client.Write([]byte("x")) // completes a TLS handshake
		if b, err := c.peek(); err != nil || len(b) != 1 {
			t.Fatal(err)
		}
		c.discard(1)
		c.wake() // before
		if err := c.wait(0); err != errWoken {
			t.Fatalf("woken before: %v", err)
		}
		for range 200 { // during, or about to
			go c.wake()
			runtime.Gosched()
			if err := c.wait(0); err != errWoken {
				t.Fatalf("woken during: %v", err)
			}
		}
		// A wake is not lost on a session that is reading, and does not disturb it.
		c.wake()
		go client.Write([]byte("DONE\r\n"))
		if line, err := c.readLine(100); err != nil || string(line) != "DONE" {
			t.Fatalf("%q, %v", line, err)
		}
		if err := c.wait(0); err != errWoken {
			t.Fatalf("after reading: %v", err)
		}
		if err := c.wait(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("not woken: %v", err)
		}
		go client.Write([]byte("NOOP\r\n"))
		if err := c.wait(0); err != nil {
			t.Fatal(err)
		}
		c.wake() // input goes first
		if err := c.wait(0); err != nil {
			t.Fatal(err)
		}
		c.shutdown()
		if err := c.wait(0); err != errShutdown {
			t.Fatalf("shut down: %v", err)
		}
		if line, err := c.readLine(100); err != nil || string(line) != "NOOP" {
			t.Fatalf("%q, %v", line, err)
		}
		bye := make(chan string)
		go func() {
			b, _ := io.ReadAll(io.LimitReader(client, 9))
			bye <- string(b)
		}()
		c.printf("* BYE %d", 1)
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if b := <-bye; b != "* BYE 1\r\n" {
			t.Fatalf("%q", b)
		}
	})
}

// A session that has timed out of a wait goes on reading, in TLS as well.
func TestConnReadAfterTimeout(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		go client.Write([]byte("A\n"))
		if line, err := c.readLine(10); err != nil || string(line) != "A" {
			t.Fatal(err)
		}
		for range 3 {
			if err := c.wait(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		go client.Write([]byte("B\n"))
		if line, err := c.readLine(10); err != nil || string(line) != "B" {
			t.Fatalf("%q, %v", line, err)
		}
	})
}

func TestConnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		c := connForTest(server)
		defer c.Close()
		start := time.Now()
		if err := c.wait(30 * time.Minute); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 30*time.Minute {
			t.Errorf("wait: %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Hour, c.wake)
		if err := c.wait(2 * time.Hour); err != errWoken || time.Since(start) != 90*time.Minute {
			t.Errorf("wait: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if _, err := c.readLine(10); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != c.timeout {
			t.Errorf("readLine: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		c.printf("nobody reads this")
		if err := c.flush(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != c.timeout {
			t.Errorf("flush: %v after %v", err, time.Since(start))
		}
		if _, err := c.WriteString("x"); err == nil || c.flush() == nil {
			t.Error("a write error was forgotten")
		}
	})
}

func TestConnWrite(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		var want bytes.Buffer
		got := make(chan []byte)
		for _, n := range []int{1, 100, 16383, 16384, 16385, 40_000, 1_000_000, 3} {
			want.Write(bytes.Repeat([]byte{byte('a' + n%26)}, n))
		}
		go func() {
			b := make([]byte, 2*want.Len()+2)
			io.ReadFull(client, b)
			got <- b
		}()
		rest := want.Bytes()
		for _, n := range []int{1, 100, 16383, 16384, 16385, 40_000, 1_000_000, 3} {
			if m, err := c.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		c.printf("")
		c.WriteString(want.String())
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if b := <-got; string(b) != want.String()+"\r\n"+want.String() {
			t.Error("other bytes than were written")
		}
		if c.out != nil {
			t.Error("a flushed connection holds a buffer")
		}
	})
}

func TestConnSendFile(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 50_000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(big), 0o600); err != nil {
		t.Fatal(err)
	}
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want := "before " + big + big[5:25] + big[1000:500_000] + " after\r\n"
		got := make(chan []byte)
		go func() {
			b := make([]byte, len(want))
			io.ReadFull(client, b)
			got <- b
		}()
		c.WriteString("before ")
		c.sendFile(f, 0, int64(len(big)))
		c.sendFile(f, 5, 20)
		c.sendFile(f, 1000, 499_000)
		c.printf(" after")
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if b := <-got; string(b) != want {
			t.Errorf("other bytes than were to be sent: %.30q", b)
		}
		go io.Copy(io.Discard, client)
		if err := c.sendFile(f, int64(len(big))-20_000, 20_001); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("too short a file: %v", err)
		}
		if err := c.flush(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("too short a file was forgotten: %v", err)
		}
	})
}

// What a client (or somebody between) sends in clear behind STARTTLS is not
// taken for what it says inside of TLS.
func TestConnStartTLSInjection(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	c := connForTest(server)
	defer c.Close()
	go client.Write([]byte("STARTTLS\r\nMAIL FROM:<injected>\r\n"))
	if line, err := c.readLine(100); err != nil || string(line) != "STARTTLS" {
		t.Fatal(err)
	}
	if c.buffered() == 0 {
		t.Fatal("nothing was injected")
	}
	go func() {
		tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		tc.Write([]byte("EHLO secure\r\n"))
	}()
	if err := c.startTLS(connTLSConfig(t)); err != nil {
		t.Fatal(err)
	}
	if line, err := c.readLine(100); err != nil || string(line) != "EHLO secure" {
		t.Fatalf("%q, %v", line, err)
	}
	if c.tlsState() == nil || !c.isLocal() || c.remoteAddr().IsValid() {
		t.Error("not a TLS connection over a pipe?")
	}
}

// An idle connection holds no buffer, whatever was said before.
func TestConnIdleBuffers(t *testing.T) {
	eachConn(t, func(t *testing.T, c *conn, client net.Conn) {
		for _, n := range []int{10, connFirst, 5000} {
			go client.Write(append(bytes.Repeat([]byte("x"), n-1), '\n'))
			if _, err := c.readLine(10_000); err != nil {
				t.Fatal(err)
			}
			if err := c.wait(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			if _, isTCP := c.LocalAddr().(*net.TCPAddr); isTCP && c.in != nil {
				t.Errorf("holds a buffer after %d bytes", n)
			}
		}
	})
}

func TestConnAddr(t *testing.T) {
	_, server := connTCP(t)
	c := connForTest(server)
	if !c.isLocal() || c.remoteAddr().String() != "127.0.0.1" || c.tlsState() != nil {
		t.Errorf("%v, local %v", c.remoteAddr(), c.isLocal())
	}
}

func FuzzConnReadLine(f *testing.F) {
	f.Add("a\r\nb\n\r\nlong line here\r\nx", 5)
	f.Add(strings.Repeat("x", 20_000)+"\r\n", 19_999)
	f.Fuzz(func(t *testing.T, in string, max int) {
		if max < 0 || max > 1<<20 {
			return
		}
		client, server := net.Pipe()
		go func() { io.WriteString(client, in); client.Close() }()
		c := connForTest(server)
		defer c.Close()
		rest := in
		for {
			got, err := c.readLine(max)
			line, after, ended := strings.Cut(rest, "\n")
			line = strings.TrimSuffix(line, "\r")
			switch {
			case !ended:
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%q: %q, %v", in, got, err)
				}
				return
			case len(line) > max && err != errLineTooLong, len(line) <= max && (err != nil || string(got) != line):
				t.Fatalf("%q: %q, %v; want %q", in, got, err, line)
			}
			rest = after
		}
	})
}

// What handing lines and larger pieces to a client takes.
func BenchmarkConnWrite(b *testing.B) {
	line, piece := strings.Repeat("x", 60)+"\r\n", make([]byte, 20<<10)
	c := connForTest(&imapBenchClient{})
	b.SetBytes(int64(100*len(line) + len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			c.WriteString(line)
		}
		c.Write(piece)
		must(b, c.flush())
	}
}

// What taking lines from a client takes.
func BenchmarkConnReadLine(b *testing.B) {
	said := strings.Repeat("a1 UID FETCH 1:100 (FLAGS)\r\n", 1000)
	b.SetBytes(int64(len(said)))
	b.ReportAllocs()
	for b.Loop() {
		c := connForTest(&imapBenchClient{said: strings.NewReader(said)})
		for range 1000 {
			if _, err := c.readLine(1000); err != nil {
				b.Fatal(err)
			}
		}
	}
}
