package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func spoolTestLetter(t *testing.T, text string) *spoolLetter {
	t.Helper()
	l, err := spoolReadLetter(strings.NewReader(text), false, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What programs write, and what it becomes.
func TestSpoolLetter(t *testing.T) {
	long := strings.Repeat("x", 3*spoolChunk)
	for name, test := range map[string]struct {
		text, want string
		dots       bool
	}{
		"LF":                     {"Subject: a\n\nb\n", "Subject: a\r\n\r\nb\r\n", true},
		"CRLF":                   {"Subject: a\r\n\r\nb\r\n", "Subject: a\r\n\r\nb\r\n", true},
		"no end of line":         {"Subject: a\n\nb", "Subject: a\r\n\r\nb\r\n", true},
		"no end of the header":   {"Subject: a", "Subject: a\r\n\r\n", true},
		"nothing":                {"", "\r\n", true},
		"only a body":            {"Disk is full\nreally\n", "\r\nDisk is full\r\nreally\r\n", true},
		"an empty line first":    {"\nSubject: no\n", "\r\nSubject: no\r\n", true},
		"a body after fields":    {"Subject: a\nthe body\n", "Subject: a\r\n\r\nthe body\r\n", true},
		"folded":                 {"Subject: a\n b\n\tc\nTo: d\n\ne\n", "Subject: a\r\n b\r\n\tc\r\nTo: d\r\n\r\ne\r\n", true},
		"folded first":           {" b\nTo: d\n", "\r\n b\r\nTo: d\r\n", true},
		"out of an mbox":         {"From me Thu Jan  1\nSubject: a\n\nb\n", "Subject: a\r\n\r\nb\r\n", true},
		"From in a body":         {"Subject: a\n\nFrom me\n", "Subject: a\r\n\r\nFrom me\r\n", true},
		"a dot":                  {"Subject: a\n\nb\n.\nc\n", "Subject: a\r\n\r\nb\r\n", true},
		"a dot and CR":           {"Subject: a\n\nb\n.\r\nc\n", "Subject: a\r\n\r\nb\r\n", true},
		"a dot and the end":      {"Subject: a\n\nb\n.", "Subject: a\r\n\r\nb\r\n", true},
		"a dot in the header":    {"Subject: a\n.\nb\n", "Subject: a\r\n\r\n", true},
		"a dot that counts":      {"Subject: a\n\nb\n.\nc\n", "Subject: a\r\n\r\nb\r\n.\r\nc\r\n", false},
		"a line with dots":       {"\n..\n.a\n", "\r\n..\r\n.a\r\n", true},
		"8 bit and NUL":          {"Subject: \xe4\n\n\x00\xff\n", "Subject: \xe4\r\n\r\n\x00\xff\r\n", true},
		"CR alone":               {"Subject: a\n\nb\rc\r\r\n", "Subject: a\r\n\r\nb\rc\r\r\n", true},
		"a long line":            {"Subject: a\n\n" + long + "\n", "Subject: a\r\n\r\n" + long + "\r\n", true},
		"a long field":           {"Subject: " + long + "\n\nb\n", "Subject: " + long + "\r\n\r\nb\r\n", true},
		"a long line, no header": {long + "\n.\nx", "\r\n" + long + "\r\n", true},
		"a CR between pieces":    {"\n" + strings.Repeat("y", spoolChunk-2) + "\r\nz\n", "\r\n" + strings.Repeat("y", spoolChunk-2) + "\r\nz\r\n", true},
		"a CR at a piece's end":  {"\n" + strings.Repeat("y", spoolChunk-1) + "\r\nz\n", "\r\n" + strings.Repeat("y", spoolChunk-1) + "\r\nz\r\n", true},
		"a CR alone there":       {"\n" + strings.Repeat("y", spoolChunk-1) + "\rz\n", "\r\n" + strings.Repeat("y", spoolChunk-1) + "\rz\r\n", true},
		"a field with a space":   {"Subject : a\n\nb\n", "Subject : a\r\n\r\nb\r\n", true},
	} {
		l, err := spoolReadLetter(strings.NewReader(test.text), test.dots, 1<<20)
		var got bytes.Buffer
		if err == nil {
			err = l.write(&got)
		}
		if err != nil || got.String() != test.want || l.size+int64(len(spoolCRLF)) != int64(got.Len()) {
			t.Errorf("%s: %v, size %d of %d:\n%.200q", name, err, l.size, got.Len(), got.String())
		}
	}
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"too large":      {"\n" + long, errSpoolSize},
		"a large header": {"Subject: " + strings.Repeat("x\n ", spoolMaxHead/2), errSpoolHead},
		"many fields":    {strings.Repeat("A: b\n", spoolMaxHead/5), errSpoolHead},
	} {
		max := int64(100_000)
		if test.want == errSpoolHead {
			max = 1 << 30
		}
		if _, err := spoolReadLetter(strings.NewReader(test.text), true, max); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("broken pipe")
	if _, err := spoolReadLetter(iotest.ErrReader(broken), true, 100); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// What -t reads, what it hides, and what is added.
func TestSpoolHeader(t *testing.T) {
	l := spoolTestLetter(t, "To: alice,\n bob@pi (Bob)\nBCC: carol\n , dave\ncc: g: erin;\nBcc : frank\nSubject: x\nDate: kept\n\nTo: nobody\n")
	list, bad := l.recipients()
	if fmt.Sprint(list) != "[alice bob@pi carol dave erin frank]" || len(bad) != 0 {
		t.Error(list, bad)
	}
	l.hide()
	l.complete(`Cron "D"`, address{"root", "pi"}, "pi", time.Unix(0, 0).UTC())
	var b bytes.Buffer
	if err := l.write(&b); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(b.String(), "\r\n\r\n")
	if want := "To: alice,\r\n bob@pi (Bob)\r\ncc: g: erin;\r\nSubject: x\r\nDate: kept\r\nFrom: \"Cron \\\"D\\\"\" <root@pi>\r\nMessage-ID: <"; !strings.HasPrefix(head, want) || strings.Count(head, "\r\n") != 6 {
		t.Errorf("%q", head)
	}
	if l.size+2 != int64(b.Len()) {
		t.Error(l.size, b.Len())
	}
	l = spoolTestLetter(t, "To: alice\nBcc: x\nResent-To: bob, two words\nResent-Bcc: carol\n\n")
	if list, bad = l.recipients(); fmt.Sprint(list) != "[bob carol]" || fmt.Sprint(bad) != "[two words]" {
		t.Error(list, bad)
	}
	if l.hide(); l.has("bcc") || l.has("resent-bcc") || !l.has("to") {
		t.Errorf("%q", l.fields)
	}
	for name, want := range map[string]string{"": "a@pi", "Ann": "Ann <a@pi>", "Ann B": "Ann B <a@pi>", "A, B\r\nX: y": `"A, B X: y" <a@pi>`, "Jürgen": "=?utf-8?q?J=C3=BCrgen?= <a@pi>"} {
		if got := spoolMailbox(name, address{"a", "pi"}); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestSpoolSender(t *testing.T) {
	ours := func(domain string) bool { return domain == "" || domain == "pi" }
	for _, test := range []struct{ claimed, user, want string }{
		{"alice@pi", "alice", "alice@pi"},
		{"Alice+x@pi", "alice", "Alice+x@pi"},
		{"bob@pi", "alice", "alice@pi"},
		{"bob", "alice", "alice@pi"},
		{"bob@example.org", "alice", "bob@example.org"},
		{"bob@pi", "", "bob@pi"},
	} {
		claimed, err := addressParse(test.claimed)
		if got := spoolSender(claimed, test.user, "pi", ours); err != nil || got.String() != test.want {
			t.Errorf("%s of %q: %s, %v", test.claimed, test.user, got, err)
		}
	}
	if got := spoolSender(address{}, "alice", "pi", ours); !got.isNull() {
		t.Error(got)
	}
}

func FuzzSpoolEnvelope(f *testing.F) {
	f.Add(spoolMagic + "\nfrom a@b\nto c\nto \"d e\"@f\n\nSubject: x\r\n")
	f.Add(spoolMagic + "\nfrom \nto c\n\n")
	f.Add(spoolMagic + "\nfrom\nto c\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := spoolReadEnvelope(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		var b bytes.Buffer
		e.write(&b)
		again, err := spoolReadEnvelope(bufio.NewReader(&b))
		if err != nil || again.from != e.from || !slices.Equal(again.to, e.to) || len(e.to) == 0 {
			t.Errorf("%q: %v, %v, %v", text, e, again, err)
		}
	})
}

func FuzzSpoolLetter(f *testing.F) {
	f.Add("Subject: a\r\n b\n\nc\r.\n.\nd", true)
	f.Add("From x\nTo: a,\n\tb\nno field\n", false)
	f.Fuzz(func(t *testing.T, text string, dots bool) {
		l, err := spoolReadLetter(strings.NewReader(text), dots, 1<<16)
		if err != nil {
			return
		}
		l.recipients()
		l.complete("x", address{"a", "b"}, "c", time.Unix(0, 0))
		var once, twice bytes.Buffer
		if l.write(&once) != nil || int64(once.Len()) != l.size+2 {
			t.Fatalf("%d bytes, told %d", once.Len(), l.size)
		}
		again, err := spoolReadLetter(bytes.NewReader(once.Bytes()), false, 1<<20)
		if err != nil || again.write(&twice) != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("%v:\n%q\n%q", err, once.Bytes(), twice.Bytes())
		}
	})
}

// spoolTest makes a spool whose turns the test takes itself.
func spoolTest(t *testing.T, root string, users ...string) (*spool, *serverLog) {
	t.Helper()
	d := testDeliverer(t, filepath.Join(root, "mail"), map[string][]string{"family": {"alice", "bob"}}, testAuth(t, users...))
	log := &serverLog{}
	s := &spool{known: map[string]*spoolKept{}, spoolSettings: spoolSettings{path: filepath.Join(root, "spool"), now: time.Now,
		log: logNew(log, slog.LevelDebug), deliverer: func() *deliverer { return d }, maxSize: func() int64 { return 1 << 20 }}}
	if err := s.take(); err != nil {
		t.Fatal(err)
	}
	return s, log
}

func spoolTestPut(t *testing.T, s *spool, from address, text string, to ...string) {
	t.Helper()
	e := spoolEnvelope{from: from}
	for _, name := range to {
		a, err := addressParse(name)
		if err != nil {
			t.Fatal(err)
		}
		e.to = append(e.to, a)
	}
	if err := spoolPut(s.path, e, spoolTestLetter(t, text)); err != nil {
		t.Fatal(err)
	}
}

func spoolTestFiles(t *testing.T, s *spool) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestSpoolTake(t *testing.T) {
	root := t.TempDir()
	s, log := spoolTest(t, root, "alice", "bob")
	if info, err := os.Stat(s.path); err != nil || info.Mode() != os.ModeDir|spoolMode {
		t.Fatal(info.Mode(), err)
	}
	big := strings.Repeat("a line\n", 20_000)
	spoolTestPut(t, s, address{"root", "pi.lan"}, "Subject: one\n\n.\n"+big, "alice", "family")
	spoolTestPut(t, s, address{}, "Subject: two\n\nx\n", "bob@pi.lan")
	if err := s.take(); err != nil {
		t.Fatal(err)
	}
	alice, bob := testEnvelopeFiles(t, filepath.Join(root, "mail"), "alice"), testEnvelopeFiles(t, filepath.Join(root, "mail"), "bob")
	if len(alice) != 2 || len(bob) != 2 || len(spoolTestFiles(t, s)) != 0 {
		t.Fatal(alice, bob, log)
	}
	text, err := os.ReadFile(alice[0])
	if err != nil || !strings.HasSuffix(string(text), "Subject: one\r\n\r\n.\r\n"+strings.ReplaceAll(big, "\n", "\r\n")) || !strings.HasPrefix(string(text), "Return-Path: <root@pi.lan>\r\n") {
		t.Errorf("%v: %.500s", err, text)
	}
}

// Those who do not exist are told to the sender, or to postmaster, with the message.
func TestSpoolTells(t *testing.T) {
	root := t.TempDir()
	mail := filepath.Join(root, "mail")
	s, log := spoolTest(t, root, "alice", "bob")
	spoolTestPut(t, s, address{"bob", "pi.lan"}, "Subject: lost\n\nx\n", "nobody", "someone@example.com", "alice")
	spoolTestPut(t, s, address{"stranger", "pi.lan"}, "Subject: stray\n\nx\n", "no-one")
	if err := s.take(); err != nil {
		t.Fatal(err)
	}
	alice, bob := testEnvelopeFiles(t, mail, "alice"), testEnvelopeFiles(t, mail, "bob") // alice is postmaster
	if len(alice) != 2 || len(bob) != 1 || len(spoolTestFiles(t, s)) != 0 {
		t.Fatal(alice, bob, log)
	}
	text, err := os.ReadFile(bob[0])
	for _, want := range []string{"Return-Path: <>\r\n", "\r\nTo: bob@pi.lan\r\n", "    nobody: no such user here\r\n    someone@example.com: this box delivers to its own users only\r\n",
		"Content-Type: message/rfc822", "\r\n\r\nSubject: lost\r\n\r\nx\r\n\r\n--", "Auto-Submitted: auto-replied"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: the notice does not say %q:\n%s", err, want, text)
		}
	}
	if !strings.Contains(log.String(), "mail of a program cannot be delivered") {
		t.Error(log)
	}
}

// Whatever step fails, the mail is in the spool or sendmail says so, and nothing is delivered in part.
func TestSpoolPutFaults(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "rename", "syncdir"} {
		s, _ := spoolTest(t, t.TempDir(), "alice")
		fault := func(at, path string) error {
			if at == step && strings.HasPrefix(path, s.path) {
				return syscall.ENOSPC
			}
			return nil
		}
		fileFault.Store(&fault)
		err := spoolPut(s.path, spoolEnvelope{to: []address{{local: "alice"}}}, spoolTestLetter(t, "\nx\n"))
		fileFault.Store(nil)
		if files := spoolTestFiles(t, s); !errors.Is(err, syscall.ENOSPC) || len(files) != 0 {
			t.Errorf("%s: %v, %v", step, err, files)
		}
	}
}

// Whatever step of the delivery fails, the file stays, those who have the message don't get it again, and the others get it later.
func TestSpoolTakeFaults(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "rename", "syncdir"} {
		root := t.TempDir()
		mail := filepath.Join(root, "mail")
		s, log := spoolTest(t, root, "alice", "bob")
		spoolTestPut(t, s, address{}, "Subject: x\n\nx\n", "alice", "bob")
		fault := func(at, path string) error {
			if at == step && strings.HasPrefix(path, filepath.Join(mail, "bob")) {
				return fmt.Errorf("%s: %w", at, syscall.ENOSPC)
			}
			return nil
		}
		fileFault.Store(&fault)
		err := s.take()
		fileFault.Store(nil)
		if files := spoolTestFiles(t, s); err != nil || len(files) != 1 || !strings.Contains(log.String(), "stays in the spool") {
			t.Fatalf("%s: %v, %v, %s", step, err, files, log)
		}
		for _, kept := range s.known {
			kept.again = time.Time{}
		}
		err = s.take()
		alice, bob := testEnvelopeFiles(t, mail, "alice"), testEnvelopeFiles(t, mail, "bob")
		most := 1
		if step == "syncdir" { // D4: it is there, but nobody knows whether it is durable
			most = 2
		}
		if len(alice) != 1 || len(bob) < 1 || len(bob) > most || err != nil || len(spoolTestFiles(t, s)) != 0 || len(s.known) != 0 {
			t.Errorf("%s: %v, %v, %v, %s", step, alice, bob, err, log)
		}
	}
}

