package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testLayOut writes files below dir; a name that ends with a slash is a directory. A file's time is the
// number that its name begins with.
func testLayOut(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o700))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
		digits, _, _ := strings.Cut(filepath.Base(name), ".")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			must(t, os.Chtimes(path, time.Unix(n, 0), time.Unix(n, 0)))
		}
	}
}

// testJob is a job for alice in a store, with lots of three.
func testJob(st *mailboxStore) *transferJob {
	return &transferJob{st: st, user: "alice", stage: filepath.Join(st.root, ".letterbox/stage/alice"), limit: 3,
		tell: func(*transferCounts) {}, failed: func(string, error) {}}
}

// testImport imports a path and wants so many new messages, and so many known ones.
func testImport(t testing.TB, job *transferJob, path string, imported, skipped int) {
	t.Helper()
	source, err := transferSourceOf(path)
	must(t, err)
	counts, err := job.run(context.Background(), source)
	if err != nil || counts.imported != imported || counts.skipped != skipped {
		t.Fatalf("imported %d, skipped %d, want %d and %d: %v", counts.imported, counts.skipped, imported, skipped, err)
	}
}

// testContents gives the messages of all folders that have some: "folder uid date flags keywords: text".
func testContents(t testing.TB, tree *mailboxTree) (list []string) {
	t.Helper()
	folders, err := tree.folders()
	must(t, err)
	for _, f := range folders {
		if !f.selectable {
			continue
		}
		v, err := tree.view(f.name, true, nil)
		must(t, err)
		for _, m := range v.messages(v.uids()) {
			date, err := v.date(m.uid)
			must(t, err)
			file, err := v.open(m.uid)
			must(t, err)
			text, err := io.ReadAll(file)
			file.Close()
			must(t, err)
			var words []string
			for i, name := range v.keywords() {
				if m.flags&(1<<(mailboxKeyword0+i)) != 0 {
					words = append(words, name)
				}
			}
			letters := ""
			for i, c := range maildirLetters {
				if m.flags&(1<<i) != 0 {
					letters += string(c)
				}
			}
			list = append(list, fmt.Sprintf("%s %d %d %s%q: %s", f.name, m.uid, date.Unix(), letters, words, text))
		}
		v.close()
	}
	return list
}

