package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Whatever happens at the same moment: afterwards a listener knows what is there, or has a mark that says
// where to look.
func TestMailboxListenRace(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	must(t, tree.create("other", ""))
	woken := make(chan struct{}, 1)
	l := testAccess(tree).listen(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	defer l.close()
	names := []string{"INBOX", "other", "x", "y"}
	must(t, l.watch(names, nil))
	const rounds = 20
	var wg sync.WaitGroup
	failed := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() {
		for n := range rounds {
			testDeliver(t, tree, "INBOX", testMail(n))
		}
	})
	wg.Go(func() {
		for n := range rounds {
			d := testDraft(t, tree, "other", testMail(n))
			if n%2 == 0 {
				d.by = l
			}
			_, _, err := mailboxAppend([]*mailboxDraft{d}, make([]mailboxAppendFlags, 1))
			failed(err)
		}
	})
	wg.Go(func() {
		v := testView(t, tree, "INBOX")
		for n := range rounds {
			_, err := v.sync(true)
			failed(err)
			_, err = v.store(v.uids(), mailboxStoreOp(n%2), mailboxFlagSeen, true, 0)
			failed(err)
			_, err = v.copy(v.uids()[:min(1, len(v.uids()))], "other")
			failed(err)
		}
	})
	wg.Go(func() {
		for range rounds {
			failed(tree.create("x", ""))
			failed(tree.subscribe("x", true))
			failed(tree.rename("x", "y"))
			failed(tree.delete("y"))
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for n := 0; ; n++ { // the session
		select {
		case <-woken:
		case <-done:
			testListened(t, l, names)
			return
		}
		news, overflow := l.take()
		if overflow {
			t.Fatal("too much news")
		}
		if len(news) > 0 {
			must(t, l.watch(names, nil))
		}
		due, _ := l.due(time.Now().Add(time.Hour)) // whenever it was looked at last
		for _, name := range due {
			if _, err := l.look(name); err != nil && !errors.Is(err, errMailboxNotFound) {
				t.Fatal(err)
			}
		}
		if n%3 == 0 {
			v, err := tree.view("INBOX", false, nil)
			must(t, err)
			v.by = l
			l.opens("INBOX")
			_, err = v.sync(true)
			must(t, err)
			l.leaves(v)
			v.close()
		}
	}
}

// testListened holds what a listener knows against what is there.
func testListened(t *testing.T, l *mailboxListener, names []string) {
	t.Helper()
	l.take()
	must(t, l.watch(names, nil))
	if len(l.folders) != 2 {
		t.Errorf("%d folders are listened to", len(l.folders))
	}
	for name, e := range l.folders {
		now, err := l.access.status(name, false)
		must(t, err)
		l.mu.Lock()
		same := e.known && e.told.messages == now.messages && e.told.uidNext == now.uidNext && e.told.unseen == now.unseen
		if e.dirty == 0 && !same {
			t.Errorf("%s is %+v, the listener knows %+v", name, now, e.told)
		}
		l.mu.Unlock()
	}
}

// Who does not take its news is told that there was too much, and holds none of it.
func TestMailboxListenOverflow(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	l := testAccess(tree).listen(func() {})
	defer l.close()
	for n := range mailboxNewsMost {
		tree.announce(mailboxNews{kind: mailboxSubscribed, name: fmt.Sprint(n)}, nil)
	}
	l.mu.Lock()
	kept := len(l.news)
	l.mu.Unlock()
	tree.announce(mailboxNews{kind: mailboxSubscribed, name: "last"}, nil)
	if news, overflow := l.take(); kept != mailboxNewsMost || len(news) != 0 || !overflow {
		t.Errorf("%d were kept, then %d, overflow %v", kept, len(news), overflow)
	}
	if err := l.watch(make([]string, mailboxListenMost+1), nil); !errors.Is(err, errMailboxListenMost) {
		t.Errorf("too many folders: %v", err)
	}
}
