package main

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Listening: a session wants to hear what happens in folders that it has not opened. For that
// no folder is loaded. Whoever changes one leaves a mark with each of its listeners and wakes
// them, and never waits for them: a mark that is there already says enough, so ten thousand
// deliveries are one mark. The listener looks then, at most once a second at each folder,
// and compares with what it knew.

const (
	mailboxListenMost  = 1000        // folders that one session listens to: each takes three of the kernel's watches
	mailboxListenPause = time.Second // between two looks at one folder
	mailboxNewsMost    = 1000        // pieces of news that wait for one session
)

// errMailboxListenMost refuses to listen to so much.
var errMailboxListenMost = errors.New("these are too many folders to listen to")

// mailboxSomething marks a change of which the mod-sequence is not known.
const mailboxSomething = ^uint64(0)

// mailboxNewsKind says what happened to a folder as a whole.
type mailboxNewsKind uint8

const (
	mailboxMade mailboxNewsKind = iota + 1
	mailboxDeleted
	mailboxRenamed
	mailboxSubscribed // or no longer
)

// mailboxNews is what happened to a folder as a whole.
type mailboxNews struct {
	kind      mailboxNewsKind
	name, old string // old: before mailboxRenamed
}

// mailboxListener is a session that listens. The session's goroutine uses it; marks and news
// come from any.
type mailboxListener struct {
	access *mailboxAccess
	wake   func() // must return at once (conn.wake)

	mu       sync.Mutex // guards all below; nothing else is locked while it is held
	folders  map[string]*mailboxListened
	news     []mailboxNews
	own      mailboxNews // what the session itself is about to do
	overflow bool        // there was more news than can be kept; nothing more is told
}

// mailboxListened is one folder that is listened to.
type mailboxListened struct {
	mb    *mailbox
	known bool          // status is what the session knows
	deaf  bool          // the session has it open, and hears there
	dirty uint64        // the mod-sequence of a change since, or mailboxSomething
	own   uint64        // the mod-sequence of the session's own last change
	next  time.Time     // it is not looked at before
	told  mailboxStatus // what the session knows of the folder
}

// listen makes a listener, which hears of nothing but the tree's news until watch.
func (a *mailboxAccess) listen(wake func()) *mailboxListener {
	l := &mailboxListener{access: a, wake: wake, folders: map[string]*mailboxListened{}}
	a.st.listenMu.Lock()
	defer a.st.listenMu.Unlock()
	if a.st.listeners == nil {
		a.st.listeners = map[*mailboxListener]struct{}{}
	}
	a.st.listeners[l] = struct{}{}
	return l
}

// close ends listening. A nil listener may be closed, too.
func (l *mailboxListener) close() {
	if l == nil {
		return
	}
	st := l.access.st
	st.listenMu.Lock()
	delete(st.listeners, l)
	st.listenMu.Unlock()
	for name := range l.folders {
		l.drop(name)
	}
}

// announce tells the user's listeners what has happened, and those of others who may see the folder.
func (t *mailboxTree) announce(news mailboxNews, acl *mailboxACL) {
	t.st.listenMu.Lock()
	defer t.st.listenMu.Unlock()
	for l := range t.st.listeners {
		switch {
		case l.access.user == t.user:
			l.hear(news)
		case acl != nil && acl.of(l.access.user, t.user)&mailboxRightLookup != 0:
			l.hear(news.seenBy(l.access, t))
		case acl != nil && news.kind == mailboxRenamed: // folders below it have other names now
			l.hear(mailboxNews{})
		}
	}
}

// seenBy is news with the names that another user knows.
func (n mailboxNews) seenBy(a *mailboxAccess, t *mailboxTree) mailboxNews {
	n.name = a.nameOf(t, n.name)
	if n.old != "" {
		n.old = a.nameOf(t, n.old)
	}
	return n
}

// announceRights tells others' listeners that they have other rights in a folder. One that somebody may see from now on
// is as good as made, and one that is not to be seen any more as deleted (RFC 5465, section 5.4).
func (t *mailboxTree) announceRights(name string, before, after *mailboxACL) {
	t.st.listenMu.Lock()
	defer t.st.listenMu.Unlock()
	for l := range t.st.listeners {
		was, is := before.of(l.access.user, t.user), after.of(l.access.user, t.user)
		news := mailboxNews{name: l.access.nameOf(t, name)}
		switch {
		case was == is:
			continue
		case was&mailboxRightLookup < is&mailboxRightLookup:
			news.kind = mailboxMade
		case was&mailboxRightLookup > is&mailboxRightLookup:
			news.kind = mailboxDeleted
		}
		l.hear(news)
	}
}