// What anybody may have put into the spool is neither delivered nor in the way of what is.
func TestSpoolHostile(t *testing.T) {
	root := t.TempDir()
	s, log := spoolTest(t, root, "alice")
	secret := filepath.Join(root, "secret")
	good := spoolMagic + "\nfrom \nto alice\n\nSubject: good\r\n\r\n"
	write := func(path, text string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(secret, good)
	name := func() string { return filepath.Join(s.path, rand.Text()) }
	var kept []string
	add := func(path string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, path)
	}
	link, hard, fifo, dir, large := name(), name(), name(), name(), name()
	add(link, os.Symlink(secret, link))
	add(hard, os.Link(secret, hard))
	add(fifo, syscall.Mkfifo(fifo, 0o644))
	add(dir, os.Mkdir(dir, 0o755))
	add(write(large, good), os.Truncate(large, 1<<40))
	for _, other := range []string{"line\nbreak", "-rf", "dovecot", "ABCDEFGHIJKLMNOPQRSTUVWXY1"} {
		add(write(filepath.Join(s.path, other), good), nil)
	}
	for _, text := range []string{"", "no spool file\n", spoolMagic, spoolMagic + "\nfrom \n\nx", spoolMagic + "\nfrom a\x00b\nto alice\n\nx",
		spoolMagic + "\nfrom \nto alice\nto " + strings.Repeat("x", 9000) + "\n\nx", spoolMagic + "\nfrom \nto a, b\n\nx", strings.Repeat("\n", 5000),
		spoolMagic + "\nfrom \n" + strings.Repeat("to alice\n", spoolMaxRecipients+1) + "\nx"} {
		add(write(name(), text), nil)
	}
	old, young := filepath.Join(s.path, "tmp-old"), write(filepath.Join(s.path, "tmp-young"), "x")
	day := time.Now().Add(-2 * spoolTmpAge)
	write(old, "x")
	if err := os.Chtimes(old, day, day); err != nil {
		t.Fatal(err)
	}
	write(name(), good+"x\r\n")
	for range 2 {
		if err := s.take(); err != nil {
			t.Fatal(err)
		}
	}
	files := spoolTestFiles(t, s)
	kept = append(kept, young)
	slices.Sort(kept)
	slices.Sort(files)
	if got := testEnvelopeFiles(t, filepath.Join(root, "mail"), "alice"); len(got) != 1 || !slices.Equal(files, kept) {
		t.Errorf("delivered %d; there is\n%q, not\n%q", len(got), files, kept)
	}
	if n := strings.Count(log.String(), "stays in the spool"); n != len(kept)-1 {
		t.Errorf("%d lines for %d files:\n%s", n, len(kept)-1, log)
	}
	waiting, _, findings, err := spoolLook(s.path, 1<<20, time.Now())
	if err != nil || waiting != 0 || len(findings) != len(kept)-1 {
		t.Errorf("%d, %v, %v", waiting, findings, err)
	}
}

