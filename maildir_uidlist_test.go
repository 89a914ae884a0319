package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testReadUidlist reads a list and gives its lines as text.
func testReadUidlist(t testing.TB, md *maildir, old *maildirUidlist) (*maildirUidlist, bool, string) {
	t.Helper()
	var text []byte
	list, whole, err := md.readUidlist(old, func(uid uint32, fields, base string) {
		text = maildirUidline{uid, fields, base}.appendTo(text)
	})
	must(t, err)
	return list, whole, string(text)
}

func testWriteUidlist(t testing.TB, md *maildir, text string) {
	t.Helper()
	must(t, os.WriteFile(md.uidlistPath(), []byte(text), 0o600))
}

func TestMaildirUidlistRead(t *testing.T) {
	const head = "3 V7 N5 Gabc\n"
	for _, c := range []struct {
		name, text, lines string
		next              uint32
		torn              bool
	}{
		{"empty", head, "", 5, false},
		{"next lags", head + "5 :a\n9 :b\n", "5 :a\n9 :b\n", 10, false},
		{"fields", head + "1 P00x Gff W12 :a,S=1\n", "1 P00x Gff W12 :a,S=1\n", 5, false},
		{"with info", head + "1 :a:2,S\n", "1 :a\n", 5, false},
		{"half a line", head + "1 :a\n9 :b", "1 :a\n", 10, true},
		{"half a number", head + "1 :a\n12", "1 :a\n", 13, true},
		{"zeros", head + "1 :a\n\x00\x00\x00\x00", "1 :a\n", 5, true},
		{"zeros, then a line", head + "1 :a\n\x00\x00 :x\n9 :b\n", "1 :a\n9 :b\n", 10, true},
		{"going back", head + "3 :a\n2 :b\n4 :c\n", "3 :a\n4 :c\n", 5, true},
		{"no colon", head + "3 a\n4 :c\n", "4 :c\n", 5, true},
		{"uid 0", head + "0 :a\n", "", 5, true},
		{"uid too large", head + "4294967295 :a\n99999999999 :b\n", "", 5, true},
		{"a long line", head + "1 :" + strings.Repeat("x", 200000) + "\n2 :b\n", "2 :b\n", 5, true},
		{"version 1", "1 7 5\n1 a\n4 b:2,S\n", "1 :a\n4 :b\n", 5, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			md := testMaildir(t)
			testWriteUidlist(t, md, c.text)
			list, whole, lines := testReadUidlist(t, md, nil)
			if !whole || list.validity != 7 || list.next != c.next || list.torn != c.torn || lines != c.lines {
				t.Errorf("whole %v, list %+v, lines %q", whole, list, lines)
			}
			lock, err := md.lockUidlist()
			must(t, err)
			defer lock.unlock()
			must(t, lock.append(list, []maildirUidline{{uid: list.next, base: "new"}}))
			must(t, lock.sync())
			want := c.lines + fmt.Sprintf("%d :new\n", c.next)
			after, _, lines := testReadUidlist(t, md, nil)
			if after.validity != 7 || after.next != c.next+1 || after.torn || after.old || lines != want {
				t.Errorf("after append: %+v, lines %q", after, lines)
			}
			if again, _, lines := testReadUidlist(t, md, list); again != list || lines != "" {
				t.Errorf("what append has written is read as if by others: %q", lines)
			}
		})
	}
}

func TestMaildirUidlistBroken(t *testing.T) {
	for _, text := range []string{"", "\n", "\x00\x00\x00", "3", "3 V0 N1\n", "3 V5\n", "3 N5\n", "2 5 5\n", "hello\n", "1 5\n", "3 V5 N99999999999\n"} {
		md := testMaildir(t)
		testWriteUidlist(t, md, text)
		if _, _, err := md.readUidlist(nil, nil); !errors.Is(err, errMaildirUidlist) {
			t.Errorf("%q gives %v", text, err)
		}
	}
	md := testMaildir(t)
	if _, _, err := md.readUidlist(nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no list gives %v", err)
	}
}

func TestMaildirUidlistCourier(t *testing.T) {
	md := testMaildir(t)
	must(t, os.WriteFile(filepath.Join(md.path, maildirCourierName), []byte("1 7 5\n1 a\n4 b\n"), 0o600))
	list, _, lines := testReadUidlist(t, md, nil)
	if lines != "1 :a\n4 :b\n" {
		t.Errorf("lines %q", lines)
	}
	if again, _, _ := testReadUidlist(t, md, list); again != list {
		t.Error("read twice")
	}
	lock, err := md.lockUidlist()
	must(t, err)
	must(t, lock.append(list, []maildirUidline{{uid: 5, base: "c"}}))
	lock.unlock()
	raw, err := os.ReadFile(md.uidlistPath())
	if must(t, err); string(raw) != "3 V7 N6 G"+list.guid+"\n1 :a\n4 :b\n5 :c\n" {
		t.Errorf("%q", raw)
	}
}

