package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// benchMailboxRoot makes an INBOX of n messages as another program would have left it.
func benchMailboxRoot(tb testing.TB, n int) (root string) {
	tb.Helper()
	root = tb.TempDir()
	dir := filepath.Join(root, "alice")
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(tb, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	body := strings.Repeat("A line of the body of a message, as long as such lines are.\r\n", 20)
	for i := range n {
		date := 1700000000 + int64(i)*60
		text := fmt.Sprintf("From: Someone <a%d@example.org>\r\nTo: Alice <alice@example.org>\r\nSubject: number %d\r\n"+
			"Date: Mon, 2 Mar 2026 10:00:00 +0100\r\nMessage-ID: <%d@example.org>\r\n\r\n", i%100, i, i) + body
		name := fmt.Sprintf("%d.M%dP1Q%d.host,S=%d,W=%d:2,%s", date, i, i, len(text), len(text), []string{"", "S", "FS"}[i%3])
		must(tb, os.WriteFile(filepath.Join(dir, "cur", name), []byte(text), 0o600))
	}
	old := time.Now().Add(-time.Hour)
	for _, sub := range []string{"cur", "new"} {
		must(tb, os.Chtimes(filepath.Join(dir, sub), old, old))
	}
	return root
}

func benchMailboxStore(tb testing.TB, root string) *mailboxStore {
	tb.Helper()
	st, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	must(tb, err)
	return st
}

func benchMailboxView(tb testing.TB, st *mailboxStore) *mailboxView {
	tb.Helper()
	tree, err := st.tree("alice")
	must(tb, err)
	v, err := tree.view("INBOX", false, nil)
	must(tb, err)
	return v
}

// What SELECT takes: with nothing known, with a uidlist alone, and with the index.
func BenchmarkMailboxOpen(b *testing.B) {
	root := benchMailboxRoot(b, 10_000)
	dir := filepath.Join(root, "alice")
	for _, c := range []struct {
		name   string
		remove []string
	}{
		{"cold", []string{"letterbox.index*", "dovecot-uidlist"}},
		{"uidlist", []string{"letterbox.index*"}},
		{"index", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for _, pattern := range c.remove {
					names, err := filepath.Glob(filepath.Join(dir, pattern))
					must(b, err)
					for _, name := range names {
						must(b, os.Remove(name))
					}
				}
				st := benchMailboxStore(b, root)
				b.StartTimer()
				v := benchMailboxView(b, st)
				b.StopTimer()
				if len(v.uids()) != 10_000 {
					b.Fatal(len(v.uids()))
				}
				v.close()
				st.close()
				b.StartTimer()
			}
		})
	}
}

// What FETCH of all summaries takes, in the batches that it takes them in.
func BenchmarkMailboxSummaries(b *testing.B) {
	st := benchMailboxStore(b, benchMailboxRoot(b, 10_000))
	defer st.close()
	v := benchMailboxView(b, st)
	defer v.close()
	for _, uid := range v.uids() {
		_, err := v.summary(uid)
		must(b, err)
	}
	var s mailboxSummaries
	b.ReportAllocs()
	for b.Loop() {
		for at := 0; at < len(v.uids()); at += imapFetchBatchKnown {
			uids := v.uids()[at:min(at+imapFetchBatchKnown, len(v.uids()))]
			if v.knownSummaries(uids, &s)[len(uids)-1] == nil {
				b.Fatal("not known")
			}
		}
	}
}

// What STORE and EXPUNGE of all take.
func BenchmarkMailboxStore(b *testing.B) {
	st := benchMailboxStore(b, benchMailboxRoot(b, 10_000))
	defer st.close()
	v := benchMailboxView(b, st)
	defer v.close()
	op := mailboxAdd
	b.ReportAllocs()
	for b.Loop() {
		_, err := v.store(v.uids(), op, mailboxFlagFlagged|mailboxFlagDraft, true, 0)
		must(b, err)
		op = mailboxAdd + mailboxRemove - op
	}
}

func BenchmarkMailboxExpunge(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		st := benchMailboxStore(b, benchMailboxRoot(b, 10_000))
		v := benchMailboxView(b, st)
		b.StartTimer()
		must(b, v.remove(v.uids()))
		b.StopTimer()
		v.close()
		st.close()
		b.StartTimer()
	}
}
