package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testModSeqClient is what a client has kept of a mailbox.
type testModSeqClient struct {
	modSeq uint64
	flags  map[uint32]mailboxFlags
}

func testModSeqState(v *mailboxView) map[uint32]mailboxFlags {
	state := map[uint32]mailboxFlags{}
	for _, m := range v.messages(v.uids()) {
		state[m.uid] = m.flags
	}
	return state
}

// resync brings the client up to date as QRESYNC does.
func (c *testModSeqClient) resync(t *testing.T, v *mailboxView) {
	t.Helper()
	runs, err := v.vanished(c.modSeq)
	must(t, err)
	for uid := range c.flags {
		if slices.ContainsFunc(runs, func(r mailboxUIDs) bool { return r.from <= uid && uid <= r.to }) {
			delete(c.flags, uid)
		}
	}
	since := v.since(c.modSeq)
	for _, m := range v.messages(v.uids()) {
		if m.modSeq > since {
			c.flags[m.uid] = m.flags
		}
	}
	c.modSeq = v.highestModSeq()
}

// testCrash leaves a store as a process that is killed does: nothing more is written.
func testCrash(st *mailboxStore) {
	st.unsavedMu.Lock()
	st.saved = true
	if st.saveTimer != nil {
		st.saveTimer.Stop()
	}
	st.unsavedMu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, mb := range st.folders {
		mb.mu.Lock()
		mb.closeIndex()
		mb.gone.Store(true)
		mb.mu.Unlock()
	}
}

// From whatever point on a client comes back, it learns the present state: after changes here and
// by other programs, after restarts, crashes that lose what was not written, the loss of
// the index, and flags that a power cut has undone (RFC 7162; no mod-sequence may hide a change).
func TestMailboxResync(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testMailboxResync(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func testMailboxResync(t *testing.T, random *rand.Rand) {
	root := t.TempDir()
	cur := filepath.Join(root, "alice", "cur")
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func() (*mailboxStore, *mailboxTree, *mailboxView) {
		st := testStore(t, root)
		st.now = func() time.Time { return clock }
		tree := testTree(t, st)
		return st, tree, testView(t, tree, "INBOX")
	}
	st, tree, v := open()
	var clients []testModSeqClient
	messages := 0
	some := func() []uint32 {
		var uids []uint32
		for _, uid := range v.uids() {
			if random.IntN(4) == 0 {
				uids = append(uids, uid)
			}
		}
		return uids
	}
	files := func() []string {
		names, err := filepath.Glob(cur + "/*")
		must(t, err)
		return names
	}
	for step := range 150 {
		clock = clock.Add(time.Duration(random.IntN(5)-1) * 100 * time.Microsecond) // it may go back
		switch random.IntN(12) {
		case 0, 1, 2:
			messages++
			testDeliver(t, tree, "INBOX", testMail(messages))
		case 3, 4:
			_, err := v.store(some(), mailboxStoreOp(1+random.IntN(2)), mailboxFlags(1<<random.IntN(5))&^mailboxFlagDeleted, false, 0)
			must(t, err)
		case 5:
			must(t, v.remove(some()))
		case 6: // another program
			for _, name := range files() {
				base, _, _ := strings.Cut(name, ":2,")
				switch random.IntN(8) {
				case 0:
					must(t, os.Remove(name))
				case 1:
					must(t, os.Rename(name, base+":2,"+[]string{"", "F", "S", "FS"}[random.IntN(4)]))
				}
			}
			must(t, v.mb.locked(nil, v.mb.rescan))
		case 7: // the index is written
			st.save()
		case 8:
			v.close()
			st.close()
			st, tree, v = open()
		case 9:
			testCrash(st)
			st, tree, v = open()
		case 10: // a power cut that undoes flags
			undone := map[string]string{}
			for _, name := range files() {
				base, _, _ := strings.Cut(name, ":2,")
				undone[base] = name
			}
			uids := some()
			_, err := v.store(uids, mailboxAdd, mailboxFlagAnswered|mailboxFlagDraft, false, 0)
			must(t, err)
			testSync(t, v, true)
			clients = append(clients, testModSeqClient{v.highestModSeq(), testModSeqState(v)})
			testCrash(st)
			for _, name := range files() {
				base, _, _ := strings.Cut(name, ":2,")
				if old, ok := undone[base]; ok && old != name {
					must(t, os.Rename(name, old))
				}
			}
			st, tree, v = open()
		case 11:
			v.close()
			st.close()
			if random.IntN(3) == 0 {
				testIndexRemove(t, root)
			}
			st, tree, v = open()
		}
		testSync(t, v, true)
		want := testModSeqState(v)
		for range 3 {
			if len(clients) == 0 {
				break
			}
			i := random.IntN(len(clients))
			c := testModSeqClient{clients[i].modSeq, maps.Clone(clients[i].flags)}
			if c.resync(t, v); !maps.Equal(c.flags, want) {
				t.Fatalf("step %d: a client of mod-sequence %d has %v, not %v", step, clients[i].modSeq, c.flags, want)
			}
		}
		clients = append(clients, testModSeqClient{v.highestModSeq(), want})
	}
	v.close()
	st.close()
}

// What is expunged and forgotten again is told as all that is not there.
func TestMailboxExpungedMost(t *testing.T) {
	mb := &mailbox{}
	for i := range mailboxExpungedMost + 10 {
		mb.expunged = append(mb.expunged, mailboxExpunged{uid: uint32(1 + i), modSeq: uint64(10 + i/3)})
	}
	last := mb.expunged[len(mb.expunged)-1].modSeq
	mb.trimExpunged()
	if len(mb.expunged) != mailboxExpungedMost/2 {
		t.Errorf("%d are kept", len(mb.expunged))
	}
	for modSeq := mb.expungedSince + 1; modSeq <= last; modSeq++ {
		n := 0
		for _, e := range mb.expunged {
			if e.modSeq == modSeq {
				n++
			}
		}
		if n != 3 && modSeq != last {
			t.Fatalf("of those of mod-sequence %d, %d are kept, though all above %d are said to be", modSeq, n, mb.expungedSince)
		}
	}
}

// A message is changed after sync, and given with its new mod-sequence: a session that took this as the
// highest would never hear of what was expunged in between.
func TestMailboxModSeqAhead(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2))
	ours, theirs := testView(t, tree, "INBOX"), testView(t, tree, "INBOX")
	uids := ours.uids()
	testSync(t, ours, true)
	if ours.holdsBack() {
		t.Error("something is held back, and nothing has happened")
	}
	must(t, theirs.remove(uids[:1]))
	_, err := theirs.store(uids[1:], mailboxAdd, mailboxFlagSeen, true, 0)
	must(t, err)
	given := ours.messages(uids[1:])[0].modSeq
	if !ours.holdsBack() || ours.highestModSeq() >= given {
		t.Errorf("%d was given, and %d counts as told", given, ours.highestModSeq())
	}
	if gone, err := ours.vanished(ours.highestModSeq()); err != nil || len(gone) != 0 {
		t.Errorf("%v is told as vanished, which this session still has: %v", gone, err)
	}
	if changes := testSync(t, ours, true); len(changes.expunged) != 1 || ours.holdsBack() || ours.highestModSeq() < given {
		t.Errorf("%v, %d counts as told", changes, ours.highestModSeq())
	}
}
