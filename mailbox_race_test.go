package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What two servers on one Maildir may do at the same moment.

// Files are renamed under the uidlist's lock only: Dovecot reads the directory under it, and
// would miss a file that is renamed meanwhile.
func TestMailboxRenamesLocked(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	renamed := 0
	fault := func(step, path string) error {
		if step != "rename" || !strings.HasPrefix(path, filepath.Join(tree.root, "cur")+"/") {
			return nil
		}
		renamed++
		if _, err := os.Stat(filepath.Join(tree.root, maildirUidlistName+".lock")); err != nil {
			t.Errorf("%s is renamed without the lock: %v", path, err)
		}
		return nil
	}
	fileFault.Store(&fault)
	t.Cleanup(func() { fileFault.Store(nil) })
	v := testView(t, tree, "INBOX") // takes both out of new/
	_, err := v.store(v.uids(), mailboxAdd, mailboxFlagSeen, true, 0)
	if must(t, err); renamed != 4 {
		t.Errorf("%d renames", renamed)
	}
	if _, err := v.store(v.uids(), mailboxAdd, mailboxFlagSeen, true, 0); err != nil || renamed != 4 {
		t.Errorf("flags that are there already: %d renames, %v", renamed, err)
	}
}

// Where the lock cannot be made, as on a full disk, flags can be changed nevertheless.
func TestMailboxRenamesWithoutLock(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	testFault(t, "create", maildirUidlistName+".lock", os.ErrPermission)
	_, err := v.store(v.uids(), mailboxAdd, mailboxFlagSeen, true, 0)
	if must(t, err); v.messages(v.uids())[0].flags&mailboxFlagSeen == 0 {
		t.Error("the flag is not set")
	}
}

// Another server brings a message into cur/ and gives it a UID, and then one into new/ with
// the next. Only new/ seems to have changed; both must be shown, with these UIDs.
func TestMailboxArrivalsInBoth(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(v.mb.md.dir(true), old, old))
	must(t, os.Chtimes(v.mb.md.dir(false), old, old))
	v.mb.scanDue = time.Now()
	testSync(t, v, true)
	if !v.mb.scanDue.IsZero() {
		t.Fatal("a scan is due")
	}

	list, err := os.OpenFile(filepath.Join(tree.root, maildirUidlistName), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	for n, place := range []string{"cur/1.two:2,S", "new/1.three"} {
		must(t, os.WriteFile(filepath.Join(tree.root, place), []byte(testMail(n+2)), 0o600))
		base, _, _ := strings.Cut(filepath.Base(place), ":")
		_, err := fmt.Fprintf(list, "%d :%s\n", n+2, base)
		must(t, err)
	}
	must(t, list.Close())
	// cur/ looks as it did when it was scanned last, and new/ as if it had changed long ago.
	must(t, os.Chtimes(v.mb.md.dir(true), v.mb.curStamp, v.mb.curStamp))
	must(t, os.Chtimes(v.mb.md.dir(false), old.Add(time.Minute), old.Add(time.Minute)))
	testSync(t, v, true)
	if !slices.Equal(v.uids(), []uint32{1, 2, 3}) {
		t.Errorf("UIDs %d", v.uids())
	}
}