// hear takes news for later.
func (l *mailboxListener) hear(news mailboxNews) {
	l.mu.Lock()
	switch {
	case l.own == news:
		l.own = mailboxNews{}
		news.kind = 0 // watch has to be told again, and nothing else
		fallthrough
	case len(l.news) < mailboxNewsMost && !l.overflow:
		l.news = append(l.news, news)
	default:
		l.news, l.overflow = nil, true
	}
	l.mu.Unlock()
	l.wake()
}

// expect says what the session itself is about to do, of which it need not hear. News of
// no kind takes that back.
func (l *mailboxListener) expect(news mailboxNews) {
	if l != nil {
		if name, err := mailboxCleanName(news.name); err == nil { // else it is not going to happen
			news.name = name
		}
		if name, err := mailboxCleanName(news.old); err == nil {
			news.old = name
		}
		l.mu.Lock()
		l.own = news
		l.mu.Unlock()
	}
}

// take gives the news. Pieces without a kind are of what the session did itself.
func (l *mailboxListener) take() (news []mailboxNews, overflow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	news, l.news = l.news, nil
	return news, l.overflow
}

// watch says to which folders' messages the session listens from now on; those that do not exist
// are left out. Of a folder that is in memory, what the session knows is what is there now; of those that
// were made meanwhile, it is that they are empty.
func (l *mailboxListener) watch(names, made []string) error {
	if len(names) > mailboxListenMost {
		return errMailboxListenMost
	}
	wanted := make(map[string]*mailbox, len(names))
	for _, name := range names {
		mb, _, err := l.access.find(name, mailboxRightLookup|mailboxRightRead)
		if errors.Is(err, errMailboxNotFound) || errors.Is(err, errMailboxRights) {
			continue
		} else if err != nil {
			return err
		}
		wanted[name] = mb
	}
	for name, e := range l.folders {
		if wanted[name] != e.mb {
			l.drop(name)
		}
	}
	for name, mb := range wanted {
		if l.folders[name] != nil {
			continue
		}
		e := &mailboxListened{mb: mb}
		l.mu.Lock()
		l.folders[name] = e
		l.mu.Unlock()
		mb.addListener(l, e)
		mb.st.watcher.add(mb) // before the first look, so that nothing falls between
		if slices.Contains(made, name) {
			l.knows(e, mailboxStatus{uidNext: 1})
			e.mark(l, mailboxSomething)
		} else if status, ok := mb.statusInMemory(); ok {
			l.knows(e, status)
		}
	}
	return nil
}

func (l *mailboxListener) drop(name string) {
	l.mu.Lock()
	e := l.folders[name]
	delete(l.folders, name)
	l.mu.Unlock()
	e.mb.removeListener(l)
	e.mb.st.watcher.remove(e.mb)
}

// opens is for a folder that the session opens: what happens there it hears from its view.
func (l *mailboxListener) opens(name string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.folders[name]; e != nil {
		e.deaf, e.dirty, e.known, e.own = true, 0, false, 0
	}
}

// leaves is for a folder whose view the session is about to close. What its view has not
// told is told of the folder then.
func (l *mailboxListener) leaves(v *mailboxView) {
	if l == nil {
		return
	}
	l.mu.Lock()
	e := l.folders[v.name()]
	if e != nil {
		e.deaf = false
	}
	l.mu.Unlock()
	if e == nil {
		return
	}
	status, behind := mailboxStatus{}, true
	v.peek(func() error {
		if behind = v.held || v.safe != v.mb.modSeq || !mailboxSameList(v.list, v.mb.uids); !behind {
			status, _ = v.mb.status()
		}
		return nil
	})
	if behind {
		e.mark(l, mailboxSomething)
	} else {
		l.knows(e, status)
	}
}

// knows notes what the session knows of a folder.
func (l *mailboxListener) knows(e *mailboxListened, status mailboxStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.known, e.told = true, status
	if e.dirty <= status.modSeq {
		e.dirty = 0
	}
}

