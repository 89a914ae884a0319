package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime/metrics"
	"sync"
	"syscall"
	"time"
)

// The mailbox room: a user's folders, and open folders shared by the sessions of
// all protocols. It knows UIDs, flags, mod-sequences, each session's numbering and
// who must be woken. It knows no protocol, and not how a flag is spelt in a file
// name.
//
//	mailboxStore   all users' mail; outlives sessions
//	mailboxAccess  all folders that a user may see             mailbox_shared.go
//	               which rights there are in them              mailbox_acl.go
//	mailboxTree    one user's folders                          mailbox_tree.go
//	mailbox        one folder, its records in memory           mailbox_record.go
//	               brought up to what is on disk               mailbox_refresh.go
//	               flags, expunge, copy                        mailbox_change.go
//	               what of it is kept on disk                  mailbox_index.go
//	               mod-sequences, what has vanished            mailbox_modseq.go
//	mailboxView    one session's numbering of a mailbox        mailbox_view.go
//	mailboxDraft   a message on its way in                     mailbox_draft.go
//
// A mailbox goes through these states:
//
//	closed --view, status, append--> loaded --memory or time runs out--> closed
//	   \--------- the folder is deleted or renamed ------------> gone
//
// Folder names here are UTF-8 with "/" between parts; "INBOX" is the user's root.

var (
	errMailboxNotFound = errors.New("no such folder")
	errMailboxExists   = errors.New("the folder exists already")
	errMailboxName     = errors.New("this name cannot be a folder's") // wraps the reason
	errMailboxGone     = errors.New("the folder was deleted or renamed")
	errMailboxReadOnly = errors.New("the folder was opened read-only")
	errMailboxFull     = errors.New("no space left") // ENOSPC, EDQUOT
	errMailboxKeywords = errors.New("no more keywords in this folder")
	errMailboxExpunged = errors.New("the message is gone")
	errMailboxLocked   = errors.New("another program keeps the folder locked")
)

// mailboxSettings is what a store needs to know.
type mailboxSettings struct {
	root  string           // directory of the users' Maildirs
	now   func() time.Time // the clock; zero time while it is not believed
	log   *slog.Logger
	watch bool // use inotify where there is one; else poll every 30 s

	// inbox are keywords that a new INBOX has from the first: there may be no room
	// for their names on the disk when they are needed.
	inbox []string
}

// mailboxStore has all users' mail. It outlives sessions and is safe for
// concurrent use.
type mailboxStore struct {
	mailboxSettings
	instance uint64 // low bits of every mod-sequence that is made here
	watcher  *mailboxWatcher

	mu         sync.Mutex              // guards all below
	trees      map[string]*mailboxTree // by user
	folders    map[string]*mailbox     // by path
	idle       []*mailbox              // loaded without a view, the longest idle first
	memory     int64                   // of the process, in bytes, that is not to be exceeded
	summary    mailboxSummaryBudget
	quotaOf    func(user string) mailboxQuota // nil: nobody has limits
	quotaFixed func(user string) bool         // whose limits cannot be set; nil: nobody's

	signer mailboxSigner // has a mutex of its own
	acls   mailboxACLs   // likewise
	news   mailboxAnnotationListeners

	listenMu  sync.Mutex // guards the next
	listeners map[*mailboxListener]struct{}

	unsavedMu sync.Mutex // guards all below; nothing else is locked while it is held
	unsaved   map[*mailbox]bool
	saveTimer *time.Timer
	saved     bool // for the last time: the store is closed
}

// mailboxIdleTime is how long a mailbox stays in memory after its last view
// was closed: a phone that reconnects every few minutes costs nothing.
const mailboxIdleTime = 15 * time.Minute

// mailboxIdleMost is how many folders stay so: each has files open.
const mailboxIdleMost = 500

// mailboxMessageMost is what a message in memory takes at most, in bytes.
const mailboxMessageMost = 100

// mailboxMemory is the limit that counts as long as nobody has said another.
const mailboxMemory = 128 << 20

func newMailboxStore(settings mailboxSettings) (*mailboxStore, error) {
	root, err := filepath.Abs(settings.root)
	if err != nil {
		return nil, fmt.Errorf("opening the mail directory: %w", err)
	}
	settings.root = root
	st := &mailboxStore{mailboxSettings: settings, instance: rand.Uint64N(1 << mailboxInstanceBits),
		trees: map[string]*mailboxTree{}, folders: map[string]*mailbox{}}
	st.watcher = newMailboxWatcher(settings.watch, settings.log)
	st.limitMemory(mailboxMemory)
	return st, nil
}

// limitMemory says how much memory the process is to take, in bytes. What idle mailboxes and
// the summaries of mailboxes without an index take is a share of it.
func (st *mailboxStore) limitMemory(limit int64) {
	st.mu.Lock()
	st.memory = limit
	st.mu.Unlock()
	st.summary.limit(limit / 16)
}

// crowded tells whether the process takes most of what it may: then nobody stays that
// nobody uses.
func (st *mailboxStore) crowded() bool {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) > st.memory/4*3
}

