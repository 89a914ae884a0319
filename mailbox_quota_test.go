package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testQuota gives all users the limits that a maildirsize would begin with, such as "2000S,3C".
func testQuota(t testing.TB, st *mailboxStore, text string) {
	t.Helper()
	if text == "" {
		return
	}
	limits, ok := maildirParseLimits(text)
	if !ok {
		t.Fatalf("%q are no limits", text)
	}
	st.limitQuotas(func(string) mailboxQuota { return mailboxQuota(limits) })
}

func TestMaildirSum(t *testing.T) {
	for _, test := range []struct {
		text, want string
	}{
		{"1000S,5C\n10 1\n", "{{1000 5} {10 1}"},
		{"1000S\n10 1\n-4 0\n", "{{1000 0} {6 1}"},
		{"5C\n    10            1\n", "{{0 5} {10 1}"}, // as Courier pads
		{"\n10 1\n", "{{0 0} {10 1}"},
		{"1000S,7X\n0 0\n", "{{1000 0} {0 0}"},
		{"", ""}, {"1000S", ""}, {"1000S\n", ""}, {"1000S\n10 1", ""}, {"1000S\n10\n", ""}, {"1000S\n10 1 1\n", ""}, {"1000S\nx 1\n", ""},
		{"1000\n10 1\n", ""}, {"-1S\n10 1\n", ""}, {"1000S\n-1 0\n", ""}, {"1000S\n1 -1\n", ""},
		{"1S\n9223372036854775807 0\n1 0\n", ""}, {"1S\n99999999999999999999 0\n", ""},
		{"1S\n" + strings.Repeat("1 1\n", maildirSizeMost/4), ""},
	} {
		sum, err := maildirParseSum([]byte(test.text))
		if err == nil && test.want == "" || err != nil && test.want != "" || err == nil && !strings.HasPrefix(fmt.Sprint(sum), test.want) {
			t.Errorf("%.40q: %v, %v", test.text, sum, err)
		}
	}
}

func FuzzMaildirSum(f *testing.F) {
	f.Add("1000S,5C\n10 1\n-3 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		sum, err := maildirParseSum([]byte(text))
		if err != nil {
			return
		}
		again, err := maildirParseSum(sum.used.appendLine(sum.limits.appendTo(nil)))
		if err != nil || again.limits != sum.limits || again.used != sum.used {
			t.Errorf("%v is read as %v, %v", sum, again, err)
		}
	})
}

// testUsage is what the user is said to have.
func testUsage(t *testing.T, tree *mailboxTree, want mailboxQuota) {
	t.Helper()
	if _, used, err := tree.usage(); err != nil || used != want {
		t.Errorf("%+v, %v; want %+v", used, err, want)
	}
}

func TestMailboxQuotaCounts(t *testing.T) {
	dir := t.TempDir()
	st := testStore(t, dir)
	testQuota(t, st, "1000000S,100C")
	tree := testTree(t, st)
	testUsage(t, tree, mailboxQuota{})
	for _, name := range []string{"new/1.M1P1.pi", "new/2.M2P1.pi,S=500", ".Sent/cur/3.M3P1.pi,S=40:2,S"} {
		must(t, os.WriteFile(filepath.Join(dir, "alice", name), []byte("Subject: x\r\n\r\n"), 0o600))
	}
	testUsage(t, tree, mailboxQuota{}) // another program has not said so
	tree.recount()
	testUsage(t, tree, mailboxQuota{14 + 500 + 40, 3})

	v, err := tree.view("INBOX", false, nil)
	must(t, err)
	defer v.close()
	must(t, v.remove(v.uids()[1:]))
	testUsage(t, tree, mailboxQuota{14 + 40, 2})
	_, err = v.copy(v.uids(), "Sent")
	must(t, err)
	testUsage(t, tree, mailboxQuota{14 + 40 + 14, 3})
	_, err = v.move(v.uids(), "Trash")
	must(t, err)
	testUsage(t, tree, mailboxQuota{14 + 40 + 14, 3})

	path := filepath.Join(dir, "alice", maildirSizeName)
	must(t, os.WriteFile(path, []byte("broken"), 0o600))
	testUsage(t, tree, mailboxQuota{14 + 40 + 14, 3})
	testQuota(t, st, "2000S") // other limits: counted anew, and noted
	testUsage(t, tree, mailboxQuota{14 + 40 + 14, 3})
	text, err := os.ReadFile(path)
	if must(t, err); string(text) != "2000S\n68 3\n" {
		t.Errorf("%q", text)
	}
}

// A sum that says a user has too much is made anew, if it is not young.
func TestMailboxQuotaStale(t *testing.T) {
	dir := t.TempDir()
	st := testStore(t, dir)
	testQuota(t, st, "1000S")
	tree := testTree(t, st)
	path := filepath.Join(dir, "alice", maildirSizeName)
	must(t, os.WriteFile(path, []byte("1000S\n999 9\n"), 0o600))
	if err := tree.room(100, 1); err != errMailboxQuota {
		t.Errorf("a young sum is not believed: %v", err)
	}
	old := time.Now().Add(-2 * maildirSizeStale)
	must(t, os.Chtimes(path, old, old))
	must(t, tree.room(100, 1))
}

// Deliveries at the same time are all counted.
func TestMailboxQuotaTogether(t *testing.T) {
	st := testStore(t, t.TempDir())
	testQuota(t, st, "1000000S")
	tree := testTree(t, st)
	testUsage(t, tree, mailboxQuota{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				d, err := tree.draft("INBOX")
				if err == nil {
					_, err = d.Write([]byte("Subject: x\r\n\r\n"))
				}
				if err == nil {
					err = d.finish(time.Now())
				}
				if err == nil {
					err = mailboxDeliver([]*mailboxDraft{d})[0]
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() { tree.recount() })
	}
	wg.Wait()
	testUsage(t, tree, mailboxQuota{80 * 14, 80})
}
