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

// testPopExpires reads what CAPA is to say: "14", or "14 30": the least of all users', and the user's own.
func testPopExpires(t *testing.T, text string) func(user string) (days int, varies bool) {
	var least, own int
	if n, _ := fmt.Sscan(text, &least, &own); n == 0 {
		t.Fatalf("expire %q", text)
	}
	return func(user string) (int, bool) {
		if own > 0 && user != "" {
			return own, false
		}
		return least, own > 0
	}
}

// What was fetched whole in a session that ended with QUIT goes the way of on_delete after its time; nothing else does.
func TestPopExpire(t *testing.T) {
	const wait = 14 * 24 * time.Hour
	for onDelete, want := range map[string]string{
		"hide":    "cur/1700000000 Sa,cur/1700000001 S,new/1700000002 ,new/1700000003 ",
		"delete":  "cur/1700000001 S,new/1700000002 ,new/1700000003 ",
		"trash":   ".Trash/cur/ Sa,cur/1700000001 S,new/1700000002 ,new/1700000003 ",
		"archive": ".Archive/cur/ Sa,cur/1700000001 S,new/1700000002 ,new/1700000003 ",
	} {
		root := t.TempDir()
		testPopMail(t, root, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n", "Subject: 3\r\n\r\n", "Subject: 4\r\n\r\n")
		d := testPopDoor(t, root)
		d.onDelete, d.marks, d.expire = onDelete, true, wait
		start := time.Now()
		testPopTalk(d, testPopLogin+"RETR 1\r\nTOP 3 0\r\nQUIT\r\n")
		testPopTalk(d, testPopLogin+"RETR 2\r\n") // breaks off
		log := &serverLog{}
		run := func(passed time.Duration) {
			t.Helper()
			now := start.Add(passed)
			must(t, popExpiry{store: d.store, user: "alice", onDelete: onDelete, marks: true, before: now.Add(-wait), now: now, log: logNew(log, slog.LevelInfo)}.run())
		}
		run(wait - time.Minute)
		if log.String() != "" {
			t.Errorf("%s: too early: %s", onDelete, log)
		}
		testPopTalk(d, testPopLogin+"RETR 1\r\nQUIT\r\n") // the first time counts
		noted, err := os.ReadFile(filepath.Join(root, "alice", maildirFetchedName))
		if must(t, err); strings.Count(string(noted), "\n") != 1 || !strings.Contains(string(noted), " 1 1 ") {
			t.Errorf("%s: noted %q", onDelete, noted)
		}
		run(wait + time.Minute)
		if got := log.String(); strings.Count(got, "expired for POP3") != 1 || !strings.Contains(got, "uid=1 ") {
			t.Errorf("%s: %s", onDelete, got)
		}
		if got := strings.Join(testPopFiles(t, root), ","); got != want {
			t.Errorf("%s: %q, want %q", onDelete, got, want)
		}
		noted, err = os.ReadFile(filepath.Join(root, "alice", maildirFetchedName))
		if must(t, err); len(noted) != 0 {
			t.Errorf("%s: what is gone is still noted: %q", onDelete, noted)
		}
		run(3 * wait)
		if strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: again: %s", onDelete, log)
		}
		if answers, _ := testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n"); !strings.Contains(answers, "+OK 3 ") {
			t.Errorf("%s: POP3 lists %q", onDelete, answers)
		}
		// The Trash's rule is not for what POP3 has moved there.
		kept := testRetainNoted(start.Add(100 * wait))
		r, _ := testRetainer(d.store, &testRetainClocks{wall: start.Add(100 * wait)}, &kept)
		r.run(testRetainPlan(map[string]int{"Trash": 1, "Archive": 1}))
		if got := strings.Join(testPopFiles(t, root), ","); got != want {
			t.Errorf("%s: after the Trash's time: %q, want %q", onDelete, got, want)
		}
	}
}

