package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func testMaildir(t testing.TB) *maildir {
	t.Helper()
	path := filepath.Join(t.TempDir(), "alice")
	must(t, maildirCreate(path, true))
	md, err := maildirOpen(path)
	must(t, err)
	return md
}

func TestMaildirParse(t *testing.T) {
	for _, c := range []struct {
		name, base string
		flags      maildirFlags
		odd        string
		canonical  bool
	}{
		{"1.2.h", "1.2.h", 0, "", false},
		{"1.2.h:2,", "1.2.h", 0, "", true},
		{"1.2.h:2,FS", "1.2.h", maildirFlagFlagged | maildirFlagSeen, "", true},
		{"1.2.h;2,FS", "1.2.h", maildirFlagFlagged | maildirFlagSeen, "", true},
		{"1.2.h:2,SF", "1.2.h", maildirFlagFlagged | maildirFlagSeen, "", false},
		{"1.2.h:2,SS", "1.2.h", maildirFlagSeen, "", false},
		{"1.2.h:2,Sab", "1.2.h", maildirFlagSeen | 3<<maildirKeyword0, "", true},
		{"1.2.h:2,Sz", "1.2.h", maildirFlagSeen | 1<<(maildirKeyword0+25), "", true},
		{"1.2.h:2,SX", "1.2.h", maildirFlagSeen, "X", false},
		{"1.2.h:2,S,foo", "1.2.h", maildirFlagSeen, ",foo", false},
		{"1.2.h:1,S", "1.2.h", 0, "", false},
		{"1.2.h;x:2,S", "1.2.h;x", maildirFlagSeen, "", true},
		{"1.2.h;x", "1.2.h;x", 0, "", false},
		{":2,S", "", maildirFlagSeen, "", true},
		{"", "", 0, "", false},
	} {
		base, flags, odd, canonical := maildirParse(c.name)
		if base != c.base || flags != c.flags || odd != c.odd || canonical != c.canonical {
			t.Errorf("%q: %q %b %q %v", c.name, base, flags, odd, canonical)
		}
	}
}

func TestMaildirSizes(t *testing.T) {
	for base, want := range map[string][2]int64{
		"1.2.h":                          {-1, -1},
		"1.2.h,S=10":                     {10, -1},
		"1.2.h,S=10,W=12":                {10, 12},
		"1.2.h,W=12,S=10":                {10, 12},
		"1.2.h,S=,W=x":                   {-1, -1},
		"1.2.h,S=-1":                     {-1, -1},
		"1.2.h,S=99999999999999999999":   {-1, -1},
		"1.2.h,S=4294967296,W=429496730": {4294967296, 429496730},
	} {
		if disk, wire := maildirSizes(base); disk != want[0] || wire != want[1] {
			t.Errorf("%s: %d %d", base, disk, wire)
		}
	}
	if base := maildirWithSizes("b", 1, 2); base != "b,S=1,W=2" {
		t.Error(base)
	}
}

func TestMaildirOrder(t *testing.T) {
	order := []string{"9.M5P1Q1.h", "9.M999999P1Q1.h", "10.h", "10.M5P1Q1.h", "10.M10P1Q1.h", "10.M10P1Q2.h", "x"}
	for i, a := range order {
		for j, b := range order {
			if testMadeBefore(a, b) != (i < j) {
				t.Errorf("%s before %s is not %v", a, b, i < j)
			}
		}
	}
}

// testMadeBefore tells whether a file was delivered before another, as mailboxSortFound does.
func testMadeBefore(a, b string) bool {
	return cmp.Or(cmp.Compare(maildirMade(a), maildirMade(b)), cmp.Compare(a, b)) < 0
}