func testWantContents(t testing.TB, tree *mailboxTree, want ...string) {
	t.Helper()
	if got := testContents(t, tree); !slices.Equal(got, want) {
		t.Errorf("there is:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An mbox file comes in, and only once.
func TestTransferMbox(t *testing.T) {
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{"mbox": "From a@b Mon Mar  2 10:00:00 2026\nSubject: 1\nStatus: RO\nX-Keywords: work $Forwarded\n\none\n\n" +
		"From a@b Mon Mar  2 10:00:01 2026\nSubject: 2\n\ntwo\n\nFrom a@b Mon Mar  2 10:00:02 2026\nSubject: 1\n\none\n",
		"more": "From a@b Mon Mar  2 10:00:03 2026\nSubject: 2\n\ntwo\n\nFrom a@b Mon Mar  2 10:00:04 2026\nSubject: 3\n\nthree\n"})
	st := testStore(t, filepath.Join(dir, "mail"))
	tree := testTree(t, st)
	testImport(t, testJob(st), filepath.Join(dir, "mbox"), 2, 1) // the third is the first
	testImport(t, testJob(st), filepath.Join(dir, "mbox"), 0, 3)
	testImport(t, testJob(st), filepath.Join(dir, "more"), 1, 1)
	want := []string{
		"INBOX 1 1772445600 PS[\"work\"]: Subject: 1\r\n\r\none\r\n",
		"INBOX 2 1772445601 []: Subject: 2\r\n\r\ntwo\r\n",
		"INBOX 3 1772445604 []: Subject: 3\r\n\r\nthree\r\n",
	}
	testWantContents(t, tree, want...)
	job := testJob(st)
	job.into = "Old/Mail"
	testImport(t, job, filepath.Join(dir, "more"), 2, 0)
	testWantContents(t, tree, append(want, "Old/Mail 1 1772445603 []: Subject: 2\r\n\r\ntwo\r\n", "Old/Mail 2 1772445604 []: Subject: 3\r\n\r\nthree\r\n")...)
	if names, err := tree.subscriptions(); err != nil || !slices.Contains(names, "Old/Mail") {
		t.Errorf("subscribed: %q, %v", names, err)
	}
	if files := testFiles(t, tree, "tmp"); len(files) > 0 {
		t.Errorf("left in tmp/: %q", files)
	}
}

// A message that does not fit in memory is known all the same.
func TestTransferLarge(t *testing.T) {
	dir := t.TempDir()
	large := "Subject: large\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", transferInMemory/70)
	testLayOut(t, dir, map[string]string{"a.eml": large, "b.eml": large, "c.eml": large + "y"})
	st := testStore(t, t.TempDir())
	testImport(t, testJob(st), dir, 2, 1)
	testImport(t, testJob(st), dir, 0, 3)
}

// A directory's files become folders, as Thunderbird and Apple Mail name them.
func TestTransferTree(t *testing.T) {
	dir := t.TempDir()
	one := func(subject string) string { return "From - Mon Mar  2 10:00:00 2026\nSubject: " + subject + "\n\n" }
	testLayOut(t, dir, map[string]string{
		"Inbox": one("a"), "Inbox.msf": "// <!-- <mdb:mork", "Archives": "", "Archives.sbd/2025": one("b"), "Archives.sbd/v1.2~": one("c"),
		"Work.mbox/mbox": one("d"), "Work.mbox/table_of_contents": "x", "eml/x/1.EML": "Date: Mon, 2 Mar 2026 10:00:05 +0000\nSubject: e\n",
		"2.eml": "Received: by a; Mon, 2 Mar 2026 11:00:06 +0100\nDate: x\nSubject: f\n",
		"3.eml": "Subject: g\n", ".hidden": one("h"),
		"Kmail/cur/5.a.b:2,F": "Subject: i\n", "Kmail/new/": "", "Kmail/.Sub/cur/6.a.b:2,": "Subject: j\n",
	})
	st := testStore(t, filepath.Join(t.TempDir(), "mail"))
	testImport(t, testJob(st), dir, 9, 0)
	testWantContents(t, testTree(t, st),
		"INBOX 1 1772445606 S[]: Received: by a; Mon, 2 Mar 2026 11:00:06 +0100\nDate: x\nSubject: f\n",
		"INBOX 2 3 S[]: Subject: g\n",
		"INBOX 3 1772445600 []: Subject: a\r\n",
		"Archives/2025 1 1772445600 []: Subject: b\r\n",
		"Archives/v1_2~ 1 1772445600 []: Subject: c\r\n",
		"Kmail 1 5 F[]: Subject: i\n",
		"Kmail/Sub 1 6 []: Subject: j\n",
		"Work 1 1772445600 []: Subject: d\r\n",
		"eml/x 1 1772445605 S[]: Date: Mon, 2 Mar 2026 10:00:05 +0000\nSubject: e\n")
}

func TestTransferNames(t *testing.T) {
	long := strings.Repeat("ü", 50)
	for _, c := range []struct{ parts, want string }{
		{"inbox", "INBOX"}, {"~root", "_root"}, {"a|b.c|d/e", "a/b_c/d_e"}, {"..|..", "__/__"}, {"a||b", "a/_/b"}, {"\x00\xff", "__"},
		{long, long[:60]}, {strings.Repeat("ab|", 100) + "c", strings.Repeat("ab/", 78) + "ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab_ab"},
	} {
		got := transferName(strings.Split(c.parts, "|")...)
		if clean, err := mailboxCleanName(got); err != nil || clean != got {
			t.Errorf("%q is %q: %v", c.parts, got, err)
		}
		if !strings.Contains(c.parts, "ab|") && got != c.want {
			t.Errorf("%q is %q, want %q", c.parts, got, c.want)
		}
	}
}

// testDovecot is a Maildir++ as Dovecot leaves it.
func testDovecot(t testing.TB) string {
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{
		"cur/1000.M1.host,S=11,W=12:2,FSa": "Subject: 1\n", "cur/1001.M1.host:2,": "Subject: 2\r\n", "new/1002.M1.host": "Subject: 3\n",
		"dovecot-uidlist":  "3 V1234567890 N50 G0123456789abcdef0123456789abcdef\n7 :1001.M1.host\n42 P12 :1000.M1.host,S=11,W=12\n44 :gone.host\n",
		"dovecot-keywords": "0 work\n1 $Forwarded\n", "dovecot-uidvalidity": "499602d5", "dovecot-uidvalidity.499602d5": "",
		"subscriptions": "V\t2\n\nArchiv\tM&AOQ-rz\n", "dovecot.index": "x", "dovecot.index.cache": "x", "maildirsize": "1000S\n", "tmp/900.x": "part",
		".Archiv.M&AOQ-rz/cur/1003.M1.host:2,Sb": "Subject: 4\n", ".Archiv.M&AOQ-rz/new/": "", ".Archiv.M&AOQ-rz/maildirfolder": "",
		".Archiv.M&AOQ-rz/dovecot-keywords": "1 home\n", ".Archiv.M&AOQ-rz/dovecot-uidlist": "3 V1234567891 N9 G0123456789abcdef0123456789abcdee\n5 :1003.M1.host\n",
		".März/cur/1004.M1.host:2,T": "Subject: 5\n", ".März/new/": "",
	})
	return dir
}