// What another program appends is read from where the last read ended; a list that
// took the old one's place is read whole.
func TestMaildirUidlistChanges(t *testing.T) {
	md := testMaildir(t)
	testWriteUidlist(t, md, "3 V7 N2 Gabc Zx\n1 :a\n")
	list, _, _ := testReadUidlist(t, md, nil)
	f, err := os.OpenFile(md.uidlistPath(), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer f.Close()
	f.WriteString("2 :b\n3 :")
	list, whole, lines := testReadUidlist(t, md, list)
	if whole || lines != "2 :b\n" {
		t.Errorf("after half a line: whole %v, %q", whole, lines)
	}
	f.WriteString("c\n")
	list, whole, lines = testReadUidlist(t, md, list)
	if whole || lines != "3 :c\n" || list.next != 4 || list.torn {
		t.Errorf("after the other half: whole %v, %q, %+v", whole, lines, list)
	}
	lock, err := md.lockUidlist()
	must(t, err)
	must(t, lock.rewrite(list, func(uid uint32, _ string) bool { return uid != 1 }, nil))
	lock.unlock()
	raw, err := os.ReadFile(md.uidlistPath())
	if must(t, err); string(raw) != "3 V7 N4 Gabc Zx\n2 :b\n3 :c\n" {
		t.Errorf("rewritten: %q", raw)
	}
	must(t, os.WriteFile(md.path+"/other", []byte("3 V7 N9 Gabc\n3 :c\n8 :d\n"), 0o600))
	must(t, os.Rename(md.path+"/other", md.uidlistPath()))
	list, whole, lines = testReadUidlist(t, md, list)
	if !whole || lines != "3 :c\n8 :d\n" || list.next != 9 {
		t.Errorf("replaced: whole %v, %q", whole, lines)
	}
	testWriteUidlist(t, md, "3 V7 N9 Gabc\n4 :xxxxxxxxxxxx\n") // the same inode, other text
	if _, whole, _ = testReadUidlist(t, md, list); !whole {
		t.Error("an inode given again is taken for the old file")
	}
}

// A disk that is full leaves the list as it was, and the same lock goes on when
// there is room again.
func TestMaildirUidlistFullDisk(t *testing.T) {
	md := testMaildir(t)
	testWriteUidlist(t, md, "3 V7 N2 Gabc\n1 :a\n")
	list, _, _ := testReadUidlist(t, md, nil)
	lock, err := md.lockUidlist()
	must(t, err)
	defer lock.unlock()
	more := []maildirUidline{{uid: 2, base: "b"}}
	for _, step := range []string{"write", "create", "sync", "rename"} {
		testFault(t, step, maildirUidlistName, syscall.ENOSPC)
		var err error
		if step == "write" {
			err = lock.append(list, more)
		} else {
			err = lock.rewrite(list, func(uint32, string) bool { return true }, more)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", step, err)
		}
		fileFault.Store(nil)
		if _, _, lines := testReadUidlist(t, md, nil); lines != "1 :a\n" {
			t.Errorf("%s: %q", step, lines)
		}
	}
	must(t, lock.append(list, more))
	if _, _, lines := testReadUidlist(t, md, nil); lines != "1 :a\n2 :b\n" {
		t.Errorf("%q", lines)
	}
}

func TestMaildirLockExcludes(t *testing.T) {
	md := testMaildir(t)
	var wg sync.WaitGroup
	inside := 0
	for range 8 {
		wg.Go(func() {
			for range 20 {
				lock, err := md.lockUidlist()
				if err != nil {
					t.Error(err)
					return
				}
				if inside++; inside != 1 { // the race detector looks, too
					t.Error("two hold the lock")
				}
				inside--
				lock.unlock()
			}
		})
	}
	wg.Wait()
	if names, _ := filepath.Glob(md.path + "/dovecot-uidlist*"); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestMaildirLockStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	must(t, os.WriteFile(path, nil, 0o600))
	now := time.Now()
	host := maildirHost()
	dead := 1 << 22 // above every process id that Linux gives by default
	for _, c := range []struct {
		name    string
		content string
		age     time.Duration // by its date
		since   time.Duration // seen unchanged
		stale   bool
	}{
		{"a dead process", fmt.Sprint(dead, ":", host), 0, 0, true},
		{"of another host", fmt.Sprint(dead, ":elsewhere"), 0, 50 * time.Second, false},
		{"of another host, long ago", fmt.Sprint(dead, ":elsewhere"), 0, 61 * time.Second, true},
		{"ours, not held", fmt.Sprint(os.Getpid(), ":", host), 0, 0, true},
		{"alive", fmt.Sprint(os.Getppid(), ":", host), 0, 0, false},
		{"alive, from before it began", fmt.Sprint(os.Getppid(), ":", host), 50 * time.Second, 0, false},
		{"alive, an hour old", fmt.Sprint(os.Getppid(), ":", host), time.Hour, 0, true},
		{"from the future, new to us", fmt.Sprint(os.Getppid(), ":", host), -time.Hour, 0, false},
		{"from the future", fmt.Sprint(os.Getppid(), ":", host), -time.Hour, 2 * time.Second, true},
		{"empty, new to us", "", 0, 0, false},
		{"empty, seen for a moment", "", 0, 100 * time.Millisecond, false},
		{"empty, an hour old, new to us", "", time.Hour, 0, false},
		{"empty, an hour old", "", time.Hour, 100 * time.Millisecond, true},
		{"empty", "", 0, 2 * time.Second, true},
		{"zeros", "\x00\x00\x00", 0, 2 * time.Second, true},
		{"no process id", "0 $Forwarded\n", 0, 2 * time.Second, false},
		{"no process id, long ago", "0 $Forwarded\n", 0, 61 * time.Second, true},
	} {
		if os.Getppid() == 0 && strings.Contains(c.content, "0:") {
			continue // first in a container: there is no other process
		}
		must(t, os.Chtimes(path, now, now.Add(-c.age)))
		info, err := os.Lstat(path)
		must(t, err)
		if c.name == "alive, from before it began" {
			continue
		}
		if stale := maildirLockIsStale(info, []byte(c.content), c.since, now); stale != c.stale {
			t.Errorf("%s: %v", c.name, stale)
		}
	}
}

// A lock that a crash has left is gone at the first attempt; one that a live program
// holds stays.
func TestMaildirLockLeft(t *testing.T) {
	md := testMaildir(t)
	path := md.uidlistPath() + ".lock"
	must(t, os.WriteFile(path, fmt.Appendf(nil, "%d:%s", 1<<22, maildirHost()), 0o600))
	lock, err := md.lockUidlist()
	must(t, err)
	if raw, _ := os.ReadFile(path); string(raw) != fmt.Sprintf("%d:%s", os.Getpid(), maildirHost()) {
		t.Errorf("the lock says %q", raw)
	}
	// Another program takes our lock for stale: the list is not changed any more, and
	// unlock must not remove the other's.
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("1:elsewhere"), 0o600))
	list := &maildirUidlist{validity: 7, next: 1}
	for range 2 { // made, then appended to
		if err := lock.append(list, []maildirUidline{{uid: list.next, base: "a"}}); !errors.Is(err, errMaildirLocked) {
			t.Errorf("changing the list without the lock: %v", err)
		}
		must(t, os.WriteFile(md.uidlistPath(), []byte("3 V7 N1 G00\n"), 0o600))
		list, _, err = md.readUidlist(nil, nil)
		must(t, err)
	}
	lock.unlock()
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "1:elsewhere" {
		t.Errorf("somebody else's lock: %q, %v", raw, err)
	}
}

