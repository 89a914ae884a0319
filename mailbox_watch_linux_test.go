//go:build linux

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A folder on a file system that other machines write to is watched for what this one
// does, and polled for the rest.
func TestMailboxWatchShared(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Skip(err)
	}
	kinds := mailboxSharedKinds
	defer func() { mailboxSharedKinds = kinds }()
	for _, shared := range []bool{false, true} {
		mailboxSharedKinds = nil
		if shared {
			mailboxSharedKinds = []uint32{uint32(fs.Type)}
		}
		st, err := newMailboxStore(mailboxSettings{root: dir, now: time.Now, log: slog.New(slog.DiscardHandler), watch: true})
		if err != nil {
			t.Fatal(err)
		}
		defer st.close()
		v, err := testTree(t, st).view("INBOX", false, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer v.close()
		w := st.watcher
		if w.inotify == nil {
			t.Skip("no inotify here")
		}
		w.mu.Lock()
		if len(w.watched) != 3 || w.polled[v.mb] != shared {
			t.Errorf("shared %v: watched %d directories, polled: %v", shared, len(w.watched), w.polled[v.mb])
		}
		w.mu.Unlock()
	}
}

// A folder that another program has renamed is watched under its new name, also while
// sessions still have it open under the old one, and after they have left.
func TestMailboxWatchRenamed(t *testing.T) {
	st, err := newMailboxStore(mailboxSettings{root: t.TempDir(), now: time.Now, log: slog.New(slog.DiscardHandler), watch: true})
	must(t, err)
	defer st.close()
	tree := testTree(t, st)
	must(t, tree.create("A", ""))
	for _, names := range [][2]string{{"A", "B"}, {"B", "A"}, {"A", "B"}} {
		gone, heard := make(chan struct{}, 100), make(chan struct{}, 100)
		old, err := tree.view(names[0], false, func() { gone <- struct{}{} })
		must(t, err)
		must(t, os.Rename(filepath.Join(tree.root, "."+names[0]), filepath.Join(tree.root, "."+names[1])))
		v, err := tree.view(names[1], false, func() { heard <- struct{}{} })
		must(t, err)
		if st.watcher.inotify == nil {
			t.Skip("no inotify here")
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Errorf("%s, now %s: nothing is heard of that", names[0], names[1])
		}
		old.close()
		must(t, os.WriteFile(filepath.Join(tree.root, "."+names[1], "new", "1700000001.M1."+names[0]), []byte(testMail(1)), 0o600))
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Errorf("%s, now %s: nothing is heard of a delivery by another program", names[0], names[1])
		}
		v.close()
	}
}
