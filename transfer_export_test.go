package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testExport(tree *mailboxTree) *transferExport {
	return &transferExport{tree: tree, tell: func(*transferCounts) {}}
}

// Import, export, import: the same bytes in both files, and the same messages in both folders.
func TestTransferRoundTrip(t *testing.T) {
	first := "From a@b Mon Mar  2 10:00:00 2026\nReturn-Path: <a@b>\nSubject: 1\nStatus: RO\nX-Status: AF\nX-Keywords: $Forwarded work\n\n>From one\n\n\n\n" +
		"From MAILER-DAEMON Mon Mar  2 10:00:01 2026\nSubject: 2\nStatus: O\nX-Status: TD\nX-Keywords: \n\n" +
		"From MAILER-DAEMON Mon Mar  2 10:00:02 2026\nStatus: O\nX-Status: \nX-Keywords: home\n\n\x00\xff\rno header\n\n"
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{"mbox": first})
	st := testStore(t, filepath.Join(dir, "mail"))
	testImport(t, testJob(st), filepath.Join(dir, "mbox"), 3, 0)
	var file bytes.Buffer
	must(t, testExport(testTree(t, st)).mbox(context.Background(), "INBOX", &file))
	if file.String() != first {
		t.Errorf("exported:\n%q\nwant:\n%q", file.String(), first)
	}
	must(t, os.WriteFile(filepath.Join(dir, "again"), file.Bytes(), 0o600))
	other := testStore(t, filepath.Join(dir, "other"))
	testImport(t, testJob(other), filepath.Join(dir, "again"), 3, 0)
	testWantContents(t, testTree(t, other), testContents(t, testTree(t, st))...)
}