// Between a look at a stale lock and its removal another program may remove it and
// make its own, with the inode number that has become free.
func TestMaildirLockAgain(t *testing.T) {
	path := testMaildir(t).uidlistPath() + ".lock"
	must(t, os.WriteFile(path, []byte("12:gone"), 0o600))
	info, err := os.Lstat(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte("13:here"), 0o600)) // the same inode
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	if maildirLockRemove(path, info, []byte("12:gone")) {
		t.Error("another program's lock was taken for the stale one")
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "13:here" {
		t.Errorf("another program's lock: %q, %v", raw, err)
	}
	if !maildirLockRemove(path, info, []byte("13:here")) {
		t.Error("a stale lock stays")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a stale lock that was removed: %v", err)
	}
}

func FuzzMaildirUidlist(f *testing.F) {
	for _, seed := range []string{"3 V7 N5 Gabc\n1 :a\n2 P1 :b\n", "1 7 5\n1 a\n", "3 V7 N5\n1 :a\n\x00\x00\n7", "", "3 V1 N1\n4294967294 :x\n"} {
		f.Add([]byte(seed), 10)
	}
	dir := f.TempDir()
	must(f, maildirCreate(filepath.Join(dir, "u"), true))
	md := &maildir{path: filepath.Join(dir, "u")}
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		if cut < 0 || cut > len(text) {
			cut = len(text)
		}
		must(t, os.WriteFile(md.uidlistPath(), text[:cut], 0o600))
		read := func(old *maildirUidlist) *maildirUidlist {
			last := uint32(0)
			list, _, err := md.readUidlist(old, func(uid uint32, fields, base string) {
				if uid <= last || base == "" {
					t.Fatalf("line %d %q %q after %d", uid, fields, base, last)
				}
				last = uid
			})
			if err != nil {
				return nil
			}
			if list.next <= last || list.end > list.info.Size() {
				t.Fatalf("next %d after %d, end %d", list.next, last, list.end)
			}
			return list
		}
		list := read(nil)
		if list == nil {
			return
		}
		must(t, os.WriteFile(md.uidlistPath(), text, 0o600))
		if list = read(list); list == nil || list.next == 1<<32-1 {
			return
		}
		lock, err := md.lockUidlist()
		must(t, err)
		defer lock.unlock()
		must(t, lock.append(list, []maildirUidline{{uid: list.next, base: "new"}}))
		if after := read(nil); after == nil || after.torn || after.next != list.next {
			t.Fatalf("after append: %+v", after)
		}
	})
}
