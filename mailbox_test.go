package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testStore is a store in a directory of the test's own.
func testStore(t testing.TB, dir string) *mailboxStore {
	t.Helper()
	st, err := newMailboxStore(mailboxSettings{root: dir, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.close)
	return st
}

// testAccess is what a tree's own user sees, without the folders of others.
func testAccess(tree *mailboxTree) *mailboxAccess {
	return &mailboxAccess{own: tree, st: tree.st, user: tree.user}
}

func testTree(t testing.TB, st *mailboxStore) *mailboxTree {
	t.Helper()
	tree, err := st.tree("alice")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func testDeliver(t testing.TB, tree *mailboxTree, folder string, texts ...string) {
	t.Helper()
	var drafts []*mailboxDraft
	for _, text := range texts {
		drafts = append(drafts, testDraft(t, tree, folder, text))
	}
	if err := errors.Join(mailboxDeliver(drafts)...); err != nil {
		t.Fatal(err)
	}
}

func testDraft(t testing.TB, tree *mailboxTree, folder, text string) *mailboxDraft {
	t.Helper()
	d, err := tree.draft(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := d.finish(time.Unix(1700000000, 0)); err != nil {
		t.Fatal(err)
	}
	return d
}

func testView(t testing.TB, tree *mailboxTree, folder string) *mailboxView {
	t.Helper()
	v, err := tree.view(folder, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	return v
}

func testSync(t testing.TB, v *mailboxView, expunges bool) mailboxChanges {
	t.Helper()
	changes, err := v.sync(expunges)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func testMail(n int) string { return fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", n, n) }

// testFiles lists new/ and cur/ of INBOX.
func testFiles(t testing.TB, tree *mailboxTree, sub string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(tree.root, sub))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMailboxRecent(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	status, err := tree.status("INBOX", true)
	if err != nil || status.messages != 2 || status.recent != 2 || status.unseen != 2 || status.uidNext != 3 {
		t.Fatalf("status %+v, %v", status, err)
	}
	if n := len(testFiles(t, tree, "new")); n != 2 {
		t.Fatalf("STATUS left %d files in new/", n)
	}
	reader, err := tree.view("INBOX", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	if n := testSync(t, reader, true).recent; n != 2 || len(testFiles(t, tree, "new")) != 2 {
		t.Fatalf("a read-only view has %d recent", n)
	}
	first := testView(t, tree, "INBOX")
	if n := testSync(t, first, true).recent; n != 2 || len(testFiles(t, tree, "cur")) != 2 {
		t.Fatalf("the first view has %d recent", n)
	}
	second := testView(t, tree, "INBOX")
	if n := testSync(t, second, true).recent; n != 0 {
		t.Fatalf("the second view has %d recent", n)
	}
	testDeliver(t, tree, "INBOX", testMail(3))
	changes := testSync(t, second, false)
	if !changes.exists || changes.recent != 1 || !slices.Equal(second.uids(), []uint32{1, 2, 3}) {
		t.Fatalf("%+v %v", changes, second.uids())
	}
}

func TestMailboxNumbering(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	for n := range 6 {
		testDeliver(t, tree, "INBOX", testMail(n))
	}
	a, b := testView(t, tree, "INBOX"), testView(t, tree, "INBOX")
	if _, err := a.store([]uint32{2, 4, 5, 99}, mailboxAdd, mailboxFlagDeleted, false, 0); err != nil {
		t.Fatal(err)
	}
	if got := testSync(t, a, false).changed; !slices.Equal(got, []uint32{2, 4, 5}) {
		t.Errorf("own changes told: %v", got)
	}
	if err := a.expunge([]uint32{1, 2, 5}); err != nil {
		t.Fatal(err)
	}
	changes := testSync(t, b, false)
	if len(changes.expunged) != 0 || len(b.uids()) != 6 || !slices.Equal(changes.changed, []uint32{4}) {
		t.Fatalf("without expunges: %+v, %v", changes, b.uids())
	}
	testDeliver(t, tree, "INBOX", testMail(7))
	if changes = testSync(t, b, false); !changes.exists || len(b.uids()) != 7 {
		t.Fatalf("without expunges, with new mail: %+v, %v", changes, b.uids())
	}
	if got := len(b.messages(b.uids())); got != 5 {
		t.Errorf("%d messages exist, want 5", got)
	}
	changes = testSync(t, b, true)
	if !slices.Equal(changes.expunged, []uint32{2, 5}) || !slices.Equal(changes.numbers, []uint32{2, 4}) {
		t.Fatalf("expunged %v as %v", changes.expunged, changes.numbers)
	}
	if !slices.Equal(b.uids(), []uint32{1, 3, 4, 6, 7}) {
		t.Fatal(b.uids())
	}
	if _, err := a.store([]uint32{1}, mailboxAdd, mailboxFlagSeen, true, 0); err != nil {
		t.Fatal(err)
	}
	testSync(t, a, true)
	if got := testSync(t, b, true).changed; !slices.Equal(got, []uint32{1}) {
		t.Errorf("the other session hears of %v", got)
	}
	if _, err := b.store([]uint32{1}, mailboxAdd, mailboxFlagFlagged, true, 0); err != nil {
		t.Fatal(err)
	}
	if got := testSync(t, b, true).changed; len(got) != 0 {
		t.Errorf("a silent change told: %v", got)
	}
	modified, err := b.store([]uint32{1, 3}, mailboxAdd, mailboxFlagAnswered, true, a.highestModSeq())
	if err != nil || !slices.Equal(modified, []uint32{1}) {
		t.Errorf("modified %v, %v", modified, err)
	}
}

func TestMailboxFlagsOnDisk(t *testing.T) {
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	keywords, err := v.keywordFlags([]string{"$Important", "$forwarded", "$important"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.store(v.uids(), mailboxSet, mailboxFlagSeen|mailboxFlagDraft|keywords, true, 0); err != nil {
		t.Fatal(err)
	}
	names := testFiles(t, tree, "cur")
	if len(names) != 1 || !strings.HasSuffix(names[0], "2,DPSab") {
		t.Fatalf("%q", names)
	}
	if _, err := v.store(v.uids(), mailboxRemove, mailboxFlagForwarded, true, 0); err != nil {
		t.Fatal(err)
	}
	if names = testFiles(t, tree, "cur"); !strings.HasSuffix(names[0], "2,DSa") {
		t.Fatalf("%q", names)
	}
	for n := range 24 {
		if _, err := v.keywordFlags([]string{fmt.Sprintf("k%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if !v.keywordsFull() {
		t.Error("26 keywords are not full")
	}
	if _, err := v.keywordFlags([]string{"more"}); !errors.Is(mailboxError(err), errMailboxKeywords) {
		t.Errorf("the 27th keyword: %v", err)
	}
	// Another start reads the same.
	v = testView(t, testTree(t, testStore(t, st.root)), "INBOX")
	m := v.messages(v.uids())
	if len(m) != 1 || m[0].flags != mailboxFlagSeen|mailboxFlagDraft|1<<mailboxKeyword0 || v.keywords()[0] != "$Important" {
		t.Fatalf("%+v %q", m, v.keywords())
	}
}

func TestMailboxForeignChanges(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2), testMail(3))
	v := testView(t, tree, "INBOX")
	cur := filepath.Join(tree.root, "cur")
	names := testFiles(t, tree, "cur")
	slices.SortFunc(names, func(a, b string) int {
		if testMadeBefore(a, b) {
			return -1
		}
		return 1
	})
	// Another program flags the first, removes the second and delivers one more.
	base, _, _, _ := maildirParse(names[0])
	must(t, os.Rename(filepath.Join(cur, names[0]), filepath.Join(cur, base+":2,FS")))
	must(t, os.Remove(filepath.Join(cur, names[1])))
	must(t, os.WriteFile(filepath.Join(tree.root, "new", "1700000001.foreign"), []byte(testMail(4)), 0o600))
	if f, err := v.open(1); err != nil {
		t.Errorf("open of a renamed file: %v", err)
	} else {
		f.Close()
	}
	changed := map[uint32]bool{}
	for range mailboxMissesMost + 1 {
		must(t, v.mb.locked(nil, v.mb.rescan))
		for _, uid := range testSync(t, v, true).changed {
			changed[uid] = true
		}
	}
	if !slices.Equal(v.uids(), []uint32{1, 3, 4}) || !changed[1] || len(changed) != 1 {
		t.Fatalf("uids %v, changed %v", v.uids(), changed)
	}
	if m := v.messages([]uint32{1}); m[0].flags != mailboxFlagFlagged|mailboxFlagSeen {
		t.Errorf("flags %v", m[0].flags)
	}
	if size, err := v.size(4); err != nil || size != int64(len(testMail(4))) {
		t.Errorf("size %d, %v", size, err)
	}
	if _, err := v.open(2); !errors.Is(err, errMailboxExpunged) {
		t.Errorf("open of a removed file: %v", err)
	}
	// What changes behind our back while we change it ourselves.
	names = testFiles(t, tree, "cur")
	for _, name := range names {
		base, _, _, _ := maildirParse(name)
		must(t, os.Rename(filepath.Join(cur, name), filepath.Join(cur, base+":2,RT")))
	}
	if _, err := v.store([]uint32{1, 3, 4}, mailboxAdd, mailboxFlagFlagged, true, 0); err != nil {
		t.Fatal(err)
	}
	must(t, v.expunge(nil))
	if len(testFiles(t, tree, "cur")) != 0 || len(testSync(t, v, true).expunged) != 3 {
		t.Errorf("left after expunge: %q", testFiles(t, tree, "cur"))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMailboxOneMessageTwoNames(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	name := testFiles(t, tree, "new")[0]
	from := filepath.Join(tree.root, "new", name)
	must(t, os.Link(from, filepath.Join(tree.root, "cur", name+":2,S")))
	must(t, os.Link(from, filepath.Join(tree.root, "cur", name+":2,F")))
	v := testView(t, tree, "INBOX")
	cur := testFiles(t, tree, "cur")
	if len(v.uids()) != 1 || len(testFiles(t, tree, "new")) != 0 || len(cur) != 1 || !strings.HasSuffix(cur[0], ":2,FS") {
		t.Fatalf("%v, new %q, cur %q", v.uids(), testFiles(t, tree, "new"), cur)
	}
}

func TestMailboxUidlistLost(t *testing.T) {
	dir := t.TempDir()
	tree := testTree(t, testStore(t, dir))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	v := testView(t, tree, "INBOX")
	before := v.uidValidity()
	must(t, os.Remove(filepath.Join(tree.root, "dovecot-uidlist")))
	must(t, os.WriteFile(filepath.Join(tree.root, "new", "1700000001.foreign"), []byte(testMail(4)), 0o600))
	if _, err := v.sync(true); !errors.Is(err, errMailboxGone) {
		t.Errorf("the old view: %v", err)
	}
	again := testView(t, tree, "INBOX")
	if again.uidValidity() <= before || len(again.uids()) != 3 {
		t.Errorf("UIDVALIDITY %d after %d, %d messages", again.uidValidity(), before, len(again.uids()))
	}
}

func TestMailboxCopyAndMove(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2), testMail(3))
	v := testView(t, tree, "INBOX")
	keyword, err := v.keywordFlags([]string{"Work"})
	must(t, err)
	_, err = v.store([]uint32{2}, mailboxSet, mailboxFlagSeen|keyword, true, 0)
	must(t, err)
	archive := testView(t, tree, "Archive")
	_, err = archive.keywordFlags([]string{"Other"})
	must(t, err)
	copied, err := v.copy([]uint32{1, 2, 77}, "Archive")
	if err != nil || !slices.Equal(copied.from, []uint32{1, 2}) || !slices.Equal(copied.to, []uint32{1, 2}) {
		t.Fatalf("%+v, %v", copied, err)
	}
	testSync(t, archive, true)
	m := archive.messages(archive.uids())
	if len(m) != 2 || m[1].flags != mailboxFlagSeen|2<<mailboxKeyword0 || !m[0].recent || copied.uidValidity != archive.uidValidity() {
		t.Fatalf("%+v %q", m, archive.keywords())
	}
	date, err := archive.date(1)
	if err != nil || date.Unix() != 1700000000 {
		t.Errorf("date %v, %v", date, err)
	}
	moved, err := v.move([]uint32{3, 1}, "Archive")
	if err != nil || !slices.Equal(moved.to, []uint32{3, 4}) {
		t.Fatalf("%+v, %v", moved, err)
	}
	if got := testSync(t, v, true).expunged; !slices.Equal(got, []uint32{1, 3}) {
		t.Errorf("expunged %v", got)
	}
	again, err := v.copy([]uint32{2}, "INBOX")
	if err != nil || !slices.Equal(again.to, []uint32{4}) {
		t.Errorf("copy within a folder: %+v, %v", again, err)
	}
	if _, err := v.copy([]uint32{2}, "Nowhere"); !errors.Is(err, errMailboxNotFound) {
		t.Errorf("copy to nowhere: %v", err)
	}
}

func TestMailboxAppend(t *testing.T) {
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	drafts := []*mailboxDraft{testDraft(t, tree, "Sent", testMail(1)), testDraft(t, tree, "Sent", testMail(2))}
	validity, uids, err := mailboxAppend(drafts, []mailboxAppendFlags{{mailboxFlagSeen, []string{"$MDNSent"}}, {}})
	if err != nil || !slices.Equal(uids, []uint32{1, 2}) || validity == 0 {
		t.Fatalf("%d %v %v", validity, uids, err)
	}
	v := testView(t, tree, "Sent")
	m := v.messages(v.uids())
	if len(m) != 2 || m[0].flags != mailboxFlagSeen|1<<mailboxKeyword0 || m[0].recent || !m[1].recent {
		t.Fatalf("%+v", m)
	}
	s, err := v.summary(2)
	if err != nil || s.wireSize != int64(len(testMail(2))) {
		t.Fatalf("%+v, %v", s, err)
	}
	// A restart knows the same UIDs.
	v = testView(t, testTree(t, testStore(t, st.root)), "Sent")
	if v.uidValidity() != validity || !slices.Equal(v.uids(), uids) || v.uidNext() != 3 {
		t.Errorf("after a restart: %d %v, next %d", v.uidValidity(), v.uids(), v.uidNext())
	}
}

func TestMailboxTree(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	names := func() string {
		list, err := tree.folders()
		must(t, err)
		var b strings.Builder
		for _, f := range list {
			fmt.Fprintf(&b, "%s", f.name)
			if !f.selectable {
				b.WriteString("!")
			}
			if f.use != "" {
				b.WriteString("=" + f.use)
			}
			b.WriteString(" ")
		}
		return strings.TrimSpace(b.String())
	}
	if got, want := names(), "INBOX Archive=Archive Drafts=Drafts Junk=Junk Sent=Sent Trash=Trash"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	must(t, tree.create("März/2026 & more", ""))
	must(t, tree.create("Gesendet", "Sent"))
	must(t, tree.rename("Trash", "Müll"))
	must(t, tree.delete("Junk"))
	if got, want := names(), "INBOX Archive=Archive Drafts=Drafts Gesendet=Sent März! März/2026 & more Müll=Trash Sent"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	if err := tree.create("gesendet/../x", ""); !errors.Is(err, errMailboxName) {
		t.Errorf("a name that leaves the folder: %v", err)
	}
	for _, name := range []string{"", "/", "a/", "/a", "a//b", "a.b", "..", "~root", "a\x00b", "a\nb", "a\xff", strings.Repeat("x", 300)} {
		if err := tree.create(name, ""); !errors.Is(err, errMailboxName) {
			t.Errorf("create %q: %v", name, err)
		}
	}
	if err := tree.create("inbox", ""); !errors.Is(err, errMailboxExists) {
		t.Errorf("create inbox: %v", err)
	}
	if err := tree.delete("INBOX"); !errors.Is(err, errMailboxName) {
		t.Errorf("delete INBOX: %v", err)
	}
	if err := tree.rename("März", "März/2026 & more/x"); !errors.Is(err, errMailboxName) {
		t.Errorf("rename below itself: %v", err)
	}
	must(t, tree.rename("März", "April"))
	testDeliver(t, tree, "INBOX", testMail(1))
	must(t, tree.rename("INBOX", "Old"))
	if got, want := names(), "INBOX April! April/2026 & more Archive=Archive Drafts=Drafts Gesendet=Sent Müll=Trash Old Sent"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	if s, err := tree.status("Old", false); err != nil || s.messages != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if name, err := tree.special("Junk"); err != nil || name != "Junk" {
		t.Errorf("special: %q, %v", name, err)
	}
	must(t, tree.subscribe("Old", true))
	must(t, tree.subscribe("Sent", false))
	subs, err := tree.subscriptions()
	must(t, err)
	if !slices.Contains(subs, "Old") || slices.Contains(subs, "Sent") {
		t.Errorf("%q", subs)
	}
}

// A folder that is deleted and made again at once has a larger UIDVALIDITY.
func TestMailboxDeletedFolder(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	last := uint32(0)
	for range 3 {
		must(t, tree.create("Box", ""))
		v := testView(t, tree, "Box")
		if v.uidValidity() <= last {
			t.Fatalf("UIDVALIDITY %d after %d", v.uidValidity(), last)
		}
		last = v.uidValidity()
		must(t, tree.delete("Box"))
		if _, err := v.sync(true); !errors.Is(err, errMailboxGone) {
			t.Fatalf("a view of a deleted folder: %v", err)
		}
	}
}

func TestMailboxNames(t *testing.T) {
	for _, x := range []struct{ name, dir string }{
		{"INBOX", ""},
		{"Sent", ".Sent"},
		{"INBOX/a", ".INBOX.a"},
		{"Archiv/März", ".Archiv.M&AOQ-rz"},
		{"A & B", ".A &- B"},
		{"日本語", ".&ZeVnLIqe-"},
		{"😀", ".&2D3eAA-"},
	} {
		if got := mailboxDir(x.name); got != x.dir {
			t.Errorf("%q is %q, want %q", x.name, got, x.dir)
		}
		if x.dir == "" {
			continue
		}
		if got, ok := mailboxNameOfDir(x.dir); !ok || got != x.name {
			t.Errorf("%q is %q, %v", x.dir, got, ok)
		}
	}
	for _, coded := range []string{"&", "&AOQ", "a&!!-", "&AGE-", "&AOQ-&AOQ-", "&2D0-", "\xff", "&AO-", "ä"} {
		if name, err := mailboxDecodeName(coded); err == nil {
			t.Errorf("%q decodes to %q", coded, name)
		}
	}
}

func FuzzMailboxName(f *testing.F) {
	f.Add("Archiv/M&AOQ-rz")
	f.Add("&ZeVnLIqe-&-")
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := mailboxDecodeName(s); err == nil && mailboxEncodeName(name) != s {
			t.Fatalf("%q decodes to %q, which encodes to %q", s, name, mailboxEncodeName(name))
		}
		clean, err := mailboxCleanName(s)
		if err != nil {
			return
		}
		dir := mailboxDir(clean)
		if strings.Contains(dir, "/") || strings.Contains(dir, "..") || strings.ContainsRune(dir, 0) {
			t.Fatalf("%q leads to %q", s, dir)
		}
		if back, ok := mailboxNameOfDir(dir); dir != "" && (!ok || back != clean) {
			t.Fatalf("%q is in %q, which is %q", clean, dir, back)
		}
	})
}

// Two stores on one directory stand for two Letterboxes on one tree. Each has
// sessions that deliver, flag, move and expunge at random; every UID that any of
// them was ever told goes into a ledger.
func TestMailboxTwoStores(t *testing.T) {
	dir := t.TempDir()
	ledger := &testLedger{texts: map[string]string{}}
	var wg sync.WaitGroup
	var delivered, expunged sync.Map
	for n := range 4 {
		if n == 2 && testing.Short() {
			break
		}
		tree := testTree(t, testStore(t, dir))
		for k := range 2 {
			wg.Go(func() {
				testWriter(t, tree, ledger, &delivered, &expunged, rand.New(rand.NewPCG(uint64(n), uint64(k))), n*10+k)
			})
		}
	}
	wg.Wait()
	st := testStore(t, dir)
	tree := testTree(t, st)
	left := map[string]int{}
	for _, folder := range []string{"INBOX", "Archive"} {
		v := testView(t, tree, folder)
		ledger.look(t, v, folder)
		for _, uid := range v.uids() {
			left[testText(t, v, uid)]++
		}
	}
	delivered.Range(func(text, _ any) bool {
		_, gone := expunged.Load(text)
		if n := left[text.(string)]; !gone && n != 1 {
			t.Errorf("%q is there %d times", text, n)
		}
		return true
	})
}

// testLedger holds what a UID of a folder once named.
type testLedger struct {
	mu    sync.Mutex
	texts map[string]string
}

func (l *testLedger) look(t *testing.T, v *mailboxView, folder string) {
	for _, uid := range v.uids() {
		text := testText(t, v, uid)
		if text == "" {
			continue
		}
		key := fmt.Sprint(folder, " ", v.uidValidity(), " ", uid)
		l.mu.Lock()
		if old, ok := l.texts[key]; ok && old != text {
			t.Errorf("UID %s named %q and now %q", key, old, text)
		}
		l.texts[key] = text
		l.mu.Unlock()
	}
}

func testText(t *testing.T, v *mailboxView, uid uint32) string {
	f, err := v.open(uid)
	if errors.Is(err, errMailboxExpunged) {
		return ""
	} else if err != nil {
		t.Error(err)
		return ""
	}
	defer f.Close()
	b := make([]byte, 100)
	n, _ := f.Read(b)
	return string(b[:n])
}

func testWriter(t *testing.T, tree *mailboxTree, ledger *testLedger, delivered, expunged *sync.Map, random *rand.Rand, id int) {
	for n := range 25 {
		folder := []string{"INBOX", "Archive"}[random.IntN(2)]
		other := map[string]string{"INBOX": "Archive", "Archive": "INBOX"}[folder]
		text := fmt.Sprintf("Subject: %d.%d\r\n\r\n", id, n)
		if random.IntN(2) == 0 {
			d := testDraft(t, tree, folder, text)
			if err := mailboxDeliver([]*mailboxDraft{d})[0]; err != nil {
				t.Error(err)
			}
		} else if _, _, err := mailboxAppend([]*mailboxDraft{testDraft(t, tree, folder, text)}, []mailboxAppendFlags{{}}); err != nil {
			t.Error(err)
		}
		delivered.Store(text, true)
		v, err := tree.view(folder, false, nil)
		if err != nil {
			t.Error(err)
			return
		}
		last := uint32(0)
		for _, uid := range v.uids() {
			if uid <= last {
				t.Errorf("UIDs do not ascend: %v", v.uids())
			}
			last = uid
		}
		ledger.look(t, v, folder)
		if len(v.uids()) == 0 { // others have moved or expunged all of it, our own message, too
			v.close()
			continue
		}
		uid := v.uids()[random.IntN(len(v.uids()))]
		switch random.IntN(4) {
		case 0:
			_, err = v.store(v.uids(), mailboxAdd, mailboxFlagSeen, true, 0)
		case 1:
			_, err = v.store([]uint32{uid}, mailboxRemove, mailboxFlagSeen, true, 0)
		case 2:
			_, err = v.move([]uint32{uid}, other)
		case 3:
			expunged.Store(testText(t, v, uid), true)
			if _, err = v.store([]uint32{uid}, mailboxAdd, mailboxFlagDeleted, true, 0); err == nil {
				err = v.expunge([]uint32{uid})
			}
		}
		if err != nil {
			t.Error(err)
		}
		if _, err := v.sync(true); err != nil {
			t.Error(err)
		}
		ledger.look(t, v, folder)
		v.close()
	}
}

// A session that waits hears of a delivery at once, also when a later look at the
// directories is planned already.
func TestMailboxHearsAtOnce(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	heard := make(chan struct{}, 100)
	v, err := tree.view("INBOX", false, func() { heard <- struct{}{} })
	must(t, err)
	defer v.close()
	for n := range 5 {
		testDeliver(t, tree, "INBOX", testMail(n))
		mb := v.mb
		mb.mu.Lock()
		looked, due := len(mb.records) == n+1, time.Until(mb.timerAt)
		mb.mu.Unlock()
		if !looked && due > mailboxRescanDelay/2 {
			t.Errorf("after delivery %d the next look is in %v", n+1, due)
		}
		<-heard
		testSync(t, v, true)
		if len(v.uids()) != n+1 {
			t.Errorf("%d messages after delivery %d", len(v.uids()), n+1)
		}
	}
}

// A folder that is gone, or cannot be read, is not looked at again and again.
func TestMailboxGoneIsLeftAlone(t *testing.T) {
	for _, c := range []struct {
		why   string
		spoil func(path string) error
		most  time.Duration
	}{
		{"gone", os.RemoveAll, 0},
		{"unreadable", func(path string) error {
			return errors.Join(os.RemoveAll(path+"/new"), os.WriteFile(path+"/new", nil, 0o600))
		}, mailboxPollTime},
	} {
		tree := testTree(t, testStore(t, t.TempDir()))
		must(t, tree.create("Box", ""))
		v, err := tree.view("Box", false, func() {})
		must(t, err)
		defer v.close()
		v.mb.mu.Lock()
		v.mb.scanDue = time.Now()
		v.mb.mu.Unlock()
		must(t, c.spoil(v.mb.md.path))
		v.mb.refreshForOthers()
		v.mb.mu.Lock()
		if next := v.mb.timerAt; next.IsZero() != (c.most == 0) || c.most > 0 && time.Until(next) < c.most/2 {
			t.Errorf("a folder that is %s is looked at again in %v", c.why, time.Until(next))
		}
		v.mb.mu.Unlock()
	}
}