// An empty account becomes what it was elsewhere, to the last UID.
func TestTransferKeepsUIDs(t *testing.T) {
	source := testDovecot(t)
	want := []string{
		"INBOX 7 1001 []: Subject: 2\r\n", "INBOX 42 1000 FS[\"work\"]: Subject: 1\n", "INBOX 50 1002 []: Subject: 3\n",
		"Archiv/März 5 1003 S[\"home\"]: Subject: 4\n", "März 1 1004 T[]: Subject: 5\n",
	}
	for _, before := range []string{"no account", "an account without mail"} {
		t.Run(before, func(t *testing.T) {
			st := testStore(t, t.TempDir())
			if before != "no account" {
				testView(t, testTree(t, st), "INBOX")
			}
			testImport(t, testJob(st), source, 5, 0)
			tree := testTree(t, st)
			testWantContents(t, tree, want...)
			v := testView(t, tree, "INBOX")
			if v.uidValidity() != 1234567890 || v.popUIDL(42) != "12" {
				t.Errorf("UIDVALIDITY %d, UIDL %q", v.uidValidity(), v.popUIDL(42))
			}
			if names, err := tree.subscriptions(); err != nil || !slices.Contains(names, "Archiv/März") {
				t.Errorf("subscribed: %q, %v", names, err)
			}
			if _, err := tree.special("Sent"); err != nil {
				t.Error(err)
			}
			for _, name := range []string{"dovecot.index", "maildirsize", transferStageMark, "tmp/900.x"} {
				if _, err := os.Stat(filepath.Join(tree.root, name)); err == nil {
					t.Errorf("%s was copied", name)
				}
			}
			if _, err := os.Stat(testJob(st).stage); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the stage: %v", err)
			}
			testImport(t, testJob(st), source, 0, 5)
			testWantContents(t, tree, want...)
		})
	}
}

// Into an account with mail, a Maildir++ comes with new UIDs and its keywords, in the order of the old UIDs.
func TestTransferMaildirAdds(t *testing.T) {
	source, st := testDovecot(t), testStore(t, t.TempDir())
	tree := testTree(t, st)
	testDeliver(t, tree, "INBOX", "Subject: 0\r\n", "Subject: 3\r\n")
	testImport(t, testJob(st), source, 4, 1)
	testWantContents(t, tree, "INBOX 1 1700000000 []: Subject: 0\r\n", "INBOX 2 1700000000 []: Subject: 3\r\n",
		"INBOX 3 1001 []: Subject: 2\r\n", "INBOX 4 1000 FS[\"work\"]: Subject: 1\n",
		"Archiv/März 1 1003 S[\"home\"]: Subject: 4\n", "März 1 1004 T[]: Subject: 5\n")
}