// Names made later sort later, and no two are the same, whoever asks.
func TestMaildirNewBase(t *testing.T) {
	md := testMaildir(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 4 {
		wg.Go(func() {
			last := ""
			for range 1000 {
				base := md.newBase()
				if last != "" && maildirMade(last) >= maildirMade(base) {
					t.Errorf("%s is not after %s", base, last)
				}
				last = base
				mu.Lock()
				if seen[base] {
					t.Errorf("%s was given twice", base)
				}
				seen[base] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func FuzzMaildirParse(f *testing.F) {
	for _, seed := range []string{"1.M2P3.h,S=1,W=2:2,FS", "a;2,b", ":", ";2,", "x:2,Sabc,foo"} {
		f.Add(seed)
	}
	md := &maildir{}
	md.info.Store(':')
	f.Fuzz(func(t *testing.T, name string) {
		base, flags, odd, canonical := maildirParse(name)
		if !strings.HasPrefix(name, base) {
			t.Errorf("base %q of %q", base, name)
		}
		if canonical && md.fileName(base, flags, odd) != strings.Replace(name, ";2,", ":2,", 1) && !strings.Contains(base, ";2,") {
			t.Errorf("%q is called canonical", name)
		}
		maildirSizes(base)
		maildirMade(name)
	})
}

// Each step of a delivery fails once: no file is left in new/ or cur/ that was not
// acknowledged, tmp/ is empty after abort, and the next delivery works.
func TestMaildirDeliveryStates(t *testing.T) {
	for _, c := range []struct{ step, where string }{
		{"create", "/tmp/"}, {"write", "/tmp/"}, {"sync", "/tmp/"}, {"rename", "/new/"}, {"syncdir", "/new/"},
	} {
		t.Run(c.step, func(t *testing.T) {
			md := testMaildir(t)
			testFault(t, c.step, c.where, syscall.ENOSPC)
			if _, err := testDeliverTo(md, "x\r\n"); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("the full disk at %q gives %v", c.step, err)
			}
			files := testMaildirFiles(t, md)
			if c.step == "syncdir" {
				files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(f, "new/") }) // may be there
			}
			if len(files) > 0 {
				t.Errorf("left behind: %q", files)
			}
			fileFault.Store(nil)
			name, err := testDeliverTo(md, "a\nb\r\n")
			must(t, err)
			if disk, wire := maildirSizes(name); disk != 5 || wire != 6 {
				t.Errorf("sizes in %s", name)
			}
		})
	}
}

// testFault makes a step fail for paths that hold where, until the test ends.
func testFault(t testing.TB, step, where string, fault error) {
	f := func(s, path string) error {
		if s == step && strings.Contains(path, where) {
			return &fs.PathError{Op: s, Path: path, Err: fault}
		}
		return nil
	}
	fileFault.Store(&f)
	t.Cleanup(func() { fileFault.Store(nil) })
}

func testDeliverTo(md *maildir, text string) (string, error) {
	d, err := md.draft()
	if err != nil {
		return "", err
	}
	for _, c := range []byte(text) { // a line end may be split anywhere
		if _, err := d.Write([]byte{c}); err != nil {
			d.abort()
			return "", err
		}
	}
	if err := d.sync(time.Unix(1e9, 0), func() {}); err != nil {
		d.abort()
		return "", err
	}
	name, err := d.deliver(false, 0)
	if err != nil {
		d.abort()
		return "", err
	}
	return name, md.syncDirs(true, false)
}

func testMaildirFiles(t testing.TB, md *maildir) (files []string) {
	for _, dir := range []string{"tmp", "new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(md.path, dir))
		must(t, err)
		for _, entry := range entries {
			files = append(files, dir+"/"+entry.Name())
		}
	}
	return files
}

// The order of a delivery's steps is what makes 250 true.
func TestMaildirDeliverySyncs(t *testing.T) {
	md := testMaildir(t)
	var steps []string
	trace := func(step, path string) error {
		steps = append(steps, step+" "+filepath.Base(filepath.Dir(path+"x")))
		return nil
	}
	fileFault.Store(&trace)
	t.Cleanup(func() { fileFault.Store(nil) })
	_, err := testDeliverTo(md, "x")
	must(t, err)
	if want := []string{"create tmp", "write tmp", "sync tmp", "rename new", "syncdir new"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

func TestMaildirLinkTo(t *testing.T) {
	for _, fault := range []error{nil, syscall.EXDEV, syscall.EPERM} {
		a, b := testMaildir(t), testMaildir(t)
		if fault != nil {
			testFault(t, "link", b.path, fault)
		}
		d, err := a.draft()
		must(t, err)
		_, err = d.Write([]byte("text\r\n"))
		must(t, err)
		must(t, d.sync(time.Unix(1e9, 0), func() {}))
		linked, err := d.linkTo(b)
		must(t, err)
		for _, d := range []*maildirDraft{d, linked} {
			name, err := d.deliver(true, maildirFlagSeen)
			must(t, err)
			if !strings.HasSuffix(name, ",S=6,W=6:2,S") {
				t.Error(name)
			}
			info, err := d.md.statFile(name, true)
			must(t, err)
			if info.Size() != 6 || info.ModTime().Unix() != 1e9 {
				t.Errorf("fault %v: %d bytes of %v", fault, info.Size(), info.ModTime())
			}
		}
	}
}

func TestMaildirSyncGroup(t *testing.T) {
	md := testMaildir(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := md.syncDirs(true, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	testFault(t, "syncdir", "/new/", syscall.EIO)
	if err := md.syncDirs(true, false); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failed sync gives %v", err)
	}
}

func TestMaildirSeparator(t *testing.T) {
	md := testMaildir(t)
	must(t, os.WriteFile(filepath.Join(md.path, "cur", "1.2.h;2,S"), nil, 0o600))
	if name := md.fileName("b", maildirFlagSeen|1<<maildirKeyword0, "X"); name != "b;2,SaX" {
		t.Error(name)
	}
	if name := testMaildir(t).fileName("b", 0, ""); name != "b:2," {
		t.Error(name)
	}
}

func TestMaildirSweep(t *testing.T) {
	md := testMaildir(t)
	old := filepath.Join(md.path, "tmp", "old")
	must(t, os.WriteFile(old, nil, 0o600))
	must(t, os.Chtimes(old, time.Unix(1e9, 0), time.Unix(1e9, 0))) // a message from long ago that is being delivered now
	must(t, os.WriteFile(md.uidlistPath()+".tmp1.2", nil, 0o600))
	must(t, os.WriteFile(md.uidlistPath(), nil, 0o600))
	must(t, os.MkdirAll(filepath.Join(md.path, maildirTrashed+".tmp1.1", "cur"), 0o700))
	n, err := md.sweep(time.Now())
	if must(t, err); n != 1 {
		t.Errorf("%d removed of what is in use", n)
	}
	n, err = md.sweep(time.Now().Add(37 * time.Hour))
	if must(t, err); n != 2 {
		t.Errorf("%d of 2 removed", n)
	}
	if _, err := os.Stat(md.uidlistPath()); err != nil {
		t.Error(err)
	}
}

func TestMaildirKeywords(t *testing.T) {
	md := testMaildir(t)
	for n := range maildirKeywords {
		got, err := md.addKeyword(fmt.Sprintf("k%d", n))
		if must(t, err); got != n {
			t.Errorf("keyword %d got %d", n, got)
		}
	}
	if n, err := md.addKeyword("K7"); err != nil || n != 7 {
		t.Errorf("a known keyword in another case: %d, %v", n, err)
	}
	if _, err := md.addKeyword("more"); !errors.Is(err, errMaildirKeywordsFull) {
		t.Errorf("the 27th keyword: %v", err)
	}
	names, stamp, changed, err := md.readKeywords(time.Time{})
	if must(t, err); !changed || len(names) != 26 || names[25] != "k25" {
		t.Errorf("%q %v", names, changed)
	}
	must(t, os.Chtimes(filepath.Join(md.path, maildirKeywordsName), stamp, time.Unix(1e9, 0)))
	_, stamp, _, err = md.readKeywords(time.Time{})
	must(t, err)
	if _, _, changed, _ := md.readKeywords(stamp); changed {
		t.Error("an old file that did not change is read again")
	}
}

func FuzzMaildirKeywords(f *testing.F) {
	f.Add("0 $Forwarded\n1 Junk\n")
	f.Add("25 z\n26 no\n-1 x\nx\n3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if names := maildirKeywordsParse(text); len(names) > maildirKeywords {
			t.Errorf("%d keywords", len(names))
		}
	})
}

func TestMaildirSubscriptions(t *testing.T) {
	md := testMaildir(t)
	path := filepath.Join(md.path, maildirSubscriptionsName)
	must(t, os.WriteFile(path, []byte("INBOX\nArchive.2026\nSent\nSent\n"), 0o600))
	must(t, maildirSubscribe(md.path, true, "Work/A b"))
	must(t, maildirSubscribe(md.path, false, "Sent", "Nope"))
	raw, err := os.ReadFile(path)
	if must(t, err); string(raw) != "V\t2\n\nINBOX\nArchive\t2026\nWork\tA b\n" {
		t.Errorf("%q", raw)
	}
	names, err := maildirSubscriptions(md.path)
	if must(t, err); !slices.Equal(names, []string{"INBOX", "Archive/2026", "Work/A b"}) {
		t.Errorf("%q", names)
	}
}

func TestMaildirNextValidity(t *testing.T) {
	md := testMaildir(t)
	now := time.Unix(1764000000, 0)
	next := func(now time.Time) uint32 {
		t.Helper()
		v, err := maildirNextValidity(md.path, now)
		must(t, err)
		return v
	}
	if v := next(now); v != 1764000000 {
		t.Error(v)
	}
	if v := next(now); v != 1764000001 {
		t.Errorf("the second in one second is %d", v)
	}
	if v := next(time.Unix(60, 0)); v != 1764000002 {
		t.Errorf("with a clock in 1970 it is %d", v)
	}
	if v := next(time.Time{}); v != 1764000003 {
		t.Errorf("without a clock it is %d", v)
	}
	marks, err := filepath.Glob(md.path + "/dovecot-uidvalidity.*")
	if must(t, err); len(marks) != 1 || !strings.HasSuffix(marks[0], ".69248103") {
		t.Errorf("marks %q", marks)
	}
	must(t, os.Remove(marks[0]))
	must(t, os.Remove(filepath.Join(md.path, maildirValidityName)))
	must(t, os.WriteFile(md.uidlistPath(), []byte("3 V1764000009 N1 G0\n"), 0o600))
	if v := next(now); v != 1764000010 {
		t.Errorf("after the uidlist's 1764000009 comes %d", v)
	}
}

// What belongs to somebody else is read, too, although we may not keep its access time.
func TestFileOpenOfOthers(t *testing.T) {
	exe, err := os.Stat("/bin/sh")
	if err != nil {
		t.Logf("there is nobody else's file: %v", err)
		return
	}
	f, err := fileOpen("/bin/sh")
	must(t, err)
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != exe.Size() {
		t.Errorf("%v, %v", info, err)
	}
}