// close stops watching, and writes what is not yet written. Views that are still open see
// no more changes by others.
func (st *mailboxStore) close() {
	st.watcher.close()
	st.signer.close()
	st.saveAll()
}

// tree gives a user's folders; the first call makes the Maildir and Drafts,
// Sent, Trash, Junk, Archive. user is a canonical name that auth knows, and so a
// safe name for a directory.
func (st *mailboxStore) tree(user string) (*mailboxTree, error) {
	st.mu.Lock()
	t := st.trees[user]
	if t == nil {
		t = &mailboxTree{st: st, user: user, root: filepath.Join(st.root, user)}
		st.trees[user] = t
	}
	st.mu.Unlock()
	if err := t.prepare(); err != nil {
		return nil, fmt.Errorf("opening the mail of %s: %w", user, err)
	}
	return t, nil
}

// folder gives the one mailbox of a directory.
func (st *mailboxStore) folder(t *mailboxTree, name, path string) (*mailbox, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if mb := st.folders[path]; mb != nil {
		if _, _, err := mb.md.stamp(); err == nil && !mb.gone.Load() {
			return mb, nil
		}
		mb.gone.Store(true) // removed by another program, and perhaps made again
		delete(st.folders, path)
	}
	md, err := maildirOpen(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMailboxNotFound
	} else if err != nil {
		return nil, err
	}
	mb := &mailbox{st: st, tree: t, name: name, md: md, views: map[*mailboxView]struct{}{}}
	st.folders[path] = mb
	return mb, nil
}

// forget drops a directory's mailbox after it was deleted or renamed; its
// views hear errMailboxGone.
func (st *mailboxStore) forget(path string) {
	st.mu.Lock()
	mb := st.folders[path]
	delete(st.folders, path)
	st.mu.Unlock()
	if mb == nil {
		return
	}
	mb.mu.Lock()
	mb.saveIndex() // in the folder's new place, if it was renamed
	mb.closeIndex()
	mb.gone.Store(true)
	wake := mb.others(nil)
	mb.mu.Unlock()
	wake()
	mb.markListeners(mailboxSomething, nil, 0)
}

// forgetAll drops the mailboxes of a user whose Maildir is gone.
func (st *mailboxStore) forgetAll(t *mailboxTree) {
	st.mu.Lock()
	var paths []string
	for path, mb := range st.folders {
		if mb.tree == t {
			paths = append(paths, path)
		}
	}
	st.mu.Unlock()
	for _, path := range paths {
		st.forget(path)
	}
}

// hold keeps a mailbox from being unloaded until release.
func (st *mailboxStore) hold(mb *mailbox) {
	st.mu.Lock()
	defer st.mu.Unlock()
	mb.holders++
	for i, other := range st.idle {
		if other == mb {
			st.idle = append(st.idle[:i], st.idle[i+1:]...)
			break
		}
	}
}

// release undoes hold. An idle mailbox stays for a while, within bounds.
func (st *mailboxStore) release(mb *mailbox) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if mb.holders--; mb.holders > 0 {
		return
	}
	mb.idleSince = time.Now()
	st.idle = append(st.idle, mb)
	total := 0
	for _, other := range st.idle {
		total += int(other.count.Load())
	}
	most := int(st.memory / 4 / mailboxMessageMost)
	if total > 10_000 && st.crowded() { // asking is not free
		most = 0
	}
	for len(st.idle) > 0 && (total > most || len(st.idle) > mailboxIdleMost || time.Since(st.idle[0].idleSince) > mailboxIdleTime) {
		total -= int(st.idle[0].count.Load())
		st.unloadOldest()
	}
	if len(st.idle) > 0 && st.idle[0] == mb {
		time.AfterFunc(mailboxIdleTime+time.Second, st.unloadIdle)
	}
}

// unloadIdle closes mailboxes that nobody used for mailboxIdleTime.
func (st *mailboxStore) unloadIdle() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.idle) > 0 && time.Since(st.idle[0].idleSince) > mailboxIdleTime {
		st.unloadOldest()
	}
	if len(st.idle) > 0 {
		time.AfterFunc(mailboxIdleTime-time.Since(st.idle[0].idleSince)+time.Second, st.unloadIdle)
	}
}

func (st *mailboxStore) unloadOldest() {
	mb := st.idle[0]
	st.idle = st.idle[1:]
	mb.mu.Lock() // nobody holds the mailbox, so nobody keeps its lock
	mb.saveIndex()
	mb.unload()
	mb.mu.Unlock()
}

// mailboxError turns what the file system says into the room's own errors.
func mailboxError(err error) error {
	switch {
	case errors.Is(err, errMailboxFull):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w (%v)", errMailboxFull, err)
	case errors.Is(err, errMaildirKeywordsFull):
		return errMailboxKeywords
	case errors.Is(err, errMaildirACL):
		return fmt.Errorf("%w (%v)", errMailboxACL, err)
	case errors.Is(err, errMaildirLocked):
		return fmt.Errorf("%w (%v)", errMailboxLocked, err)
	}
	return err
}