// Courier's own files: UIDs, keywords, subscriptions.
func TestTransferCourier(t *testing.T) {
	source := t.TempDir()
	testLayOut(t, source, map[string]string{
		"cur/1000.M1.host:2,S": "Subject: 1\n", "cur/1001.M1.host:2,": "Subject: 2\n", "new/1002.M1.host": "Subject: 3\n", "tmp/": "",
		"courierimapuiddb": "1 1234567890 12\n4 1001.M1.host\n9 1000.M1.host\n", "courierimapsubscribed": "INBOX\nINBOX.Old.Stuff\n",
		"courierimapkeywords/:list": "home\nwork\n\n1000.M1.host:0 1\n1001.M1.host:1\n", "courierimapkeywords/1001.M1.host": "late\n",
		"courierimapkeywords/.3.1002.M1.host": "newest\n", "courierimapkeywords/.2.1002.M1.host": "older\n",
	})
	st := testStore(t, t.TempDir())
	testImport(t, testJob(st), source, 3, 0)
	tree := testTree(t, st)
	if names, err := tree.subscriptions(); err != nil || !slices.Contains(names, "Old/Stuff") {
		t.Errorf("subscribed: %q, %v", names, err)
	}
	got := testContents(t, tree)
	for i, want := range []string{"INBOX 4 1001 [late]", "INBOX 9 1000 S[home work]", "INBOX 12 1002 [newest]"} {
		if !strings.HasPrefix(strings.ReplaceAll(got[i], `"`, ""), want) && !strings.HasPrefix(strings.ReplaceAll(got[i], `"`, ""), strings.Replace(want, "home work", "work home", 1)) {
			t.Errorf("%s, want %s", got[i], want)
		}
	}
	other := testStore(t, t.TempDir())
	testDeliver(t, testTree(t, other), "INBOX", "Subject: 0\r\n")
	testImport(t, testJob(other), source, 3, 0)
	if got := testContents(t, testTree(t, other)); !strings.HasPrefix(got[3], `INBOX 4 1002 ["newest"]`) {
		t.Errorf("%q", got)
	}
}

// Mail that is delivered while an account comes in is not lost with the directory it lay in.
func TestTransferMailMeanwhile(t *testing.T) {
	source, st := testDovecot(t), testStore(t, t.TempDir())
	server := testStore(t, st.root) // another process
	tree := testTree(t, server)
	v := testView(t, tree, "INBOX")
	swap := func(step, path string) error {
		if step == "rename" && path == tree.root {
			testDeliver(t, tree, "INBOX", "Subject: new\r\n")
			testDeliver(t, tree, "Junk", "Subject: junk\r\n")
		}
		return nil
	}
	fileFault.Store(&swap)
	defer fileFault.Store(nil)
	testImport(t, testJob(st), source, 5, 0)
	fileFault.Store(nil)
	if got := testContents(t, testTree(t, testStore(t, st.root))); len(got) != 7 || got[3] != "INBOX 51 1700000000 []: Subject: new\r\n" {
		t.Errorf("there is:\n%s", strings.Join(got, "\n"))
	}
	if _, err := v.sync(true); !errors.Is(err, errMailboxGone) { // it has other messages under the same numbers now
		t.Errorf("a session from before: %v", err)
	}
	if got := testContents(t, tree); len(got) != 7 {
		t.Errorf("the server sees:\n%s", strings.Join(got, "\n"))
	}
}

// A disk that fails at any step costs nothing but time.
func TestTransferFaults(t *testing.T) {
	mbox, dovecot := filepath.Join(t.TempDir(), "mbox"), testDovecot(t)
	testLayOut(t, filepath.Dir(mbox), map[string]string{"mbox": testManyMbox(8)})
	for _, c := range []struct{ step, where string }{
		{"create", "/tmp/"}, {"write", "/tmp/"}, {"sync", "/tmp"}, {"rename", "/cur/"}, {"rename", "/new/"}, {"syncdir", "/new/"},
		{"write", "dovecot-uidlist"}, {"sync", "dovecot-uidlist"}, {"rename", "/alice"}, {"syncdir", "/stage"}, {"rename", "subscriptions"},
	} {
		for _, source := range []string{mbox, dovecot} {
			t.Run(c.step+" "+filepath.Base(c.where)+" "+filepath.Base(source), func(t *testing.T) {
				st := testStore(t, t.TempDir())
				n := map[string]int{mbox: 8, dovecot: 5}[source]
				testFault(t, c.step, c.where, syscall.ENOSPC)
				s, err := transferSourceOf(source)
				must(t, err)
				counts, err := testJob(st).run(context.Background(), s)
				fileFault.Store(nil)
				if err == nil && counts.imported != n {
					t.Fatalf("no error, and %d messages", counts.imported)
				}
				st = testStore(t, st.root)
				here := len(testContents(t, testTree(t, testStore(t, st.root))))
				if !counts.staged && counts.imported > here {
					t.Errorf("it says %+v, and %d messages are there", counts, here)
				}
				for _, pattern := range []string{"stage/alice/tmp/*", "stage/alice/.*/tmp/*"} {
					if names, err := filepath.Glob(filepath.Join(st.root, ".letterbox", pattern)); err != nil || len(names) > 0 {
						t.Errorf("left: %q, %v", names, err)
					}
				}
				_, err = testJob(st).run(context.Background(), s)
				must(t, err)
				if got := testContents(t, testTree(t, st)); len(got) != n {
					t.Errorf("there is:\n%s", strings.Join(got, "\n"))
				}
			})
		}
	}
}

