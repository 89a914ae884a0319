package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// imapSink is a client that takes all and says nothing.
type imapSink struct {
	net.Conn
	n int64
}

func (s *imapSink) Write(p []byte) (int, error)      { s.n += int64(len(p)); return len(p), nil }
func (s *imapSink) SetWriteDeadline(time.Time) error { return nil }

// imapTestBox opens a folder of n messages, each made by text.
func imapTestBox(tb testing.TB, n int, text func(i int) string) *mailboxView {
	root := tb.TempDir()
	for _, dir := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, "alice", dir), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range n {
		date := 1700000000 + int64(i)*60
		body := text(i)
		name := fmt.Sprintf("%d.M1P1.h,S=%d,W=%d:2,%s", date, len(body), len(body), []string{"", "S", "FS"}[i%3])
		path := filepath.Join(root, "alice", "cur", name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(date, 0), time.Unix(date, 0)); err != nil {
			tb.Fatal(err)
		}
	}
	store, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(store.close)
	tree, err := store.tree("alice")
	if err != nil {
		tb.Fatal(err)
	}
	v, err := tree.view("INBOX", false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.close)
	return v
}

func imapBenchText(i int) string {
	head := fmt.Sprintf("Return-Path: <joe@example.org>\r\nReceived: from x by y; Mon, 1 Jan 2024 10:00:00 +0000\r\n"+
		"From: Joe Doe <joe%d@example.org>\r\nTo: Alice <alice@example.org>\r\nSubject: message %d of many\r\n"+
		"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\n\r\n", i%100, i, i)
	return head + strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 90)
}

func benchmarkImapFetch(b *testing.B, n int, what string) {
	v := imapTestBox(b, n, imapBenchText)
	sink := &imapSink{}
	c := newConn(sink, slog.New(slog.DiscardHandler), time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		sink.n = 0
		items, err := imapTestReader(what).readFetchItems(true)
		if err != nil {
			b.Fatal(err)
		}
		f := &imapFetch{c: c, view: v, items: items}
		if err := f.run(imapSpans{{0, n}}); err != nil || f.err != nil || f.gone {
			b.Fatal(err, f.err, f.gone)
		}
		if err := c.flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(sink.n)
}

func BenchmarkImapFetchFlags(b *testing.B) { benchmarkImapFetch(b, 10000, "(FLAGS)") }
func BenchmarkImapFetchMetadata(b *testing.B) {
	benchmarkImapFetch(b, 10000, "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
}
func BenchmarkImapFetchFields(b *testing.B) {
	benchmarkImapFetch(b, 10000, "BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID)]")
}
func BenchmarkImapFetchBody(b *testing.B) { benchmarkImapFetch(b, 2000, "BODY.PEEK[]") }

func benchmarkImapSearch(b *testing.B, n int, what string, want int) {
	v := imapTestBox(b, n, imapBenchText)
	b.ReportAllocs()
	for b.Loop() {
		convert, _ := imapCharset("utf-8")
		p := &imapSearchParser{r: imapTestReader(what), now: time.Now(), convert: convert}
		key, err := p.readCriteria()
		if err != nil {
			b.Fatal(err)
		}
		s := &imapSearch{view: v, key: key, needles: p.needles}
		s.prepare(nil)
		if hits, err := s.find(false, false); err != nil || len(hits) != want {
			b.Fatal(len(hits), err)
		}
	}
}

func BenchmarkImapSearchUnseen(b *testing.B) { benchmarkImapSearch(b, 10000, "UNSEEN", 3334) }
func BenchmarkImapSearchSince(b *testing.B)  { benchmarkImapSearch(b, 10000, "SINCE 1-Jan-2020", 10000) }
func BenchmarkImapSearchSubject(b *testing.B) {
	benchmarkImapSearch(b, 10000, "SUBJECT \"99 of\"", 100)
}
func BenchmarkImapSearchBody(b *testing.B) { benchmarkImapSearch(b, 2000, "BODY \"no such words\"", 0) }
func BenchmarkImapSearchText(b *testing.B) { benchmarkImapSearch(b, 2000, "TEXT \"no such words\"", 0) }

// imapBenchClient has said all that it will say, and takes what it gets.
type imapBenchClient struct {
	imapSink
	said *strings.Reader
}

func (c *imapBenchClient) Read(p []byte) (int, error)      { return c.said.Read(p) }
func (c *imapBenchClient) Close() error                    { return nil }
func (c *imapBenchClient) SetDeadline(time.Time) error     { return nil }
func (c *imapBenchClient) SetReadDeadline(time.Time) error { return nil }
func (c *imapBenchClient) RemoteAddr() net.Addr            { return &net.UnixAddr{} }

// What a command takes from its first byte to the last of the answer, without what it does: the
// reader, the loop and the writer. A thousand come at once, after a login.
func BenchmarkImapCommands(b *testing.B) {
	door := testImapDoor(b, b.TempDir())
	said := "a0 LOGIN alice secret\r\n" + strings.Repeat("a1 NOOP\r\na2 ID (\"name\" \"bench\" \"version\" {3+}\r\n1.0)\r\na3 STATUS INBOX 7\r\na4 CAPABILITY\r\n", 250)
	b.SetBytes(int64(len(said)))
	b.ReportAllocs()
	for b.Loop() {
		client := &imapBenchClient{said: strings.NewReader(said)}
		door.serve(newConn(client, slog.New(slog.DiscardHandler), time.Minute))
		if client.n < 1000*20 {
			b.Fatal("only ", client.n, " bytes of answers")
		}
	}
}