// A file at which the program fails ends neither the server nor the others.
func TestSpoolFault(t *testing.T) {
	root := t.TempDir()
	s, log := spoolTest(t, root, "alice")
	spoolTestPut(t, s, address{}, "Subject: x\n\nx\n", "alice")
	right, calls := s.deliverer, 0
	s.deliverer = func() *deliverer {
		if calls++; calls == 1 {
			panic("a fault")
		}
		return right()
	}
	spoolTestPut(t, s, address{}, "Subject: y\n\nx\n", "alice")
	must(t, s.take())
	if files := spoolTestFiles(t, s); len(files) != 1 || len(testEnvelopeFiles(t, filepath.Join(root, "mail"), "alice")) != 1 || !strings.Contains(log.String(), "a fault of the program: a fault") {
		t.Errorf("%v, %s", files, log)
	}
}

// A user of the box who has taken the port while the server is away gets nobody's mail.
func TestSpoolStranger(t *testing.T) {
	needLoopback(t)
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skip("only Linux tells whose a connection is")
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil && address != "127.0.0.1:0" {
			continue // there is no IPv6
		}
		must(t, err)
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(conn, "220 pi ESMTP Letterbox\r\n")
				defer conn.Close()
			}
		}()
		if _, err := spoolDial([]string{l.Addr().String()}, []int{os.Getuid() + 1}); !errors.Is(err, errSpoolAway) || !strings.Contains(err.Error(), "is a program of") {
			t.Errorf("%s: %v", address, err)
		}
		link, err := spoolDial([]string{l.Addr().String()}, spoolOwners(t.TempDir()))
		must(t, err)
		link.close()
	}
	dir := t.TempDir()
	if got := spoolOwners(filepath.Join(dir, "a", "b")); !slices.Equal(got, []int{0, os.Getuid(), os.Getuid()}) {
		t.Errorf("owners: %v", got)
	}
}

