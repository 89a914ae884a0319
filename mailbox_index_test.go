package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testIndexAnswers is all that a session can hear of a folder, a line a message. It opens it
// with a store of its own, read-only, and closes both.
func testIndexAnswers(t testing.TB, root string) []string {
	t.Helper()
	st := testStore(t, root)
	defer st.close()
	tree := testTree(t, st)
	v, err := tree.view("INBOX", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	return testIndexAnswersOf(t, v)
}

func testIndexAnswersOf(t testing.TB, v *mailboxView) []string {
	t.Helper()
	answers := []string{fmt.Sprint("validity ", v.uidValidity(), " next ", v.uidNext(), " ", v.mb.list.guid, v.keywords())}
	known := v.knownSummaries(v.uids(), &mailboxSummaries{})
	for i, m := range v.messages(v.uids()) {
		date, err := v.date(m.uid)
		if err != nil {
			t.Fatal(err)
		}
		size, err := v.size(m.uid)
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.summary(m.uid)
		if err != nil {
			t.Fatal(err)
		}
		if k := known[i]; k != nil && (string(k.envelope) != string(s.envelope) || string(k.header) != string(s.header)) {
			t.Errorf("message %d: one by one the index says %s, among others %s", m.uid, s.envelope, k.envelope)
		}
		answers = append(answers, fmt.Sprintf("%d flags %x date %d size %d %d %d %v %v %s %s %q preview %v %q sent %v %d base %s uidl %s", m.uid, m.flags,
			date.Unix(), size, s.wireSize, s.headerSize, s.hasNUL, s.headerOnly, s.envelope, s.bodyStructure, s.header, s.previewed, s.preview,
			s.sent.Unix(), s.sentZone, v.fileBase(m.uid), v.popUIDL(m.uid)))
	}
	return answers
}

// testIndexBox makes a Maildir with messages of all kinds, whose directories were last
// changed long ago, and gives the root.
func testIndexBox(t testing.TB, n int) (root string) {
	t.Helper()
	root = t.TempDir()
	st := testStore(t, root)
	tree := testTree(t, st)
	for i := range n {
		text := fmt.Sprintf("From: a%d@example.org\r\nSubject: number %d\r\nDate: Mon, 2 Mar 2026 10:00:%02d +0100\r\n\r\nbody\r\n", i, i, i%60)
		switch i % 5 {
		case 1:
			text = strings.ReplaceAll(text, "\r\n", "\n")
		case 2:
			text = "Subject: no end"
		case 3:
			text += "\x00"
		}
		testDeliver(t, tree, "INBOX", text)
	}
	v, err := tree.view("INBOX", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	work, err := v.keywordFlags([]string{"work", "$Forwarded"})
	if err != nil {
		t.Fatal(err)
	}
	for i, uid := range v.uids() {
		flags := mailboxFlags(i) & mailboxSystemFlags &^ mailboxFlagDeleted
		if i%3 == 0 {
			flags |= work
		}
		if _, err := v.store([]uint32{uid}, mailboxAdd, flags, false, 0); err != nil {
			t.Fatal(err)
		}
	}
	v.close()
	testDeliver(t, tree, "INBOX", testMail(n))
	for i, name := range []string{"cur/1700000000.odd:2,SX", "cur/1700000001.noinfo", "new/1700000002.mutt;2,"} {
		if err := os.WriteFile(filepath.Join(root, "alice", name), []byte(testMail(i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st.close()
	testIndexSettle(t, root)
	testIndexAnswers(t, root)
	return root
}

// testIndexSettle makes the directories look as if nothing had changed for long.
func testIndexSettle(t testing.TB, root string) {
	t.Helper()
	for _, sub := range []string{"new", "cur"} {
		old := time.Now().Add(-time.Hour).Add(-time.Duration(rand.IntN(1e9)))
		must(t, os.Chtimes(filepath.Join(root, "alice", sub), old, old))
	}
}

func testIndexRemove(t testing.TB, root string) {
	t.Helper()
	for _, name := range []string{maildirIndexName, maildirIndexEntries[maildirIndexText].name} {
		if err := os.Remove(filepath.Join(root, "alice", name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// testIndexSame compares what is told with the index as it is with what is told without.
func testIndexSame(t testing.TB, root, what string) {
	t.Helper()
	with := testIndexAnswers(t, root)
	testIndexRemove(t, root)
	if without := testIndexAnswers(t, root); !slices.Equal(with, without) {
		for i := range min(len(with), len(without)) {
			if with[i] != without[i] {
				t.Fatalf("%s: with the index\n%s\nwithout\n%s", what, with[i], without[i])
			}
		}
		t.Fatalf("%s: %d lines with the index, %d without", what, len(with), len(without))
	}
}

// A folder that was settled is opened from the index alone, and nothing is written.
func TestMailboxIndexReopen(t *testing.T) {
	root := testIndexBox(t, 30)
	first := testIndexAnswers(t, root)
	before := testIndexSizes(t, root)
	st := testStore(t, root)
	mb, err := testTree(t, st).mailbox("INBOX")
	must(t, err)
	mb.mu.Lock()
	listed, settled := mb.loadIndex()
	n, texts := len(mb.records), 0
	for _, r := range mb.records {
		if r.text != 0 {
			texts++
		}
	}
	mb.unload()
	mb.mu.Unlock()
	if !listed || settled != (maildirBoot() != "") || n != 34 || texts != 34 {
		t.Errorf("listed %v, settled %v, %d records with %d texts", listed, settled, n, texts)
	}
	st.close()
	if again := testIndexAnswers(t, root); !slices.Equal(first, again) {
		t.Errorf("first\n%s\nthen\n%s", strings.Join(first, "\n"), strings.Join(again, "\n"))
	}
	if after := testIndexSizes(t, root); after != before {
		t.Errorf("looking changed the files from %v to %v bytes", before, after)
	}
	testIndexSame(t, root, "a settled folder")
}

func testIndexSizes(t testing.TB, root string) (sizes [2]int64) {
	t.Helper()
	for i, name := range []string{maildirIndexName, maildirIndexEntries[maildirIndexText].name} {
		info, err := os.Stat(filepath.Join(root, "alice", name))
		if err != nil {
			t.Fatal(err)
		}
		sizes[i] = info.Size()
	}
	return sizes
}

// What others do to the folder while nobody looks is seen whatever the index says.
func TestMailboxIndexOthers(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, dir string){
		"flags": func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/cur/1700000000.odd:2,SX", dir+"/cur/1700000000.odd:2,F"))
		},
		"moved to cur": func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/new/1700000002.mutt;2,", dir+"/cur/1700000002.mutt:2,S"))
		},
		"removed": func(t *testing.T, dir string) { must(t, os.Remove(dir+"/cur/1700000001.noinfo")) },
		"delivered": func(t *testing.T, dir string) {
			must(t, os.WriteFile(dir+"/new/1900000000.new", []byte(testMail(7)), 0o600))
		},
		"uidlist gone":   func(t *testing.T, dir string) { must(t, os.Remove(dir+"/dovecot-uidlist")) },
		"uidlist broken": func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/dovecot-uidlist", []byte("?\n"), 0o600)) },
		"another UIDVALIDITY": func(t *testing.T, dir string) {
			b, err := os.ReadFile(dir + "/dovecot-uidlist")
			must(t, err)
			must(t, os.WriteFile(dir+"/dovecot-uidlist", append([]byte("3 V1 "), b[strings.IndexByte(string(b), 'N'):]...), 0o600))
		},
		"another program's UIDs": func(t *testing.T, dir string) {
			b, err := os.ReadFile(dir + "/dovecot-uidlist")
			must(t, err)
			lines := strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
			_, last, _ := strings.Cut(lines[len(lines)-1], ":")
			lines[len(lines)-1] = "900 Pother :" + last + "\n"
			must(t, os.WriteFile(dir+"/dovecot-uidlist", []byte(strings.Join(lines, "")), 0o600))
		},
		"a message comes back": func(t *testing.T, dir string) {
			list := dir + "/dovecot-uidlist"
			b, err := os.ReadFile(list)
			must(t, err)
			text := strings.Replace(string(b), "\n2 :", "\n2 :1234.moved.away\n3 :", 1)
			i := strings.Index(text, "\n3 :") // the second message is the third now, and so on
			n := 3
			lines := strings.SplitAfter(text[i+1:], "\n")
			for j := range lines {
				if _, base, ok := strings.Cut(lines[j], " "); ok {
					lines[j] = fmt.Sprint(n, " ", base)
					n++
				}
			}
			must(t, os.WriteFile(list, []byte(text[:i+1]+strings.Join(lines, "")), 0o600))
			must(t, os.WriteFile(dir+"/cur/1234.moved.away:2,", []byte(testMail(1)), 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			root := testIndexBox(t, 8)
			change(t, root+"/alice")
			testIndexSettle(t, root)
			testIndexSame(t, root, what)
		})
	}
}

// Whatever happens to the files, the answers are right.
func TestMailboxIndexDamage(t *testing.T) {
	root := testIndexBox(t, 12)
	testIndexRandomDamage(t, root, rand.New(rand.NewPCG(1, 2)), 150)
}

// No payload may crash the reader, or make a record that cannot be.
func FuzzMailboxIndexBlock(f *testing.F) {
	b := mailboxIndexBegin([]mailboxRecord{{modSeq: 5}})
	mb := &mailbox{bases: []byte("1700000000.M1P1.host,S=1,W=2")}
	b.add(mb, &mailboxRecord{uid: 3, modSeq: 7, date: 9, size: -1, baseLen: uint8(len(mb.bases)), text: 4}, true)
	b.add(mb, &mailboxRecord{uid: 9, modSeq: 5, date: -1, size: 3, baseLen: 3, state: mailboxInNew}, true)
	f.Add(byte(2), b.b)
	f.Add(byte(3), []byte{1, 2, 3, 4})
	f.Add(byte(5), []byte("hashhash\x01\x02"))
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		mb := &mailbox{st: &mailboxStore{}}
		mb.index.delivered = map[uint64]mailboxDelivered{}
		for range 2 {
			mb.readIndexBlock(kind, payload)
		}
		unread := 0
		for i := range mb.records {
			r := &mb.records[i]
			if i > 0 && r.uid <= mb.records[i-1].uid || mb.uids[i] != r.uid || len(mb.base(r)) == 0 || r.size < -1 {
				t.Fatalf("record %d: %+v", i, r)
			}
			if !r.inCur() {
				unread++
			}
		}
		if unread != mb.unread {
			t.Fatalf("%d in new/, counted %d", unread, mb.unread)
		}
		mailboxIndexStateParse(payload)
		mailboxReadText(payload, 1, &messageSummary{})
	})
}

func testIndexRandomDamage(t *testing.T, root string, r *rand.Rand, times int) {
	right := testIndexAnswers(t, root)
	good := map[string][]byte{}
	for _, name := range []string{maildirIndexName, maildirIndexEntries[maildirIndexText].name} {
		b, err := os.ReadFile(filepath.Join(root, "alice", name))
		must(t, err)
		good[name] = b
	}
	for n := range times {
		var what []string
		for name, b := range good {
			b = slices.Clone(b)
			switch at := r.IntN(len(b)); r.IntN(8) {
			case 0, 1:
				b[at] ^= 1 << r.IntN(8)
				what = append(what, fmt.Sprintf("%s: a bit at %d", name, at))
			case 2:
				b = b[:at]
				what = append(what, fmt.Sprintf("%s: cut at %d", name, at))
			case 3:
				clear(b[at:])
				what = append(what, fmt.Sprintf("%s: zeros from %d", name, at))
			case 4:
				clear(b[at:min(len(b), at+r.IntN(4096))])
				what = append(what, fmt.Sprintf("%s: zeros at %d", name, at))
			case 5:
				b = append(b, b[at:]...)
				what = append(what, fmt.Sprintf("%s: the end from %d twice", name, at))
			case 6:
				b = append(b, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9)
				what = append(what, name+": more at the end")
			}
			must(t, os.WriteFile(filepath.Join(root, "alice", name), b, 0o600))
		}
		if got := testIndexAnswers(t, root); !slices.Equal(got, right) {
			t.Fatalf("%d, %q: got\n%s\nwanted\n%s", n, what, strings.Join(got, "\n"), strings.Join(right, "\n"))
		}
	}
}

// Messages delivered while nobody has the folder in memory are known when it is opened.
func TestMailboxIndexDelivered(t *testing.T) {
	for what, root := range map[string]string{"after others": testIndexBox(t, 3), "into a folder nobody has opened yet": t.TempDir()} {
		st := testStore(t, root)
		tree := testTree(t, st)
		testDeliver(t, tree, "INBOX", testMail(100), testMail(101))
		st.save()
		testDeliver(t, tree, "INBOX", testMail(102)) // written when the store is closed
		st.close()
		st = testStore(t, root)
		v := testView(t, testTree(t, st), "INBOX")
		testSync(t, v, true)
		uids := v.uids()
		for i, s := range v.knownSummaries(uids[len(uids)-3:], &mailboxSummaries{}) {
			if want := fmt.Sprintf(`"%d"`, 100+i); s == nil || !strings.Contains(string(s.envelope), want) {
				t.Errorf("%s: nothing is known of message %d that was delivered: %v", what, i, s)
			}
		}
		for i, words := range v.knownWords(uids[len(uids)-3:], &mailboxSummaries{}) {
			if words == nil {
				t.Errorf("%s: message %d has no signature", what, i)
			}
		}
		for _, m := range v.messages(uids[len(uids)-3:]) {
			if m.date != 1700000000 {
				t.Errorf("%s: the date %d of message %d", what, m.date, m.uid)
			}
		}
		v.close()
		st.close()
		testIndexSame(t, root, what)
	}
}

// One process writes the index. Another works from memory and says the same.
func TestMailboxIndexTwoStores(t *testing.T) {
	root := testIndexBox(t, 10)
	one := testView(t, testTree(t, testStore(t, root)), "INBOX")
	two := testView(t, testTree(t, testStore(t, root)), "INBOX")
	if one.mb.index.file == nil || two.mb.index.file != nil {
		t.Fatalf("index of the first %v, of the second %v", one.mb.index.file, two.mb.index.file)
	}
	if a, b := testIndexAnswersOf(t, one), testIndexAnswersOf(t, two); !slices.Equal(a, b) {
		t.Errorf("%q\n%q", a, b)
	}
	for i, v := range []*mailboxView{one, two, two, one} {
		if _, err := v.store(v.uids()[:i+2], mailboxAdd, mailboxFlagDeleted, false, 0); err != nil {
			t.Fatal(err)
		}
		must(t, v.expunge(v.uids()[:1]))
		testSync(t, v, true)
	}
	testSync(t, one, true)
	testSync(t, two, true)
	if a, b := testIndexAnswersOf(t, one), testIndexAnswersOf(t, two); !slices.Equal(a, b) {
		t.Errorf("%q\n%q", a, b)
	}
	one.close()
	two.close()
	one.mb.st.close()
	two.mb.st.close()
	testIndexSame(t, root, "after two")
}

// The files may go while the folder is open, and the disk may be full.
func TestMailboxIndexVanishes(t *testing.T) {
	root := testIndexBox(t, 10)
	st := testStore(t, root)
	tree := testTree(t, st)
	v := testView(t, tree, "INBOX")
	for i, trouble := range []func(){
		func() { testIndexRemove(t, root) },
		func() { must(t, os.Remove(filepath.Join(root, "alice", maildirIndexEntries[maildirIndexText].name))) },
		func() { testFault(t, "write", maildirIndexName, syscall.ENOSPC) },
		func() { fileFault.Store(nil); v.mb.index.again = time.Time{} },
		func() {
			must(t, os.Truncate(filepath.Join(root, "alice", maildirIndexEntries[maildirIndexText].name), 0))
		},
	} {
		trouble()
		testDeliver(t, tree, "INBOX", testMail(200+i))
		if _, err := v.store(v.uids()[i:i+2], mailboxAdd, mailboxFlagFlagged, false, 0); err != nil {
			t.Fatal(err)
		}
		testSync(t, v, true)
		testIndexAnswersOf(t, v)
		st.save()
	}
	told := testIndexAnswersOf(t, v)
	v.close()
	st.close()
	if again := testIndexAnswers(t, root); !slices.Equal(told, again) {
		t.Errorf("told\n%s\nthen\n%s", strings.Join(told, "\n"), strings.Join(again, "\n"))
	}
	testIndexSame(t, root, "after the trouble")
}

// The files don't grow for ever.
func TestMailboxIndexCompacts(t *testing.T) {
	root := testIndexBox(t, 10)
	st := testStore(t, root)
	tree := testTree(t, st)
	v := testView(t, tree, "INBOX")
	for i := range 3000 {
		op := mailboxAdd
		if i%2 == 1 {
			op = mailboxRemove
		}
		if _, err := v.store(v.uids(), op, mailboxFlagFlagged, false, 0); err != nil {
			t.Fatal(err)
		}
		v.mb.mu.Lock()
		v.mb.saveIndex()
		v.mb.mu.Unlock()
	}
	if sizes := testIndexSizes(t, root); sizes[0] > 600<<10 {
		t.Errorf("letterbox.index has %d bytes", sizes[0])
	}
	text := strings.Repeat("x", 500)
	for range 40 {
		var drafts []*mailboxDraft
		for i := range 100 {
			drafts = append(drafts, testDraft(t, tree, "INBOX", "Subject: "+text+testMail(i)))
		}
		_, uids, err := mailboxAppend(drafts, make([]mailboxAppendFlags, len(drafts)))
		must(t, err)
		must(t, v.remove(uids))
		testSync(t, v, true)
		v.mb.mu.Lock()
		v.mb.saveIndex()
		v.mb.mu.Unlock()
	}
	if sizes := testIndexSizes(t, root); sizes[1] > 4<<20 {
		t.Errorf("letterbox.index.text has %d bytes", sizes[1])
	}
	v.close()
	st.close()
	testIndexSame(t, root, "after many changes")
}