func testManyMbox(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "From a@b Mon Mar  2 10:%02d:00 2026\nSubject: %d\nX-Keywords: k%d\n\n", i, i, i%3)
	}
	return b.String()
}

// Killed at any step, an import goes on when it is started again, and makes no duplicates.
func TestTransferKilled(t *testing.T) {
	if args := os.Getenv("LETTERBOX_TEST_TRANSFER"); args != "" {
		testTransferAndDie(t, args)
		return
	}
	if testing.Short() {
		t.Skip("many processes")
	}
	mbox, dovecot := filepath.Join(t.TempDir(), "mbox"), testDovecot(t)
	testLayOut(t, filepath.Dir(mbox), map[string]string{"mbox": testManyMbox(8)})
	for _, source := range []string{mbox, dovecot} {
		var want []string
		for step := 1; ; step += 6 {
			root := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestTransferKilled$")
			cmd.Env = []string{fmt.Sprintf("LETTERBOX_TEST_TRANSFER=%d %s %s", step, root, source)}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, syscall.ENOEXEC) {
				t.Skip("an emulated program cannot start another")
			}
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if err != nil && !killed {
				t.Fatalf("%v\n%s", err, out)
			}
			st := testStore(t, root)
			s, err := transferSourceOf(source)
			must(t, err)
			if _, err := testJob(st).run(context.Background(), s); err != nil {
				t.Fatalf("%s, killed at step %d: %v", source, step, err)
			}
			got := testContents(t, testTree(t, st))
			slices.Sort(got)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, killed at step %d, there is:\n%s\nwant:\n%s", source, step, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if !killed {
				if step < 20 {
					t.Errorf("%s: only %d steps", source, step)
				}
				break
			}
		}
	}
}

// testTransferAndDie imports and kills its own process at a step on the way to the disk.
func testTransferAndDie(t *testing.T, args string) {
	var last int
	var root, source string
	if _, err := fmt.Sscan(args, &last, &root, &source); err != nil {
		t.Fatal(err)
	}
	steps := 0
	die := func(step, path string) error {
		if steps++; steps == last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	fileFault.Store(&die)
	st := testStore(t, root)
	s, err := transferSourceOf(source)
	must(t, err)
	_, err = testJob(st).run(context.Background(), s)
	must(t, err)
}

// What a user may have is not exceeded.
func TestTransferQuota(t *testing.T) {
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{"mbox": testManyMbox(8)})
	st := testStore(t, filepath.Join(dir, "mail"))
	st.limitQuotas(func(string) mailboxQuota { return mailboxQuota{0, 5} })
	s, err := transferSourceOf(filepath.Join(dir, "mbox"))
	must(t, err)
	if counts, err := testJob(st).run(context.Background(), s); !errors.Is(err, errMailboxQuota) || counts.imported != 5 {
		t.Errorf("%+v, %v", counts, err)
	}
	if got := testContents(t, testTree(t, st)); len(got) != 5 {
		t.Errorf("there is %q", got)
	}
	st = testStore(t, t.TempDir())
	st.limitQuotas(func(string) mailboxQuota { return mailboxQuota{0, 4} })
	s, err = transferSourceOf(testDovecot(t))
	must(t, err)
	if counts, err := testJob(st).run(context.Background(), s); !errors.Is(err, errTransferQuota) || counts.imported != 0 {
		t.Errorf("%+v, %v", counts, err)
	}
}