// A user of the system may have any name.
func TestSpoolOddUsers(t *testing.T) {
	root := t.TempDir()
	s, log := spoolTest(t, root, "alice")
	for _, name := range []string{`HOME\ann`, "ann b", `a"b`, "uid7", "jürgen", "a@b", "-x", "a.b.", strings.Repeat("x", 70)} {
		spoolTestPut(t, s, address{name, "pi.lan"}, "Subject: x\n\nx\n", "alice")
	}
	must(t, s.take())
	if files := spoolTestFiles(t, s); len(files) != 0 {
		t.Errorf("%d are left: %s", len(files), log)
	}
}

// From a directory of somebody else nothing could be removed.
func TestSpoolOwner(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may remove anything")
	}
	if _, err := spoolOpen("/tmp"); err == nil || !strings.Contains(err.Error(), "change its owner") {
		if info, statErr := os.Stat("/tmp"); statErr == nil && spoolOwner(info) != os.Geteuid() && info.Mode()&os.ModeSticky != 0 {
			t.Error(err)
		}
	}
}

// Another server that is just ending has the spool; what comes later is found by itself.
func TestSpoolTurns(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, log := spoolTest(t, root, "alice")
		dir, err := spoolOpen(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		running := newSpool(s.spoolSettings)
		defer running.close()
		spoolTestPut(t, s, address{}, "Subject: x\n\nx\n", "alice")
		time.Sleep(3 * spoolInterval)
		synctest.Wait()
		if files := spoolTestFiles(t, s); len(files) != 1 || strings.Count(log.String(), "another server takes its mail") != 1 {
			t.Error(files, log)
		}
		dir.Close()
		time.Sleep(2 * spoolInterval)
		synctest.Wait()
		if files := spoolTestFiles(t, s); len(files) != 0 {
			t.Error(files, log)
		}
		spoolTestPut(t, s, address{}, "Subject: y\n\nx\n", "alice")
		running.retry()
		synctest.Wait()
		if files := spoolTestFiles(t, s); len(files) != 0 {
			t.Error(files, log)
		}
	})
}
