package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var testRetainNow = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

const testRetainDay = 24 * time.Hour

// testRetainClocks are the clocks of a retainer: wall may jump, running does not.
type testRetainClocks struct{ wall, running time.Time }

// pass lets time pass on both.
func (c *testRetainClocks) pass(d time.Duration) {
	c.wall, c.running = c.wall.Add(d), c.running.Add(d)
}

// testRetainer gives a retainer that noted its time an hour ago, and its log. kept is what it notes.
func testRetainer(st *mailboxStore, clocks *testRetainClocks, kept *string) (*retainer, *serverLog) {
	log := &serverLog{}
	return newRetainer(retainSettings{store: st, now: func() time.Time { return clocks.wall }, running: func() time.Time { return clocks.running },
		noted: *kept, note: func(text string) error { *kept = text; return nil }, stopped: func() bool { return false },
		log: logNew(log, slog.LevelInfo)}), log
}

// testRetainNoted is what a retainer notes that has counted to a time.
func testRetainNoted(at time.Time) string { return at.Format(time.RFC3339) + " 0s\n" }

// testRetainMail lays out a message for each time in cur/ of a folder, named as if it had come then.
func testRetainMail(t *testing.T, tree *mailboxTree, folder, flags string, times ...time.Time) {
	t.Helper()
	if folder != "INBOX" { // it was there before
		must(t, maildirSetSince(filepath.Join(tree.root, mailboxDir(folder)), retainEarliest))
	}
	for i, at := range times {
		name := fmt.Sprintf("%d.M%d%s.a:2,%s", at.Unix(), i, flags, flags)
		must(t, os.WriteFile(filepath.Join(tree.root, mailboxDir(folder), "cur", name), []byte("Subject: x\r\n\r\n"), 0o600))
	}
}

func testRetainPlan(rules map[string]int) retainPlan {
	return retainPlan{users: []string{"alice", "nobody"}, rules: func(string) map[string]int { return rules },
		from: "postmaster@pi.example.org", address: func(user string) string { return user + "@example.org" }}
}

func TestRetainDays(t *testing.T) {
	rules := map[string]int{"INBOX": 1, "Trash": 2, "lists/*": 3, "lists/go": 4, "lists/go/*": 5, "lists/keep": 0, "Junk": 6}
	for _, test := range []struct {
		folder, use string
		want        int
	}{{"INBOX", "", 1}, {"INBOX/a", "", 0}, {"Trash", "Trash", 2}, {"Trash/a", "", 0}, {"Trash", "", 2}, {"Deleted Messages", "Trash", 2}, {"lists", "", 0},
		{"lists/rust", "", 3}, {"lists/rust/x", "", 3}, {"lists/go", "", 4}, {"lists/go/x", "", 5}, {"lists/go/x/y", "", 5}, {"lists/keep", "", 0}, {"lists/spam", "Junk", 6},
		{"trash", "", 0}, {"Sent", "Sent", 0}} {
		if got := retainDays(rules, mailboxFolder{name: test.folder, use: test.use}); got != test.want {
			t.Errorf("%s (%s): %d days, want %d", test.folder, test.use, got, test.want)
		}
	}
}

// What has expired is the beginning of a folder, and messages without a time that can be go with the next one.
func TestRetainExpired(t *testing.T) {
	for _, test := range []struct {
		ages    string // days, "-": none that can be, "+": still to come, "x": removed by others
		expired int
		next    int // age in days
	}{{"", 0, 0}, {"31 30 29 1", 2, 29}, {"29 31", 0, 29}, {"- 29", 0, 29}, {"- 31 29", 2, 29}, {"- -", 0, 0}, {"31 - - 29", 1, 29},
		{"31 + 31 + 1", 3, 1}, {"+ +", 0, 0}, {"31 x 31", 3, 0}, {"x", 0, 0}, {"40 35 31", 3, 0}} {
		ages := strings.Fields(test.ages)
		at := func(i int) (time.Time, error) {
			switch ages[i] {
			case "-":
				return time.Unix(1000, 0), nil
			case "+":
				return testRetainNow.Add(3650 * testRetainDay), nil
			case "x":
				return time.Time{}, errMailboxExpunged
			}
			var days int
			fmt.Sscan(ages[i], &days)
			return testRetainNow.Add(-time.Duration(days) * testRetainDay), nil
		}
		expired, next, err := retainExpired(len(ages), at, time.Time{}, testRetainNow.Add(-30*testRetainDay), testRetainNow)
		want := time.Time{}
		if test.next > 0 {
			want = testRetainNow.Add(-time.Duration(test.next) * testRetainDay)
		}
		if err != nil || expired != test.expired || !next.Equal(want) {
			t.Errorf("%s: %d, %v, %v; want %d, %v", test.ages, expired, next, err, test.expired, want)
		}
	}
	trouble := errors.New("trouble")
	if n, _, err := retainExpired(1, func(int) (time.Time, error) { return time.Time{}, trouble }, time.Time{}, testRetainNow, testRetainNow); n != 0 || err != trouble {
		t.Errorf("%d, %v", n, err)
	}
}