// More keywords than a folder has letters for: the message comes, the keyword does not.
func TestTransferKeywordsFull(t *testing.T) {
	dir, text := t.TempDir(), ""
	for i := range 28 {
		text += fmt.Sprintf("From a@b Mon Mar  2 10:%02d:00 2026\nSubject: %d\nX-Keywords: k%d bad*one\n\n", i, i, i)
	}
	testLayOut(t, dir, map[string]string{"mbox": text})
	st := testStore(t, filepath.Join(dir, "mail"))
	s, err := transferSourceOf(filepath.Join(dir, "mbox"))
	must(t, err)
	counts, err := testJob(st).run(context.Background(), s)
	if err != nil || counts.imported != 28 || counts.dropped != 2 {
		t.Errorf("%+v, %v", counts, err)
	}
}

// A Maildir that somebody has given us may have links to others' mail in it, and pipes: they are not followed and not waited for, and said.
func TestTransferLinks(t *testing.T) {
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{
		"bob/cur/9.bob:2,": "Subject: secret\n", "bob/new/": "", "bob/plain": "From a@b Mon Mar  2 10:00:00 2026\nSubject: secret\n\n",
		"a/cur/1.a:2,": "Subject: 1\n", "a/new/": "", "a/.Sub/cur/2.a:2,S": "Subject: 2\n", "a/.Sub/new/": "", "a/.Half/new/": "", "tree/3.eml": "Subject: 3\n",
	})
	for from, to := range map[string]string{"a/cur/8.link:2,": "../../bob/cur/9.bob:2,", "a/.Bob": "../bob", "a/.Half/cur": "../../bob/cur",
		"tree/bob.mbox": "../bob/plain", "tree/bob": "../bob", "source": "a", "tree/gone": "nowhere"} {
		must(t, os.Symlink(to, filepath.Join(dir, from)))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "a/cur/7.pipe:2,"), 0o600))
	for _, mail := range []string{"none", "some"} {
		st, failed := testStore(t, t.TempDir()), []string{}
		if mail == "some" {
			testDeliver(t, testTree(t, st), "INBOX", "Subject: 0\r\n")
		}
		for i, source := range []string{"source", "tree"} {
			job, imported := testJob(st), 2-i
			job.failed = func(what string, err error) { failed = append(failed, strings.TrimPrefix(what, dir)) }
			testImport(t, job, filepath.Join(dir, source), imported, 0)
		}
		slices.Sort(failed)
		if got := strings.Join(testContents(t, testTree(t, st)), ""); strings.Contains(got, "secret") {
			t.Errorf("bob's mail: %s", got)
		}
		if want := []string{"/a/.Bob", "/a/.Half", "/a/cur/7.pipe:2,", "/a/cur/8.link:2,", "/tree/bob", "/tree/bob.mbox"}; !slices.Equal(failed, want) {
			t.Errorf("%s: %q, want %q", mail, failed, want)
		}
	}
}

// Dovecot's LAYOUT=fs has the folders as directories in one another.
func TestTransferLayoutFs(t *testing.T) {
	dir := t.TempDir()
	testLayOut(t, dir, map[string]string{
		"cur/1.a:2,": "Subject: 1\n", "new/": "", "tmp/": "", "dovecot-uidlist": "3 V1 N9\n", "Archiv/cur/2.a:2,S": "Subject: 2\n", "Archiv/new/": "",
		"Archiv/M&AOQ-rz/cur/3.a:2,": "Subject: 3\n", "Archiv/M&AOQ-rz/new/4.a": "Subject: 4\n", "No/Select/cur/5.a:2,b": "Subject: 5\n", "No/Select/new/": "",
		"No/Select/dovecot-keywords": "1 home\n",
	})
	for _, mail := range []string{"none", "some"} {
		st := testStore(t, t.TempDir())
		if mail == "some" {
			testDeliver(t, testTree(t, st), "Trash", "Subject: 0\r\n")
		}
		testImport(t, testJob(st), dir, 5, 0)
		if got := testContents(t, testTree(t, st)); len(got) < 5 || !slices.Equal(got[:5], []string{"INBOX 1 1 []: Subject: 1\n", "Archiv 1 2 S[]: Subject: 2\n",
			"Archiv/März 1 3 []: Subject: 3\n", "Archiv/März 2 4 []: Subject: 4\n", "No/Select 1 5 [\"home\"]: Subject: 5\n"}) {
			t.Errorf("%s: there is:\n%s", mail, strings.Join(got, "\n"))
		}
	}
}

