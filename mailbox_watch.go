package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// mailboxPollTime is how often folders are looked at that the kernel does not
// watch for us, or not wholly (NFS, SMB, systems other than Linux, or when inotify's limits are hit).
const mailboxPollTime = 30 * time.Second

// mailboxWatchDelay gathers the events of one change by another program, which
// often come in pairs.
const mailboxWatchDelay = 30 * time.Millisecond

// mailboxWatcher tells mailboxes that sessions are waiting on of changes by
// other programs. It knows the paths of folders, and refreshes nothing itself.
type mailboxWatcher struct {
	log     *slog.Logger
	inotify *mailboxInotify // nil: all is polled

	mu      sync.Mutex         // guards all below
	uses    map[*mailbox]int   // views that want to hear
	watched map[int][]*mailbox // by inotify's number; several for a directory that was renamed
	numbers map[*mailbox][]int // the same, the other way round
	polled  map[*mailbox]bool  // not watched, or not only
	timer   *time.Timer        // runs while something is polled
	closed  bool
}

func newMailboxWatcher(watch bool, log *slog.Logger) *mailboxWatcher {
	w := &mailboxWatcher{log: log, uses: map[*mailbox]int{}, watched: map[int][]*mailbox{},
		numbers: map[*mailbox][]int{}, polled: map[*mailbox]bool{}}
	if !watch {
		return w
	}
	inotify, err := newMailboxInotify()
	if err != nil {
		logMailboxNoWatch(log, err)
	} else if inotify != nil {
		w.inotify = inotify
		go w.run()
	}
	return w
}

func (w *mailboxWatcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.closed = true; w.timer != nil {
		w.timer.Stop()
	}
	if w.inotify != nil {
		w.inotify.close()
	}
}

// add begins to watch a mailbox for one more view.
func (w *mailboxWatcher) add(mb *mailbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uses[mb]++; w.uses[mb] > 1 || w.closed {
		return
	}
	if w.inotify != nil && w.watch(mb, "", "new", "cur") && !mailboxIsShared(mb.md.path) {
		return
	}
	w.pollToo(mb)
}

// pollToo has a mailbox looked at now and then.
func (w *mailboxWatcher) pollToo(mb *mailbox) {
	w.polled[mb] = true
	if w.timer == nil {
		w.timer = time.AfterFunc(mailboxPollTime, w.poll)
	}
}

// watch begins to watch directories of a folder, "" being the folder itself, which may be
// renamed; false if that cannot be.
func (w *mailboxWatcher) watch(mb *mailbox, subs ...string) bool {
	for _, sub := range subs {
		number, err := w.inotify.add(filepath.Join(mb.md.path, sub), sub != "")
		if err != nil {
			w.unwatch(mb)
			if !errors.Is(err, fs.ErrNotExist) { // the view is going to find out that the folder is gone
				logMailboxNoWatch(w.log, err)
			}
			return false
		}
		w.watched[number] = append(w.watched[number], mb)
		w.numbers[mb] = append(w.numbers[mb], number)
	}
	return true
}

// pause ends watching what happens in a folder, until resume: of each change that we make
// ourselves the kernel would tell us, and that takes a quarter of the time of many. What others
// do meanwhile has to be looked for.
func (w *mailboxWatcher) pause(mb *mailbox) (resume func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	numbers := w.numbers[mb]
	if len(numbers) < 2 || w.closed || slices.ContainsFunc(numbers, func(n int) bool { return len(w.watched[n]) > 1 }) {
		return func() {}
	}
	for _, number := range numbers[1:] {
		delete(w.watched, number)
		w.inotify.remove(number)
	}
	w.numbers[mb] = numbers[:1]
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.numbers[mb]) == 1 && !w.closed && !w.watch(mb, "new", "cur") {
			w.pollToo(mb)
		}
	}
}

// unwatch ends the watches of a mailbox that no other has too.
func (w *mailboxWatcher) unwatch(mb *mailbox) {
	for _, number := range w.numbers[mb] {
		others := slices.DeleteFunc(w.watched[number], func(other *mailbox) bool { return other == mb })
		if w.watched[number] = others; len(others) == 0 {
			delete(w.watched, number)
			w.inotify.remove(number)
		}
	}
	delete(w.numbers, mb)
}

// remove ends watching for one view.
func (w *mailboxWatcher) remove(mb *mailbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uses[mb]--; w.uses[mb] > 0 {
		return
	}
	delete(w.uses, mb)
	delete(w.polled, mb)
	if w.inotify != nil && !w.closed {
		w.unwatch(mb)
	}
}

// run hands the kernel's events on, until the watcher is closed.
func (w *mailboxWatcher) run() {
	for {
		numbers, all, err := w.inotify.next()
		w.mu.Lock()
		if err != nil {
			if !w.closed {
				logMailboxNoWatch(w.log, err)
			}
			w.mu.Unlock()
			return
		}
		var changed []*mailbox
		if all {
			changed = slices.Collect(maps.Keys(w.uses))
		} else {
			for _, number := range numbers {
				changed = append(changed, w.watched[number]...)
			}
		}
		w.mu.Unlock()
		for _, mb := range changed {
			mb.poke(mailboxWatchDelay)
		}
	}
}

// poll has the mailboxes refreshed that nobody watches, as long as there are any.
func (w *mailboxWatcher) poll() {
	w.mu.Lock()
	polled := make([]*mailbox, 0, len(w.polled))
	for mb := range w.polled {
		polled = append(polled, mb)
	}
	if len(polled) == 0 || w.closed {
		w.timer = nil
	} else {
		w.timer.Reset(mailboxPollTime)
	}
	w.mu.Unlock()
	for _, mb := range polled {
		mb.pollListeners()
		mb.refreshSoon(0)
	}
}