// Messages that were noted without a time, or with one that is still to come, were fetched now.
func TestPopExpireClock(t *testing.T) {
	root := t.TempDir()
	testPopMail(t, root, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n", "Subject: 3\r\n\r\n")
	d := testPopDoor(t, root)
	d.expire = time.Hour
	now := time.Now()
	d.store.now = func() time.Time { return time.Time{} }
	testPopTalk(d, testPopLogin+"RETR 1\r\nQUIT\r\n")
	d.store.now = func() time.Time { return now.Add(1000 * time.Hour) }
	testPopTalk(d, testPopLogin+"RETR 2\r\nQUIT\r\n")
	d.store.now = func() time.Time { return now }
	testPopTalk(d, testPopLogin+"RETR 3\r\nQUIT\r\n")
	for _, step := range []struct {
		hours int
		left  string
	}{{0, "+OK 3 "}, {1, "+OK 0 "}} {
		at := now.Add(time.Duration(step.hours) * time.Hour)
		must(t, popExpiry{store: d.store, user: "alice", onDelete: "delete", before: at.Add(-time.Hour), now: at, log: slog.New(slog.DiscardHandler)}.run())
		if answers, _ := testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n"); !strings.Contains(answers, step.left) {
			t.Errorf("after %d hours: %q", step.hours, answers)
		}
	}
	// An exclusive session has the messages for itself.
	testPopMail(t, root, "Subject: 1\r\n\r\n")
	testPopTalk(d, testPopLogin+"RETR 1\r\nQUIT\r\n")
	locks := newPopLocks()
	locks.take("alice")
	e := popExpiry{store: d.store, user: "alice", onDelete: "delete", lock: locks, before: now.Add(time.Hour), now: now.Add(time.Hour), log: slog.New(slog.DiscardHandler)}
	must(t, e.run())
	locks.release("alice")
	if answers, _ := testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n"); !strings.Contains(answers, "+OK 1 ") {
		t.Errorf("locked: %q", answers)
	}
	must(t, e.run())
	if answers, _ := testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n"); !strings.Contains(answers, "+OK 0 ") {
		t.Errorf("no longer locked: %q", answers)
	}
}

// Lines that are none, or torn, count as not there, and what is appended behind them is read.
func TestMaildirFetched(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, maildirFetchedName)
	must(t, os.WriteFile(path, []byte("7 1 3 1700000000\n7 5 4 1700000000\nx\n7 0 1 5\n7 1 1 -1\n7 4 4 170000"), 0o600))
	must(t, maildirAddFetched(root, []maildirFetched{{7, 9, 10, 0}}))
	list, size, err := maildirReadFetched(root)
	if want := "[{7 1 3 1700000000} {7 4 4 170000} {7 9 10 0}]"; err != nil || fmt.Sprint(list) != want {
		t.Errorf("%v, %v, want %s", list, err, want)
	}
	must(t, maildirAddFetched(root, []maildirFetched{{7, 11, 11, 5}}))
	must(t, maildirReplaceFetched(root, []maildirFetched{{7, 9, 9, 8}}, size))
	list, _, err = maildirReadFetched(root)
	if want := "[{7 9 9 8} {7 11 11 5}]"; err != nil || fmt.Sprint(list) != want {
		t.Errorf("%v, %v, want %s", list, err, want)
	}
	full := func(step, path string) error { return &os.PathError{Op: step, Path: path, Err: os.ErrDeadlineExceeded} }
	fileFault.Store(&full)
	defer fileFault.Store(nil)
	if maildirAddFetched(root, []maildirFetched{{7, 12, 12, 5}}) == nil || maildirReplaceFetched(root, nil, 0) == nil {
		t.Error("a disk that fails is not told")
	}
}

func FuzzMaildirFetched(f *testing.F) {
	f.Add("7 1 3 1700000000\n7 4 4294967295 0\n")
	f.Add("7 1 3 1700000000")
	f.Fuzz(func(t *testing.T, text string) {
		var again []byte
		list := maildirParseFetched(text)
		for _, l := range list {
			if l.first == 0 || l.last < l.first || l.at < 0 {
				t.Errorf("%+v", l)
			}
			again = l.appendTo(again)
		}
		if got := maildirParseFetched(string(again)); fmt.Sprint(got) != fmt.Sprint(list) {
			t.Errorf("%v, and then %v", list, got)
		}
	})
}