// A zip archive has each message as it is, in directories; unpacked and brought in, all is as it was.
func TestTransferZip(t *testing.T) {
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	must(t, tree.create("Work/Über: x?", ""))
	testDeliver(t, tree, "INBOX", "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nSubject: =?utf-8?q?a/b=3A_=C3=BC?=\r\n\r\none", "Date: Tue, 14 Nov 2023 22:13:20 +0000\n\n\x00two\n")
	testDeliver(t, tree, "Work/Über: x?", "Subject: ...\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\n")
	var file bytes.Buffer
	x := testExport(tree)
	names, err := x.names("")
	must(t, err)
	must(t, x.zip(context.Background(), names, &file))
	z, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	must(t, err)
	dir := t.TempDir()
	var got []string
	for _, entry := range z.File {
		if !filepath.IsLocal(entry.Name) {
			t.Errorf("%q leads out", entry.Name)
		}
		if strings.HasSuffix(entry.Name, "/") {
			continue
		}
		got = append(got, entry.Name)
		r, err := entry.Open()
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		if entry.Modified.Unix() != 1700000000 {
			t.Errorf("%s: %v", entry.Name, entry.Modified)
		}
		testLayOut(t, dir, map[string]string{entry.Name: string(text)})
	}
	want := []string{"INBOX/00000001 a_b_ ü.eml", "INBOX/00000002.eml", "Work/Über_ x_/00000001.eml"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	other := testStore(t, t.TempDir())
	testImport(t, testJob(other), dir, 3, 0)
	old, fresh := testContents(t, tree), testContents(t, testTree(t, other))
	for i := range old {
		old[i] = strings.Replace(strings.Replace(old[i], " []", " S[]", 1), "Über: x?", "Über_ x_", 1)
	}
	if !slices.Equal(old, fresh) {
		t.Errorf("%q\nwant %q", fresh, old)
	}
}

// A directory of mbox files is read as it was written.
func TestTransferMboxTree(t *testing.T) {
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	must(t, tree.create("A/B", ""))
	for _, name := range []string{"INBOX", "A/B", "Sent"} {
		testDeliver(t, tree, name, "Subject: "+name+"\r\n")
	}
	x, dir := testExport(tree), filepath.Join(t.TempDir(), "out")
	names, err := x.names("")
	must(t, err)
	must(t, x.mboxTree(context.Background(), names, dir))
	if err := x.mboxTree(context.Background(), names, dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	other := testStore(t, t.TempDir())
	testImport(t, testJob(other), dir, 3, 0)
	testWantContents(t, testTree(t, other), testContents(t, tree)...)
}

// Folders whose names would be one file's get different files, and messages with odd dates and senders stay messages.
func TestTransferExportOdd(t *testing.T) {
	st := testStore(t, t.TempDir())
	tree := testTree(t, st)
	long := strings.Repeat("x", 90)
	for i, name := range []string{" ", "a", "A", "a:b", "a?b", "A?B/c", "a?b/c", " /c", long + "1", long + "2"} {
		must(t, tree.create(name, ""))
		testDeliver(t, tree, name, testMail(i))
	}
	testDeliver(t, tree, "INBOX", "Return-Path: <"+long+long+long+long+">\r\nSubject: 1\r\n\r\n", "Subject: 2\r\n\r\n")
	v := testView(t, tree, "INBOX")
	for _, name := range testFiles(t, tree, "cur") {
		must(t, os.Chtimes(filepath.Join(tree.root, "cur", name), time.Unix(-1e8, 0), time.Unix(-1e8, 0)))
	}
	v.close()
	tree = testTree(t, testStore(t, st.root))
	x, dir := testExport(tree), t.TempDir()
	names, err := x.names("")
	must(t, err)
	must(t, x.mboxTree(context.Background(), names, dir))
	var file bytes.Buffer
	must(t, x.zip(context.Background(), names, &file))
	z, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	must(t, err)
	seen := map[string]bool{}
	for _, entry := range z.File {
		if key := strings.ToLower(entry.Name); seen[key] || !filepath.IsLocal(entry.Name) {
			t.Errorf("%q is there twice, or leads out", entry.Name)
		} else {
			seen[key] = true
		}
	}
	other := testStore(t, t.TempDir())
	testImport(t, testJob(other), dir, 12, 0)
	if got := testContents(t, testTree(t, other)); len(got) != 12 {
		t.Errorf("there is:\n%s", strings.Join(got, "\n"))
	}
}

// testBackup makes a snapshot and gives its directory.
func testBackup(t testing.TB, mail, dir string, keep int) string {
	t.Helper()
	b := &transferBackup{mail: mail, dir: dir, now: time.Unix(1772445600, 0), keep: keep, tell: func(*transferCounts) {}}
	name, err := b.run(context.Background())
	must(t, err)
	return filepath.Join(dir, name)
}

func testInode(t testing.TB, pattern string) uint64 {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %q, %v", pattern, paths, err)
	}
	info, err := os.Stat(paths[0])
	must(t, err)
	return uint64(info.Sys().(*syscall.Stat_t).Ino)
}

// A user restored into nothing is as before, UIDs, keywords and all; the snapshots share the messages.
func TestTransferBackup(t *testing.T) {
	for _, links := range []string{"links", "copies"} {
		t.Run(links, func(t *testing.T) {
			st, dir := testStore(t, t.TempDir()), t.TempDir()
			if links == "copies" { // the mail is on another disk
				other := func(step, path string) error {
					if step == "link" && strings.HasPrefix(path, dir) && strings.Contains(path, "T10-00-00Z.") {
						return syscall.EXDEV
					}
					return nil
				}
				fileFault.Store(&other)
				defer fileFault.Store(nil)
			}
			testImport(t, testJob(st), testDovecot(t), 5, 0)
			tree := testTree(t, st)
			must(t, tree.create("Steuer", "Archive"))
			want := testContents(t, tree)
			first := testBackup(t, st.root, dir, 0)
			v := testView(t, tree, "INBOX")
			_, err := v.store([]uint32{7}, mailboxAdd, mailboxFlagFlagged, false, 0)
			must(t, err)
			fileFault.Store(nil)
			second := testBackup(t, st.root, dir, 0)
			if a, b := testInode(t, first+"/mail/alice/cur/1001*"), testInode(t, second+"/mail/alice/cur/1001*"); links == "links" && a != b {
				t.Error("a message whose flags changed was copied")
			}
			for _, name := range []string{"letterbox.index", "maildirsize", "dovecot-uidlist.lock"} {
				if _, err := os.Stat(filepath.Join(first, "mail/alice", name)); err == nil {
					t.Errorf("%s is in the snapshot", name)
				}
			}
			names, err := transferSnapshots(dir)
			if err != nil || len(names) != 2 || filepath.Base(second) != names[1] {
				t.Errorf("%q, %v", names, err)
			}
			other := testStore(t, t.TempDir())
			job := testJob(other)
			job.link = true
			testImport(t, job, filepath.Join(first, "mail/alice"), 5, 0)
			restored := testTree(t, other)
			testWantContents(t, restored, want...)
			if name, err := restored.special("Archive"); err != nil || name != "Steuer" {
				t.Errorf("the special use: %q, %v", name, err)
			}
			if a, b := testView(t, restored, "INBOX").uidValidity(), v.uidValidity(); a != b {
				t.Errorf("UIDVALIDITY %d, was %d", a, b)
			}
		})
	}
}

// Where links to the mail cannot be made, a message is copied once, and linked from snapshot to snapshot.
func TestTransferBackupIncremental(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	other := func(step, path string) error {
		if step == "link" && strings.Contains(path, transferIncomplete) && !strings.Contains(path, "Z-") {
			return syscall.EXDEV
		}
		return nil
	}
	fileFault.Store(&other)
	defer fileFault.Store(nil)
	first := testBackup(t, st.root, dir, 0)
	v := testView(t, tree, "INBOX") // from new/ to cur/
	_, err := v.store(v.uids()[:1], mailboxAdd, mailboxFlagSeen, false, 0)
	must(t, err)
	b := &transferBackup{mail: st.root, dir: dir, now: time.Unix(1772445600, 0), tell: func(*transferCounts) {}}
	b.before = first
	into := filepath.Join(dir, "2026-03-02T10-00-00Z-9"+transferIncomplete)
	must(t, os.MkdirAll(into+"/mail/alice/cur", 0o700))
	must(t, os.MkdirAll(into+"/mail/alice/new", 0o700))
	b.into, b.same = into, false
	must(t, b.folder(context.Background(), &maildir{path: tree.root}, into+"/mail/alice", false))
	if b.counts.imported != 2 || b.counts.skipped != 2 || b.counts.bytes != 0 {
		t.Errorf("%+v", b.counts)
	}
	if a, b := testInode(t, first+"/mail/alice/new/"+v.fileBase(v.uids()[0])), testInode(t, into+"/mail/alice/cur/*:2,S"); a != b {
		t.Error("a message that has got flags was copied")
	}
}

// A snapshot is there whole or not at all, whatever fails and whenever it is killed; the oldest go.
func TestTransferBackupFails(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1))
	testView(t, tree, "INBOX")
	testBackup(t, st.root, dir, 0)
	for _, c := range []struct{ step, where string }{{"link", "/cur/"}, {"create", "dovecot-uidlist"}, {"write", "subscriptions"}, {"sync", transferIncomplete}, {"syncdir", "/cur"}, {"rename", "Z-2"}} {
		testFault(t, c.step, c.where, syscall.EIO)
		b := &transferBackup{mail: st.root, dir: dir, now: time.Unix(1772445600, 0), tell: func(*transferCounts) {}}
		if _, err := b.run(context.Background()); err == nil {
			t.Errorf("%s of %s fails, and nobody says so", c.step, c.where)
		}
		fileFault.Store(nil)
		if names, err := transferSnapshots(dir); err != nil || len(names) != 1 {
			t.Errorf("%s of %s fails: %q, %v", c.step, c.where, names, err)
		}
	}
	must(t, os.Mkdir(filepath.Join(dir, "2020-01-01T00-00-00Z"+transferRemoving), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "notes"+transferRemoving), 0o700))
	testBackup(t, st.root, dir, 0)
	third := testBackup(t, st.root, dir, 2)
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := []string{"2026-03-02T10-00-00Z-2", filepath.Base(third), "notes.removing"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Mail that is moved while a backup is made is in it, wherever it is moved to, and so is what is renamed.
func TestTransferBackupMeanwhile(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "Trash", testMail(1), testMail(2), testMail(3))
	v := testView(t, tree, "Trash")
	moved := false
	move := func(step, path string) error {
		if step == "link" && strings.Contains(path, "/.Trash/") && strings.Contains(path, dir) && !moved {
			moved = true // INBOX has been looked at
			_, err := v.move(v.uids()[1:2], "INBOX")
			must(t, err)
			_, err = v.store(v.uids()[2:], mailboxAdd, mailboxFlagSeen, false, 0)
			must(t, err)
		}
		return nil
	}
	fileFault.Store(&move)
	snapshot := testBackup(t, st.root, dir, 0)
	fileFault.Store(nil)
	if !moved {
		t.Fatal("nothing was moved")
	}
	other := testStore(t, t.TempDir())
	job := testJob(other)
	source := &transferMaildir{root: filepath.Join(snapshot, "mail/alice")}
	_, err := job.run(context.Background(), source)
	must(t, err)
	all := strings.Join(testContents(t, testTree(t, other)), "\n")
	for n := 1; n <= 3; n++ {
		if !strings.Contains(all, testMail(n)) {
			t.Errorf("message %d is missing:\n%s", n, all)
		}
	}
}

