package main

import (
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// mailboxPollTime is how often folders are looked at that the kernel does not
// watch for us, or not wholly (NFS, SMB, systems other than Linux, or when inotify's limits are hit).
const mailboxPollTime = 30 * time.Second

// mailboxWatchDelay gathers the events of one change by another program, which
// often come in pairs.
const mailboxWatchDelay = 30 * time.Millisecond

// mailboxWatcher tells mailboxes that sessions are waiting on of changes by
// other programs. It knows the paths of new/ and cur/, and refreshes nothing itself.
type mailboxWatcher struct {
	log *slog.Logger

	mu      sync.Mutex // guards all below
	inotify *fsnotify.Watcher
	uses    map[*mailbox]int    // views that want to hear
	paths   map[string]*mailbox // watched directories
	polled  map[*mailbox]bool   // not watched
	timer   *time.Timer         // runs while something is polled
	closed  bool
}

func newMailboxWatcher(watch bool, log *slog.Logger) *mailboxWatcher {
	w := &mailboxWatcher{log: log, uses: map[*mailbox]int{}, paths: map[string]*mailbox{}, polled: map[*mailbox]bool{}}
	if !watch || !mailboxWatchWorks {
		return w
	}
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		logMailboxNoWatch(log, err)
		return w
	}
	w.inotify = inotify
	go w.run(inotify)
	return w
}

func (w *mailboxWatcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed = true; w.timer != nil {
		w.timer.Stop()
	}
	if w.inotify != nil {
		w.inotify.Close()
	}
}

// add begins to watch a mailbox for one more view.
func (w *mailboxWatcher) add(mb *mailbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uses[mb]++; w.uses[mb] > 1 || w.closed {
		return
	}
	if w.inotify != nil {
		err := w.watch(mb)
		if err == nil && !mailboxIsShared(mb.md.path) {
			return
		} else if err != nil {
			logMailboxNoWatch(w.log, err)
		}
	}
	w.polled[mb] = true
	if w.timer == nil {
		w.timer = time.AfterFunc(mailboxPollTime, w.poll)
	}
}

func (w *mailboxWatcher) watch(mb *mailbox) error {
	for _, sub := range []string{"new", "cur"} {
		dir := filepath.Join(mb.md.path, sub)
		if err := w.inotify.Add(dir); err != nil {
			w.unwatch(mb)
			return err
		}
		w.paths[dir] = mb
	}
	return nil
}

// unwatch ends the watches of a mailbox. That of a directory which is gone has
// ended by itself, so there is no error to report.
func (w *mailboxWatcher) unwatch(mb *mailbox) {
	for _, sub := range []string{"new", "cur"} {
		dir := filepath.Join(mb.md.path, sub)
		if w.paths[dir] == mb {
			delete(w.paths, dir)
			w.inotify.Remove(dir)
		}
	}
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

// run hands the kernel's events on.
func (w *mailboxWatcher) run(inotify *fsnotify.Watcher) {
	for {
		select {
		case event, ok := <-inotify.Events:
			if !ok {
				return
			}
			w.mu.Lock()
			mb := w.paths[filepath.Dir(event.Name)]
			if mb == nil {
				mb = w.paths[event.Name] // the directory itself
			}
			w.mu.Unlock()
			if mb != nil {
				mb.poke(mailboxWatchDelay)
			}
		case err, ok := <-inotify.Errors: // the queue ran over: look at everything
			if !ok {
				return
			}
			logMailboxNoWatch(w.log, err)
			w.mu.Lock()
			all := make([]*mailbox, 0, len(w.uses))
			for mb := range w.uses {
				all = append(all, mb)
			}
			w.mu.Unlock()
			for _, mb := range all {
				mb.poke(mailboxWatchDelay)
			}
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
		mb.poke(0)
	}
}