// The time by which mail expires never runs ahead of the clock, nor faster than twice as fast as the server runs.
func TestRetainClock(t *testing.T) {
	var kept string
	clocks := &testRetainClocks{wall: testRetainNow, running: time.Unix(0, 0)}
	r, log := testRetainer(testStore(t, t.TempDir()), clocks, &kept)
	plan := testRetainPlan(map[string]int{"Trash": 30})
	look := func(ready bool, behind time.Duration) {
		t.Helper()
		got := r.advance(clocks.wall, r.sinceLast())
		if got != ready || clocks.wall.Sub(r.at) != behind {
			t.Fatalf("ready %t, behind by %v; want %t, %v", got, clocks.wall.Sub(r.at), ready, behind)
		}
	}
	hours := func(n int) {
		for range n {
			clocks.pass(time.Hour)
			r.advance(clocks.wall, r.sinceLast())
		}
	}
	look(false, 0) // nothing was noted, so the first day is for looking
	hours(22)
	clocks.pass(time.Hour)
	look(false, 0)
	clocks.pass(time.Hour)
	look(true, 0)
	clocks.wall = clocks.wall.Add(10 * 365 * testRetainDay) // ten years ahead
	clocks.pass(time.Hour)
	look(true, 10*365*testRetainDay-time.Hour)
	if !strings.Contains(log.String(), "mail expires later") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%s", log)
	}
	clocks.wall = clocks.wall.Add(-10 * 365 * testRetainDay) // and back: it was ahead by what passed
	look(true, 0)
	clocks.wall = clocks.wall.Add(-40 * testRetainDay) // far back: it does not wait there for the clock
	clocks.pass(time.Hour)
	look(true, 0)
	// Started anew after a holiday of ten days, it catches up while it runs.
	r.keep()
	clocks.wall = clocks.wall.Add(10 * testRetainDay)
	clocks.running = time.Unix(5, 0)
	r, _ = testRetainer(r.store, clocks, &kept)
	look(true, 10*testRetainDay)
	hours(120)
	look(true, 5*testRetainDay)
	hours(120)
	look(true, 0)
	// Not believed: nothing moves, and nothing that ran meanwhile counts.
	at := r.at
	clocks.pass(time.Hour)
	wall := clocks.wall
	clocks.wall = time.Time{}
	r.run(plan)
	clocks.wall = wall.Add(5 * time.Hour)
	r.run(plan)
	if !r.at.Equal(at) {
		t.Errorf("at %v, want %v", r.at, at)
	}
}

// A clock that is ahead by years for a week takes nothing that is younger than half of its time.
func TestRetainClockAhead(t *testing.T) {
	kept := testRetainNoted(testRetainNow)
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	testRetainMail(t, tree, "Trash", "S", testRetainNow.Add(-29*testRetainDay), testRetainNow.Add(-10*testRetainDay), testRetainNow)
	clocks := &testRetainClocks{wall: testRetainNow.Add(10 * 365 * testRetainDay), running: time.Unix(0, 0)}
	r, _ := testRetainer(st, clocks, &kept)
	for hour := range 7 * 24 {
		if hour%50 == 49 { // and the server ends now and then
			r.keep()
			r, _ = testRetainer(st, clocks, &kept)
		}
		r.run(testRetainPlan(map[string]int{"Trash": 30}))
		clocks.pass(time.Hour)
	}
	if n := len(testFiles(t, tree, ".Trash/cur")); n != 2 {
		t.Errorf("%d messages are left, want 2: only the one that had a day to go", n)
	}
}

