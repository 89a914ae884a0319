package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// testSmtpServer serves a door on a loopback port.
func testSmtpServer(t testing.TB, door *smtpDoor) (addr string) {
	t.Helper()
	needLoopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	t.Cleanup(func() { l.Close(); sessions.Wait() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { door.serve(newConn(c, slog.New(slog.DiscardHandler), time.Minute)) })
		}
	}()
	return l.Addr().String()
}

// go-smtp's client, over TLS, with a login and all that we offer.
func TestSmtpClient(t *testing.T) {
	root := t.TempDir()
	door := testSmtpDoor(t, root, map[string][]string{}, "")
	door.kind = smtpSubmission
	door.plaintext = authPlaintextNever
	c, err := smtp.DialStartTLS(testSmtpServer(t, door), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("pc.lan"); err != nil {
		t.Fatal(err)
	}
	for _, extension := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "SIZE", "ENHANCEDSTATUSCODES", "AUTH"} {
		if ok, _ := c.Extension(extension); !ok {
			t.Errorf("no %s", extension)
		}
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS inside TLS")
	}
	if err := c.Auth(sasl.NewLoginClient("alice", "wrong")); err == nil {
		t.Error("a wrong password is taken")
	}
	if err := c.Auth(sasl.NewPlainClient("", "alice@example.org", "secret")); err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&body, ".%d\r\n..\r\n", i)
	}
	door.maxMessageSize = int64(body.Len())
	if err := c.SendMail("alice@example.org", []string{"bob@example.org"}, strings.NewReader(body.String())); err != nil {
		t.Fatal(err)
	}
	files := testEnvelopeFiles(t, root, "bob")
	if len(files) != 1 {
		t.Fatalf("bob has %q", files)
	}
	text, err := os.ReadFile(files[0])
	if !strings.HasSuffix(string(text), "+0000\r\n"+body.String()) && !strings.HasSuffix(string(text), "00\r\n"+body.String()) || err != nil {
		t.Errorf("%d bytes arrived of %d (%v)", len(text), body.Len(), err)
	}
	if err := c.Mail("jürgen@example.org", &smtp.MailOptions{UTF8: true, Body: smtp.Body8BitMIME, Size: 10}); err != nil {
		t.Error(err)
	}
	var refused *smtp.SMTPError
	if err := c.Rcpt("someone@example.com", nil); !errors.As(err, &refused) || refused.Code != 550 || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 1}) {
		t.Errorf("relaying: %v", err)
	}
	if err := c.Reset(); err != nil {
		t.Error(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
}

// go-smtp's LMTP client: a full disk is told, nothing is left behind, and the same
// session goes on when there is room.
func TestLmtpClientFullDisk(t *testing.T) {
	root := t.TempDir()
	door := testSmtpDoor(t, root, map[string][]string{}, "")
	door.kind = smtpLMTP
	nc, err := net.Dial("tcp", testSmtpServer(t, door))
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClientLMTP(nc)
	defer c.Close()
	send := func() error {
		if err := c.Mail("a@b", nil); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"alice@example.org", "bob@example.org"} {
			if err := c.Rcpt(to, nil); err != nil {
				t.Fatal(err)
			}
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "Subject: x\r\n\r\n"+strings.Repeat("x", 100000)); err != nil {
			t.Fatal(err)
		}
		return w.Close()
	}
	for _, step := range []string{"create", "write", "sync", "rename"} {
		fault := func(at, path string) error {
			if at == step && (strings.Contains(path, "/tmp/") || strings.Contains(path, "/new/")) {
				return syscall.ENOSPC
			}
			return nil
		}
		if _, err := door.deliverer.store.tree("alice"); err != nil {
			t.Fatal(err)
		}
		if _, err := door.deliverer.store.tree("bob"); err != nil {
			t.Fatal(err)
		}
		fileFault.Store(&fault)
		err := send()
		fileFault.Store(nil)
		var each smtp.LMTPDataError
		if !errors.As(err, &each) || len(each) != 2 {
			t.Errorf("%s: %v", step, err)
		}
		for to, err := range each {
			if err.Code != 452 || err.EnhancedCode != (smtp.EnhancedCode{4, 3, 1}) {
				t.Errorf("%s: %s: %v", step, to, err)
			}
		}
		if files := append(testEnvelopeFiles(t, root, "alice"), testEnvelopeFiles(t, root, "bob")...); len(files) != 0 {
			t.Errorf("%s: %q", step, files)
		}
	}
	if err := send(); err != nil {
		t.Error(err)
	}
	if files := append(testEnvelopeFiles(t, root, "alice"), testEnvelopeFiles(t, root, "bob")...); len(files) != 2 {
		t.Error(files)
	}
}

// A server that stops says so to a client that waits, and to one that is in the middle of
// a transaction.
func TestSmtpShutdown(t *testing.T) {
	door := testSmtpDoor(t, t.TempDir(), map[string][]string{}, "")
	client, server := net.Pipe()
	c := newConn(server, slog.New(slog.DiscardHandler), time.Minute)
	done := make(chan struct{})
	go func() { door.serve(c); close(done) }()
	go io.WriteString(client, "HELO pc\r\nMAIL FROM:<a@b>\r\n")
	var heard string
	for buf := make([]byte, 1000); !strings.HasSuffix(heard, "2.1.0 Sender is fine\r\n"); {
		n, err := client.Read(buf)
		if heard += string(buf[:n]); err != nil {
			t.Fatal(heard, err)
		}
	}
	c.shutdown()
	rest, err := io.ReadAll(client)
	if string(rest) != "421 4.3.2 pi.lan is shutting down\r\n" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	<-done
}

// BenchmarkSmtp is deliveries of 4 KB, one after the other on one connection.
func BenchmarkSmtp(b *testing.B) {
	door := testSmtpDoor(b, b.TempDir(), map[string][]string{}, "")
	script := &smtpScript{in: strings.NewReader("EHLO pc\r\n" + strings.Repeat("MAIL FROM:<a@b>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: x\r\n\r\n"+
		strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56)+".\r\n", b.N))}
	b.ResetTimer()
	door.serve(newConn(script, slog.New(slog.DiscardHandler), time.Minute))
	if n := strings.Count(script.out.String(), "Delivered as"); n != b.N {
		b.Fatal(n, b.N)
	}
}