// mark notes that something has happened in a folder.
func (e *mailboxListened) mark(l *mailboxListener, modSeq uint64) {
	l.mu.Lock()
	news := !e.deaf && !(e.known && e.told.modSeq == modSeq) // else it was only loaded
	wake := news && e.dirty == 0
	if news {
		e.dirty = max(e.dirty, modSeq)
	}
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// markOwn notes that the session itself has changed a folder.
func (e *mailboxListened) markOwn(l *mailboxListener, before, after uint64) {
	l.mu.Lock()
	knew := e.dirty == 0 && (!e.known || e.told.modSeq == before) || e.own == before
	if knew && !e.deaf {
		e.own, e.dirty = after, max(e.dirty, after)
	}
	l.mu.Unlock()
	if !knew {
		e.mark(l, after)
	}
}

// due gives the folders that it is time to look at, sorted, and when it is for the next of the others (zero: not
// before something happens).
func (l *mailboxListener) due(now time.Time) (names []string, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, e := range l.folders {
		switch {
		case e.dirty == 0 || e.deaf:
		case !now.Before(e.next):
			names = append(names, name)
		case next.IsZero() || e.next.Before(next):
			next = e.next
		}
	}
	slices.SortFunc(names, mailboxCompareNames)
	return names, next
}

// mailboxLook is what a look at a folder gives.
type mailboxLook struct {
	was, now mailboxStatus
	known    bool // was is what the session knew
	own      bool // nothing but what the session did itself has happened since
	anew     bool // it is another folder with this name now: watch has to be called again
}

// look tells what has become of a folder that is listened to. errMailboxNotFound if it is gone.
func (l *mailboxListener) look(name string) (look mailboxLook, err error) {
	l.mu.Lock()
	e := l.folders[name]
	if e == nil {
		l.mu.Unlock()
		return look, errMailboxNotFound
	}
	e.dirty, e.next = 0, time.Now().Add(mailboxListenPause)
	look.was, look.known = e.told, e.known
	l.mu.Unlock()
	if look.now, err = l.access.status(name, false); err != nil {
		if errors.Is(err, errMailboxGone) || errors.Is(err, errMailboxRights) {
			err = errMailboxNotFound
		}
		return look, err
	}
	l.mu.Lock()
	look.own, look.anew = e.own != 0 && e.own == look.now.modSeq, e.mb.gone.Load()
	e.own = 0
	l.mu.Unlock()
	l.knows(e, look.now)
	return look, nil
}

// addListener has a listener marked when something happens here.
func (mb *mailbox) addListener(l *mailboxListener, e *mailboxListened) {
	mb.listenMu.Lock()
	defer mb.listenMu.Unlock()
	if len(mb.listeners) == 0 {
		mb.listeners = map[*mailboxListener]*mailboxListened{}
		mb.heardChange() // what there was before need not be heard
	}
	mb.listeners[l] = e
}

func (mb *mailbox) removeListener(l *mailboxListener) {
	mb.listenMu.Lock()
	defer mb.listenMu.Unlock()
	delete(mb.listeners, l)
}

// markListeners marks all. by is the listener of the session that did it, if it is one; then
// before is the mod-sequence before.
func (mb *mailbox) markListeners(modSeq uint64, by *mailboxListener, before uint64) {
	mb.listenMu.Lock()
	defer mb.listenMu.Unlock()
	for l, e := range mb.listeners {
		if l == by {
			e.markOwn(l, before, modSeq)
		} else {
			e.mark(l, modSeq)
		}
	}
}

// heard tells whether somebody listens.
func (mb *mailbox) heard() bool {
	mb.listenMu.Lock()
	defer mb.listenMu.Unlock()
	return len(mb.listeners) > 0
}

// pollListeners marks the listeners if the directories have changed, for where the kernel does
// not tell. Nothing is loaded for that.
func (mb *mailbox) pollListeners() {
	mb.listenMu.Lock()
	changed := len(mb.listeners) > 0 && mb.heardChange()
	mb.listenMu.Unlock()
	if changed {
		mb.markListeners(mailboxSomething, nil, 0)
	}
}

// heardChange notes the directories' times and tells whether they may have changed since it was
// called last. A time that was too fresh then says nothing.
func (mb *mailbox) heardChange() bool {
	start := time.Now()
	newStamp, curStamp, err := mb.md.stamp()
	changed := err != nil || !newStamp.Equal(mb.heardNew) || !curStamp.Equal(mb.heardCur) ||
		!mailboxSettled(newStamp, mb.heardAt) || !mailboxSettled(curStamp, mb.heardAt)
	mb.heardNew, mb.heardCur, mb.heardAt = newStamp, curStamp, start
	return changed
}

// statusInMemory is status of a mailbox that is loaded, as it was read last.
func (mb *mailbox) statusInMemory() (status mailboxStatus, ok bool) {
	mb.mu.Lock()
	defer mb.mu.Unlock()
	if !mb.loaded || mb.gone.Load() {
		return status, false
	}
	status, _ = mb.status()
	return status, true
}