// A UID that was given after the snapshot is not given to another message once the snapshot has come back: mail programs know it.
func TestTransferBackupUIDs(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1))
	validity := testView(t, tree, "INBOX").uidValidity()
	snapshot := testBackup(t, st.root, dir, 0)
	testDeliver(t, tree, "INBOX", testMail(2))
	v := testView(t, tree, "INBOX")
	known := v.uids()[1]
	must(t, v.remove(v.uids())) // no mail, and a list of UIDs all the same
	for _, restored := range []*mailboxStore{st, testStore(t, t.TempDir())} {
		testImport(t, testJob(restored), filepath.Join(snapshot, "mail/alice"), 1, 0)
		restored = testStore(t, restored.root)
		testDeliver(t, testTree(t, restored), "INBOX", testMail(3))
		v := testView(t, testTree(t, restored), "INBOX")
		if uids := v.uids(); v.uidValidity() != validity || len(uids) != 2 || uids[0] != 1 || uids[1] <= known {
			t.Errorf("UIDVALIDITY %d, UIDs %d", v.uidValidity(), uids)
		}
	}
	for text, want := range map[string]string{"3 V7 N3 G0123 X\n2 :a\n5 :b\n": "3 V7 N16 G0123 X\n2 :a\n5 :b\n", "1 7 9\n2 a\n": "1 7 19\n2 a\n", "3 V7": "3 V7", "": "",
		"3 V7 N4294967290 G01\n": "3 V7 N4294967290 G01\n", "3 V7 N3 G01\n2 :a\n3": "3 V7 N14 G01\n2 :a\n3"} {
		if got := string(maildirUidlistRaised([]byte(text), 10)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A message that cannot be read does not keep the others from being saved, nor one that was saved before from staying; and a snapshot of a clock that was
// ahead is told of.
func TestTransferBackupUnreadable(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	files := testFiles(t, tree, "new")
	bad := func(step, path string) error {
		if step == "link" && strings.HasPrefix(path, dir) && !strings.Contains(path, "Z-2") {
			return syscall.EXDEV
		}
		if step == "open" && strings.HasSuffix(path, files[0]) {
			return syscall.EIO
		}
		return nil
	}
	fileFault.Store(&bad)
	defer fileFault.Store(nil)
	for i, want := range []transferCounts{{imported: 1, failed: 1}, {imported: 2}} {
		var failed []string
		b := &transferBackup{mail: st.root, dir: dir, now: time.Unix(1772445600, 0), tell: func(*transferCounts) {}, failed: func(what string, err error) { failed = append(failed, what) }}
		_, err := b.run(context.Background())
		if err != nil || b.counts.imported != want.imported || b.counts.failed != want.failed || len(failed) != want.failed || b.later != "" {
			t.Errorf("%d: %+v, %q, %q: %v", i, b.counts, failed, b.later, err)
		}
	}
	fileFault.Store(nil)
	b := &transferBackup{mail: st.root, dir: dir, now: time.Unix(1772445600-1, 0), tell: func(*transferCounts) {}}
	if _, err := b.run(context.Background()); err != nil || b.later != "2026-03-02T10-00-00Z-2" {
		t.Errorf("%q, %v", b.later, err)
	}
}

// A folder that is deleted while it is looked at does not end the backup.
func TestTransferBackupGone(t *testing.T) {
	st := testStore(t, t.TempDir())
	b := &transferBackup{into: t.TempDir(), unread: map[string]bool{}, tell: func(*transferCounts) {}}
	if err := b.folder(context.Background(), &maildir{path: filepath.Join(st.root, "alice/.Gone")}, filepath.Join(b.into, "mail/alice/.Gone"), true); err != nil {
		t.Error(err)
	}
}

// Where the mail is not, since its disk is away, no empty snapshot takes a good one's place.
func TestTransferBackupNoMail(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	empty := &transferBackup{mail: filepath.Join(st.root, "none"), dir: dir, now: time.Unix(1, 0), keep: 1, tell: func(*transferCounts) {}}
	if _, err := empty.run(context.Background()); err != nil {
		t.Errorf("nobody has mail yet: %v", err)
	}
	testDeliver(t, testTree(t, st), "INBOX", testMail(1))
	snapshot := testBackup(t, st.root, dir, 1)
	if _, err := empty.run(context.Background()); err == nil || !strings.Contains(err.Error(), "is its disk there?") {
		t.Errorf("%v", err)
	}
	if names, err := transferSnapshots(dir); err != nil || !slices.Equal(names, []string{filepath.Base(snapshot)}) {
		t.Errorf("%q, %v", names, err)
	}
}

// A message in a snapshot that cannot be read does not hide the others, and a broken one in a folder does not keep a good one out.
func TestTransferRestoreBroken(t *testing.T) {
	st, dir := testStore(t, t.TempDir()), t.TempDir()
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	snapshot := testBackup(t, st.root, dir, 0)
	source := &transferMaildir{root: filepath.Join(snapshot, "mail/alice")}
	names, where := testFiles(t, tree, "new"), dir
	bad := func(step, path string) error {
		if step == "open" && strings.HasPrefix(path, where) && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(filepath.Base(path), name) }) {
			return syscall.EIO
		}
		return nil
	}
	fileFault.Store(&bad)
	defer fileFault.Store(nil)
	found, failed := 0, 0
	err := transferLook(context.Background(), source, &transferMatch{""}, func(string, error) { failed++ }, func(*transferFound) error { found++; return nil })
	if err != nil || found != 0 || failed != 2 {
		t.Errorf("%d, %d, %v", found, failed, err)
	}
	where = tree.root
	counts, err := testJob(testStore(t, st.root)).run(context.Background(), source)
	if err != nil || counts.imported != 2 {
		t.Errorf("%+v, %v", counts, err)
	}
}
