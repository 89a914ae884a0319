//go:build linux

package main

import (
	"log/slog"
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
		if len(w.paths) != 2 || w.polled[v.mb] != shared {
			t.Errorf("shared %v: watched %d directories, polled: %v", shared, len(w.paths), w.polled[v.mb])
		}
		w.mu.Unlock()
	}
}