func TestRetainNote(t *testing.T) {
	for text, want := range map[string]string{"": "", "2026-11-26T12:00:00Z 3h0m0s\n": "2026-11-26T12:00:00Z 3h0m0s", "2026-11-26T12:00:00Z": "", "2026-11-26T12:00:00Z 3h0": "",
		"2026-11-26T12:00:00Z -3h": "", "2026-11-26T12:00:00Z 300h": "", "x 0s": "", "2026-11-26T12:00:00Z 0s": "2026-11-26T12:00:00Z 0s"} {
		at, wait := retainParseNote(text)
		got := ""
		if !at.IsZero() {
			got = at.Format(time.RFC3339) + " " + wait.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Expired messages go as by an expunge: views hear of it, the quota counts it, each is a line of the log. What POP3
// has hidden or moved stays, and so does what is young.
func TestRetainRemoves(t *testing.T) {
	kept := testRetainNoted(testRetainNow)
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	testQuota(t, st, "1000000S,1000C")
	must(t, os.WriteFile(filepath.Join(tree.root, ".Trash", "dovecot-keywords"), []byte("0 $POP3Moved\n1 $POP3Deleted\n2 other\n"), 0o600))
	old, young := testRetainNow.Add(-31*testRetainDay), testRetainNow.Add(-29*testRetainDay)
	testRetainMail(t, tree, "Trash", "S", old, old, young)
	testRetainMail(t, tree, "Trash", "Sa", old)
	testRetainMail(t, tree, "Trash", "b", old)
	testRetainMail(t, tree, "Trash", "c", old)
	testRetainMail(t, tree, "INBOX", "S", old)
	must(t, tree.create("Trash/below", ""))
	testRetainMail(t, tree, "Trash/below", "S", old)
	v := testView(t, tree, "Trash")
	testUsage(t, tree, mailboxQuota{8 * 14, 8})
	clocks := &testRetainClocks{wall: testRetainNow, running: time.Unix(0, 0)}
	r, log := testRetainer(st, clocks, &kept)
	plan := testRetainPlan(map[string]int{"Trash": 30})
	clocks.wall = time.Time{}
	r.run(plan)
	if n := len(testFiles(t, tree, ".Trash/cur")); n != 6 {
		t.Fatalf("with a clock that is not believed %d messages are left", n)
	}
	clocks.wall = testRetainNow
	r.run(plan)
	if changes := testSync(t, v, true); len(changes.expunged) != 3 || len(v.uids()) != 3 {
		t.Errorf("the view hears %+v", changes)
	}
	names := strings.Join(testFiles(t, tree, ".Trash/cur"), " ")
	if strings.Count(names, ":2,") != 3 || !strings.Contains(names, ":2,Sa") || !strings.Contains(names, ":2,b") || strings.Contains(names, ":2,c") {
		t.Errorf("left: %s", names)
	}
	testUsage(t, tree, mailboxQuota{5 * 14, 5})
	if got := log.String(); strings.Count(got, "msg=expired user=alice folder=Trash uid=") != 3 || !strings.Contains(got, "days=30") || strings.Count(got, "\n") != 3 {
		t.Errorf("%s", got)
	}
	if names := testFiles(t, tree, ".Trash.below/cur"); len(names) != 1 {
		t.Errorf("below: %q", names)
	}
	// The next is due in a day, and not before.
	for hour := range 24 {
		if n := len(testFiles(t, tree, ".Trash/cur")); n != 3 {
			t.Fatalf("after %d hours %d are left", hour, n)
		}
		clocks.pass(time.Hour)
		r.run(plan)
	}
	if n := len(testFiles(t, tree, ".Trash/cur")); n != 2 {
		t.Errorf("in the end %d are left", n)
	}
	if _, err := os.Stat(filepath.Join(st.root, "nobody")); err == nil {
		t.Error("it made a Maildir for somebody who has no mail")
	}
}

// A folder that is moved to where a rule holds has been there since it was moved, whatever the time of what is in it; also if the time was not
// known then.
func TestRetainMoved(t *testing.T) {
	for _, known := range []bool{true, false} {
		kept := testRetainNoted(testRetainNow)
		st := testStore(t, t.TempDir())
		st.now = func() time.Time { return map[bool]time.Time{true: testRetainNow}[known] }
		tree := testTree(t, st)
		must(t, tree.create("Work/2025", ""))
		must(t, tree.create("Trash/Other", ""))
		testRetainMail(t, tree, "Work/2025", "S", testRetainNow.Add(-400*testRetainDay))
		must(t, tree.rename("Work", "Trash/Work"))
		clocks := &testRetainClocks{wall: testRetainNow, running: time.Unix(0, 0)}
		r, _ := testRetainer(st, clocks, &kept)
		plan := testRetainPlan(map[string]int{"Trash/*": 30})
		for day := range 32 {
			would, err := retainCheck(tree.root, plan.rules(""), clocks.wall)
			if err != nil || len(would) > 0 != (day == 30) {
				t.Errorf("day %d: %+v, %v", day, would, err)
			}
			r.run(plan)
			if n := len(testFiles(t, tree, ".Trash.Work.2025/cur")); n != map[bool]int{true: 1}[day < 30] {
				t.Fatalf("day %d: there are %d", day, n)
			}
			if day < 30 {
				clocks.pass(testRetainDay)
			}
		}
	}
}

// What does not work is tried again, and nothing that must stay is lost by it. A process that ends between the files and
// the sync has removed what was to be removed.
func TestRetainFails(t *testing.T) {
	kept := testRetainNoted(testRetainNow)
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	old := testRetainNow.Add(-31 * testRetainDay)
	testRetainMail(t, tree, "Trash", "S", slices.Repeat([]time.Time{old}, retainBatch+20)...)
	testRetainMail(t, tree, "Trash", "F", testRetainNow)
	clocks := &testRetainClocks{wall: testRetainNow, running: time.Unix(0, 0)}
	r, log := testRetainer(st, clocks, &kept)
	plan := testRetainPlan(map[string]int{"Trash": 30})
	if err := tree.limits(); err != (mailboxQuota{}) {
		t.Fatal(err)
	}
	v := testView(t, tree, "Trash") // so that UIDs are given before
	full := func(step, path string) error {
		if step == "syncdir" {
			return &os.PathError{Op: step, Path: path, Err: os.ErrDeadlineExceeded}
		}
		return nil
	}
	fileFault.Store(&full)
	r.run(plan)
	fileFault.Store(nil)
	if !strings.Contains(log.String(), "removing expired mail") {
		t.Errorf("it does not say what went wrong:\n%s", log)
	}
	r, log = testRetainer(st, clocks, &kept) // as after a crash
	r.run(plan)
	if names := testFiles(t, tree, ".Trash/cur"); len(names) != 1 || !strings.HasSuffix(names[0], ":2,F") {
		t.Errorf("%d are left: %q", len(names), names[:min(len(names), 3)])
	}
	if changes := testSync(t, v, true); len(changes.expunged) != retainBatch+20 {
		t.Errorf("the view hears of %d", len(changes.expunged))
	}
	if n := strings.Count(log.String(), "msg=expired"); n != 20 {
		t.Errorf("the second round says %d messages, want the second batch", n)
	}
	// One that is about to end begins nothing.
	testRetainMail(t, tree, "Trash", "S", old)
	r.stopped = func() bool { return true }
	clocks.pass(48 * time.Hour)
	r.run(plan)
	if n := len(testFiles(t, tree, ".Trash/cur")); n != 2 {
		t.Errorf("%d messages", n)
	}
}

func TestRetainLevel(t *testing.T) {
	before := 0
	for _, step := range []struct{ percent, want int }{{0, 0}, {79, 0}, {80, 80}, {79, 80}, {75, 80}, {94, 80}, {95, 95}, {90, 95}, {94, 95}, {89, 80}, {95, 95}, {74, 0},
		{76, 0}, {100, 95}, {0, 0}, {1000, 95}, {85, 80}, {74, 0}} {
		if before = retainLevel(before, step.percent); before != step.want {
			t.Errorf("at %d %%: %d, want %d", step.percent, before, step.want)
		}
	}
	for _, test := range []struct {
		limits, used mailboxQuota
		percent      int
		messages     bool
	}{{mailboxQuota{100, 0}, mailboxQuota{80, 5}, 80, false}, {mailboxQuota{100, 10}, mailboxQuota{80, 9}, 90, true}, {mailboxQuota{1 << 62, 0}, mailboxQuota{1 << 61, 0}, 50, false},
		{mailboxQuota{1, 0}, mailboxQuota{1 << 62, 0}, 1000, false}, {mailboxQuota{}, mailboxQuota{5, 5}, 0, false}} {
		if percent, messages := retainPercent(test.limits, test.used); percent != test.percent || messages != test.messages {
			t.Errorf("%+v: %d, %t", test, percent, messages)
		}
	}
}

// A user is warned once at each level, also over restarts, and again only after there was room. The warning takes
// nobody beyond the limit.
func TestRetainWarns(t *testing.T) {
	kept := ""
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	testQuota(t, st, "20C")
	clocks := &testRetainClocks{wall: testRetainNow, running: time.Unix(0, 0)}
	r, log := testRetainer(st, clocks, &kept)
	plan := testRetainPlan(nil)
	warnings := 0
	look := func(more int) {
		t.Helper()
		warnings += more
		for range 3 {
			r.run(plan)
			clocks.pass(time.Hour)
		}
		if n := strings.Count(log.String(), "warned of the quota"); n != warnings {
			t.Fatalf("%d warnings, want %d:\n%s", n, warnings, log)
		}
	}
	restart := func() {
		l := log
		r, _ = testRetainer(st, clocks, &kept)
		r.log = logNew(l, slog.LevelInfo)
	}
	fill := func(n int) {
		for range n {
			testDeliver(t, tree, "Archive", testMail(1))
		}
	}
	fill(15)
	look(0)
	fill(1)
	look(1) // 16 of 20, and the warning is the 17th
	restart()
	look(0)
	fill(2) // 19 of 20: the warning has room still
	look(1)
	restart()
	look(0)
	v := testView(t, tree, "Archive")
	testSync(t, v, true)
	must(t, v.remove(v.uids()[:4])) // 16: well below 95, not below 75
	look(0)
	fill(3) // 19
	look(1)
	testSync(t, v, true)
	must(t, v.remove(v.uids()[:9])) // far below
	look(0)
	fill(9) // all that is allowed: there is no room
	look(0)
	if got := log.String(); strings.Count(got, "no room for the warning") != 1 {
		t.Errorf("%s", got)
	}
	testUsage(t, tree, mailboxQuota{testRetainUsed(t, tree).bytes, 20})
	texts, err := filepath.Glob(filepath.Join(tree.root, "new", "*"))
	must(t, err)
	if len(texts) != 3 {
		t.Fatalf("%d warnings in INBOX", len(texts))
	}
	text := "" // of all: the microseconds in the names have no leading zeros, so the names do not sort by time
	for _, name := range texts {
		one, err := os.ReadFile(name)
		must(t, err)
		text += string(one)
	}
	for _, want := range []string{"From: Letterbox <postmaster@pi.example.org>\r\nTo: <alice@example.org>\r\nSubject: Your mailbox is 80 % full\r\nDate: Thu, 26 Nov 2026",
		"You have 16 messages of mail. At most 20 messages are allowed.\r\n", "\r\n    Archive: ", ", 16 messages\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the warning does not say %q:\n%s", want, text)
		}
	}
	if kept != "" {
		t.Errorf("without a rule, the time is noted: %q", kept)
	}
}

func testRetainUsed(t *testing.T, tree *mailboxTree) mailboxQuota {
	t.Helper()
	_, used, err := tree.usage()
	must(t, err)
	return used
}

func TestRetainSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536: "1.5 KiB", 200 << 10: "200 KiB", 3 << 30: "3.0 GiB", 5 << 50: "5120 TiB"} {
		if got := retainSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