// Where two directories are one folder here, each has UIDs of its own, and neither keeps them.
func TestTransferFoldersTwice(t *testing.T) {
	dir := testDovecot(t)
	testLayOut(t, dir, map[string]string{".INBOX/cur/2000.M1.host:2,a": "Subject: 6\n", ".INBOX/new/": "", ".INBOX/dovecot-keywords": "0 other\n",
		".INBOX/dovecot-uidlist": "3 V7 N9\n"})
	st := testStore(t, t.TempDir())
	testImport(t, testJob(st), dir, 6, 0)
	got := testContents(t, testTree(t, st))
	if want := []string{"INBOX 1 1001 []: Subject: 2\r\n", "INBOX 2 1000 FS[\"work\"]: Subject: 1\n", "INBOX 3 1002 []: Subject: 3\n", "INBOX 4 2000 [\"other\"]: Subject: 6\n"}; !slices.Equal(got[:4], want) {
		t.Errorf("there is:\n%s", strings.Join(got, "\n"))
	}
}

// A file that cannot be read keeps nobody's account elsewhere.
func TestTransferUnreadable(t *testing.T) {
	dir := testDovecot(t)
	must(t, os.WriteFile(filepath.Join(dir, "cur/1003.M1.host:2,"), []byte("Subject: large\n\n"+strings.Repeat("x", 2*transferInMemory)), 0o600))
	testFault(t, "open", "1001.M1.host", syscall.EIO)
	for _, want := range []transferCounts{{imported: 5, failed: 1, kept: true}, {imported: 0, skipped: 5, failed: 1}} {
		st := testStore(t, filepath.Join(filepath.Dir(dir), "mail"))
		s, err := transferSourceOf(dir)
		must(t, err)
		counts, err := testJob(st).run(context.Background(), s)
		if err != nil || counts.imported != want.imported || counts.failed != want.failed || counts.kept != want.kept {
			t.Errorf("%+v, want %+v: %v", counts, want, err)
		}
	}
	file, err := os.Open(dir)
	must(t, err)
	defer file.Close()
	if _, err := io.Copy(io.Discard, transferFile{file}); !errors.As(err, new(transferUnreadable)) { // as of a disk that is broken
		t.Errorf("%v", err)
	}
}

// A name that a list of UIDs cannot hold is not kept, and the message comes with the next run.
func TestTransferFileNames(t *testing.T) {
	dir, st := testDovecot(t), testStore(t, t.TempDir())
	testLayOut(t, dir, map[string]string{"cur/2000.a\n99 :b:2,": "Subject: 6\n", "cur/2001." + strings.Repeat("x", 250): "Subject: 7\n"})
	for _, want := range []transferCounts{{imported: 5, failed: 2}, {imported: 2, skipped: 5}} {
		s, err := transferSourceOf(dir)
		must(t, err)
		counts, err := testJob(st).run(context.Background(), s)
		if err != nil || counts.imported != want.imported || counts.skipped != want.skipped || counts.failed != want.failed {
			t.Errorf("%+v, want %+v: %v", counts, want, err)
		}
	}
}

// A folder that would be too deep below another comes all the same.
func TestTransferBelow(t *testing.T) {
	for _, c := range [][3]string{{"", "a", "a"}, {"x", "INBOX", "x"}, {"x", "a/b", "x/a/b"}, {strings.Repeat("y", 60), strings.Repeat("abcd/", 38) + "z", ""}} {
		got := transferBelow(c[0], c[1])
		if _, err := mailboxCleanName(got); err != nil || c[2] != "" && got != c[2] {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// What was prepared for a user who has got mail since takes no room for ever.
func TestTransferStageLeft(t *testing.T) {
	dir, st := testDovecot(t), testStore(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	job := testJob(st)
	job.tell = func(*transferCounts) { cancel() }
	s, err := transferSourceOf(dir)
	must(t, err)
	if counts, err := job.run(ctx, s); !errors.Is(err, context.Canceled) || !counts.staged {
		t.Fatalf("%+v, %v", counts, err)
	}
	testDeliver(t, testTree(t, st), "INBOX", "Subject: new\r\n")
	testImport(t, testJob(st), dir, 5, 0)
	if _, err := os.Stat(job.stage); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stage: %v", err)
	}
	if got := testContents(t, testTree(t, st)); len(got) != 6 {
		t.Errorf("there is:\n%s", strings.Join(got, "\n"))
	}
}
