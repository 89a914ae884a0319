package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A full disk at each step of an APPEND: errMailboxFull, nothing is left behind,
// and the same view goes on when there is room again.
func TestMailboxAppendFullDisk(t *testing.T) {
	for _, c := range []struct{ step, where string }{
		{"create", "/tmp/"}, {"write", "/tmp/"}, {"sync", "/tmp/"}, {"rename", "/cur/"}, {"syncdir", "/cur/"},
		{"create", "dovecot-uidlist"}, {"write", "dovecot-uidlist"}, {"sync", "dovecot-uidlist"},
	} {
		t.Run(c.step+" "+filepath.Base(c.where), func(t *testing.T) {
			tree := testTree(t, testStore(t, t.TempDir()))
			testDeliver(t, tree, "INBOX", testMail(1))
			v := testView(t, tree, "INBOX")
			testSync(t, v, false)
			appendOne := func(text string) error {
				d, err := tree.draft("INBOX")
				if err != nil {
					return err
				}
				if _, err = d.Write([]byte(text)); err == nil {
					err = d.finish(time.Unix(1e9, 0))
				}
				if err != nil {
					d.abort()
					return err
				}
				_, _, err = mailboxAppend([]*mailboxDraft{d}, []mailboxAppendFlags{{flags: mailboxFlagSeen}})
				return err
			}
			testFault(t, c.step, c.where, syscall.ENOSPC)
			if err := appendOne(testMail(2)); !errors.Is(err, errMailboxFull) {
				t.Errorf("a full disk gives %v", err)
			}
			fileFault.Store(nil)
			testSync(t, v, true)
			if n := len(v.uids()); n != 1 {
				t.Errorf("%d messages after a failed APPEND", n)
			}
			if files := testFiles(t, tree, "tmp"); len(files) > 0 {
				t.Errorf("left in tmp/: %q", files)
			}
			must(t, appendOne(testMail(3)))
			testSync(t, v, true)
			if n := len(v.uids()); n != 2 {
				t.Errorf("%d messages when there is room again", n)
			}
		})
	}
}

// New mail that can get no UID on a full disk is seen when there is room again.
func TestMailboxNewMailFullDisk(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	testFault(t, "write", "dovecot-uidlist", syscall.ENOSPC)
	testDeliver(t, tree, "INBOX", testMail(2))
	testSync(t, v, true)
	if n := len(v.uids()); n != 1 {
		t.Errorf("%d messages have a UID that is not on disk", n)
	}
	fileFault.Store(nil)
	testSync(t, v, true)
	if n := len(v.uids()); n != 2 {
		t.Errorf("%d messages when there is room again", n)
	}
}

func TestMailboxKeywordFullDisk(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	for _, step := range []string{"create", "write", "sync", "rename"} {
		testFault(t, step, maildirKeywordsName, syscall.ENOSPC)
		if _, err := v.keywordFlags([]string{"work"}); !errors.Is(err, errMailboxFull) {
			t.Errorf("%s: %v", step, err)
		}
		fileFault.Store(nil)
	}
	flags, err := v.keywordFlags([]string{"work"})
	must(t, err)
	_, err = v.store(v.uids(), mailboxAdd, flags, false, 0)
	must(t, err)
}

// Deleting is how a full disk gets room, so it must not need any.
func TestMailboxExpungeFullDisk(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	v := testView(t, tree, "INBOX")
	full := func(step, path string) error {
		if step == "create" || step == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	fileFault.Store(&full)
	t.Cleanup(func() { fileFault.Store(nil) })
	_, err := v.store(v.uids()[:1], mailboxAdd, mailboxFlagDeleted, false, 0)
	must(t, err)
	must(t, v.expunge(nil))
	testSync(t, v, true)
	if n := len(v.uids()); n != 1 {
		t.Errorf("%d messages after EXPUNGE on a full disk", n)
	}
	must(t, v.remove(v.uids()))
	if files := testFiles(t, tree, "cur"); len(files) > 0 {
		t.Errorf("files %q", files)
	}
}

// The keywords of a new INBOX are there before the disk is full.
func TestMailboxFirstKeywords(t *testing.T) {
	st := testStore(t, t.TempDir())
	st.inbox = []string{"Hidden"}
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	for i, step := range []string{"create", "write", "sync"} {
		testFault(t, step, "", syscall.ENOSPC)
		flags, err := v.keywordFlags([]string{"Hidden"})
		must(t, err)
		op := []mailboxStoreOp{mailboxAdd, mailboxRemove}[i%2]
		if _, err = v.store(v.uids(), op, flags, true, 0); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		fileFault.Store(nil)
		if m := v.messages(v.uids()); (m[0].flags&flags != 0) != (op == mailboxAdd) {
			t.Errorf("%s: flags %b", step, m[0].flags)
		}
	}
}

// A Maildir that we may not read or write is an error that says so, and is fine as
// soon as we may.
func TestMailboxPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may do anything")
	}
	dir := t.TempDir()
	tree := testTree(t, testStore(t, dir))
	testDeliver(t, tree, "INBOX", testMail(1))
	testView(t, tree, "INBOX").close()
	tree = testTree(t, testStore(t, dir)) // one that has nothing in memory
	cur := filepath.Join(tree.root, "cur")
	must(t, os.Chmod(cur, 0))
	if _, err := tree.view("INBOX", false, nil); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a Maildir without permission gives %v", err)
	}
	must(t, os.Chmod(cur, 0o700))
	testView(t, tree, "INBOX")
}

// A folder that is deleted while it is opened is gone; that is no fault of ours.
func TestMailboxDeletedWhileOpened(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "rename"} {
		tree := testTree(t, testStore(t, t.TempDir()))
		must(t, tree.create("Box", ""))
		path := filepath.Join(tree.root, mailboxDir("Box"))
		fault := func(at, of string) error {
			if at == step && strings.HasPrefix(of, path) {
				return os.RemoveAll(path)
			}
			return nil
		}
		fileFault.Store(&fault)
		_, err := tree.view("Box", false, nil)
		fileFault.Store(nil)
		if !errors.Is(err, errMailboxGone) {
			t.Errorf("deleted before %s: %v", step, err)
		}
	}
}

// The same for a message on its way into a folder that is deleted and made again.
func TestMailboxRemadeWhileAppended(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	must(t, tree.create("Box", ""))
	d, err := tree.draft("Box")
	must(t, err)
	must(t, tree.delete("Box"))
	must(t, tree.create("Box", ""))
	if err := d.finish(time.Unix(1e9, 0)); !errors.Is(err, errMailboxGone) {
		t.Errorf("APPEND to a folder that was made again: %v", err)
	}
	d.abort()
}

// A lock that stays is the mailbox's trouble of the moment, not a fault of ours.
func TestMailboxStaysLocked(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1))
	v := testView(t, tree, "INBOX")
	testSync(t, v, true)
	testFault(t, "create", "dovecot-uidlist.lock", errMaildirLocked)
	_, err := v.store(v.uids(), mailboxAdd, mailboxFlagSeen, false, 0)
	if !errors.Is(err, errMailboxLocked) {
		t.Errorf("a mailbox that stays locked gives %v", err)
	}
	if no, ok := imapReply(err); !ok || no.code != "INUSE" { // RFC 5530, section 3
		t.Errorf("IMAP says %v of it", no)
	}
}

// mailboxWrongReader panics, as a fault in reading messages would.
type mailboxWrongReader struct{}

func (mailboxWrongReader) ReadAt([]byte, int64) (int, error) { panic("out of ideas") }

func TestMailboxKnowPanics(t *testing.T) {
	if known, err := mailboxKnow(mailboxWrongReader{}, 1000); known != nil || err == nil || !strings.Contains(err.Error(), "out of ideas") {
		t.Errorf("%v, %v", known, err)
	}
}
