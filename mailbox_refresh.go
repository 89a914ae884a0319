package main

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// A refresh brings a mailbox's records up to what is on disk. Other programs may
// deliver, rename and delete at any moment, so it goes by these rules:
//
//   - The modification times of new/ and cur/ tell whether to look. A change in the
//     same tick as the one already seen does not move them, so a directory that
//     changed just before it was scanned is scanned once more later (scanDue). The
//     same goes for changes of our own, whose new times are taken over unseen.
//   - readdir can miss a file that is renamed during the scan. When one is missing, the
//     directories are read once more under the uidlist's lock, under which Dovecot and other
//     Letterboxes rename. For programs that take no lock, a message counts as expunged only
//     if a scan that nothing disturbed misses it, or three in a row.
//   - One base name seen twice is one message. See mailbox_twice.go.
//   - A message is not shown before its UID is on disk, in dovecot-uidlist.

const (
	mailboxRescanDelay = 500 * time.Millisecond // before a directory is scanned again although no time moved
	mailboxRescanEach  = 40 * time.Microsecond  // likewise, for each message: some twenty times what a scan takes
	mailboxMissedDelay = 50 * time.Millisecond  // the same while a message is missing
	mailboxQuiet       = 100 * time.Millisecond // longer than a tick of any kernel's file times, on a virtual machine, too
	mailboxQuietCoarse = 2 * time.Second        // likewise for FAT, and NFS servers with whole seconds
	mailboxMissesMost  = 3
)

// locked runs f with the mailbox refreshed and locked, and wakes the other
// sessions if anything has changed by then.
func (mb *mailbox) locked(v *mailboxView, f func() error) error {
	return mb.lockedBy(v, nil, f)
}

// lockedBy is locked for a session that listens to this folder and does not want to hear what
// it does itself.
func (mb *mailbox) lockedBy(v *mailboxView, by *mailboxListener, f func() error) error {
	mb.mu.Lock()
	before, loaded := mb.modSeq, mb.loaded
	err := mb.refresh()
	failed, found := err != nil, mb.modSeq
	if !failed {
		err = f()
	}
	wake, after := func() {}, mb.modSeq
	if after != before {
		wake = mb.others(v)
	}
	mb.schedule(failed)
	mb.mu.Unlock()
	wake()
	if loaded && found != before {
		mb.markListeners(found, nil, 0)
	}
	if after != found {
		mb.markListeners(after, by, found)
	}
	return mb.failed(err)
}

// failed is mailboxError for what was done in a folder. Another session or program may
// delete the folder meanwhile; then it is not the missing file that matters.
func (mb *mailbox) failed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if _, _, err := mb.md.stamp(); mb.gone.Load() || errors.Is(err, fs.ErrNotExist) {
			return errMailboxGone // gone, and perhaps made again meanwhile
		}
	}
	return mailboxError(err)
}

// schedule sees to it that a scan that is due happens although no session asks. One that
// has failed is not tried again at once.
func (mb *mailbox) schedule(failed bool) {
	if mb.scanDue.IsZero() || mb.gone.Load() {
		return
	}
	if now := time.Now(); failed && mb.scanDue.Before(now) {
		mb.scanDue = now.Add(mailboxPollTime)
	}
	mb.refreshBy(mb.scanDue)
}

// poke has the mailbox refreshed soon, in another goroutine, if a session wants
// to hear of changes. Those that only listen look for themselves.
func (mb *mailbox) poke(after time.Duration) {
	mb.markListeners(mailboxSomething, nil, 0)
	mb.refreshSoon(after)
}

func (mb *mailbox) refreshSoon(after time.Duration) {
	mb.mu.Lock()
	defer mb.mu.Unlock()
	mb.refreshBy(time.Now().Add(after))
}

// refreshBy sets the one timer of a mailbox that sessions wait on; a time that is set
// already and earlier stays.
func (mb *mailbox) refreshBy(at time.Time) {
	if !mb.timerAt.IsZero() && !at.Before(mb.timerAt) {
		return
	}
	if !mb.awaited() {
		return
	}
	mb.timerAt = at
	if mb.timer == nil {
		mb.timer = time.AfterFunc(time.Until(at), mb.refreshForOthers)
	} else {
		mb.timer.Reset(time.Until(at))
	}
}

// awaited tells whether sessions wait for changes here. For those that only listen nothing is
// loaded.
func (mb *mailbox) awaited() bool {
	for v := range mb.views {
		if v.notify != nil {
			return true
		}
	}
	return mb.loaded && mb.heard()
}

// refreshForOthers is what the timer does.
func (mb *mailbox) refreshForOthers() {
	mb.st.hold(mb)
	defer mb.st.release(mb)
	mb.mu.Lock()
	mb.timerAt = time.Time{}
	watched := len(mb.views) > 0 || mb.awaited()
	mb.mu.Unlock()
	if !watched {
		return
	}
	switch err := mb.locked(nil, func() error { return nil }); {
	case errors.Is(err, errMailboxGone): // they want to know that, too
		mb.mu.Lock()
		wake := mb.others(nil)
		mb.mu.Unlock()
		wake()
	case err != nil:
		logMailboxTrouble(mb.st.log, mb.tree.user, mb.name, err)
	}
}

// refresh does what the head of this file says, if there is a reason to.
func (mb *mailbox) refresh() error {
	if mb.gone.Load() {
		return errMailboxGone
	}
	newStamp, curStamp, err := mb.md.stamp()
	if errors.Is(err, fs.ErrNotExist) {
		mb.gone.Store(true)
		return errMailboxGone
	} else if err != nil {
		return err
	}
	if err := mb.refreshKeywords(); err != nil {
		return err
	}
	due := !mb.scanDue.IsZero() && !time.Now().Before(mb.scanDue)
	switch {
	case !mb.loaded:
		return mb.load()
	case due || !curStamp.Equal(mb.curStamp):
		return mb.scan(true)
	case !newStamp.Equal(mb.newStamp):
		return mb.scan(false)
	}
	return nil
}

// rescan looks again at once: a file was not where it had been.
func (mb *mailbox) rescan() error {
	if err := mb.readList(); err != nil {
		return err
	}
	return mb.scan(true)
}

// refreshKeywords reads dovecot-keywords if it has changed.
func (mb *mailbox) refreshKeywords() error {
	names, stamp, changed, err := mb.md.readKeywords(mb.keywordStamp)
	if err != nil || !changed {
		return err
	}
	mb.keywords, mb.keywordStamp, mb.forwarded = names, stamp, 0
	for i, name := range names {
		if mailboxSameKeyword(name, "$Forwarded") {
			mb.forwarded = 1 << (maildirKeyword0 + i)
		}
	}
	return nil
}

// load reads a mailbox that is not in memory.
func (mb *mailbox) load() error {
	listed, settled := mb.loadIndex()
	if mb.index.whole || mb.index.file == nil {
		mb.expungedSince = mb.nextModSeq()
	}
	var err error
	if !listed {
		err = mb.readList()
	}
	if mb.loaded = err == nil; mb.loaded && !settled {
		err = mb.scanForEarly()
	}
	if err == nil && mb.list == nil {
		err = mb.adopt(nil, 0) // an empty mailbox has a UIDVALIDITY, too
	}
	if err != nil {
		mb.unload()
		return err
	}
	return nil
}

// reload begins anew with another UIDVALIDITY; the views of the old one are gone.
func (mb *mailbox) reload() error {
	mb.unload()
	mb.epoch++
	if err := mb.refreshKeywords(); err != nil {
		return err
	}
	return mb.load()
}

// readList reads what is new in dovecot-uidlist. Lines of messages that have no
// record go to mb.early until their file is seen.
func (mb *mailbox) readList() error {
	var lines []maildirUidline
	var names mailboxNames
	old := mb.list
	list, whole, err := mb.md.readUidlist(old, func(uid uint32, fields, base string) {
		lines = append(lines, maildirUidline{uid, names.keep(fields), names.keep(base)})
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errMaildirUidlist):
		if errors.Is(err, errMaildirUidlist) {
			logMailboxTrouble(mb.st.log, mb.tree.user, mb.name, err)
		}
		if old != nil {
			return mb.reload()
		}
		mb.loseIndex()
		return nil // adopt makes one
	case err != nil:
		return err
	case old == nil && list.validity != mb.index.validity:
		mb.loseIndex()
	case old != nil && list.validity != old.validity:
		return mb.reload()
	}
	mb.list = list
	if whole && len(mb.records) > 0 {
		lost := old == nil && mb.indexLacks(lines)
		if mb.checkRecords(lines); lost {
			mb.loseIndex()
		}
	}
	if len(mb.records) == 0 {
		mb.early.reserve(len(lines))
	}
	for _, line := range lines {
		if mb.find(line.uid) < 0 {
			mb.early.put(line)
		}
	}
	return nil
}

// checkRecords compares the records with a uidlist that another program has
// written anew. Where they differ the list is right: the message gets the UID
// that the list has, and its old UID is gone.
func (mb *mailbox) checkRecords(lines []maildirUidline) {
	mb.early = mailboxEarly{}
	next := 0
	before := len(mb.records)
	mb.drop(func(r *mailboxRecord) bool {
		for next < len(lines) && lines[next].uid < r.uid {
			next++
		}
		return next == len(lines) || lines[next].uid != r.uid || lines[next].base != mb.base(r)
	})
	mb.forgetDead() // what drop has noted is not in the new list, or comes again
	if len(mb.records) != before {
		mb.curStamp = time.Time{}
	}
}

// mailboxFound is a file in new/ or cur/ that has no record yet.
type mailboxFound struct {
	name, fields string // fields: of its line in the uidlist
	made         uint64 // maildirMade
	uid          uint32 // 0: it has none yet
	baseLen      uint8
	cur          bool
}

func (f *mailboxFound) base() string { return f.name[:f.baseLen] }

// mailboxScan is one look at the directories.
type mailboxScan struct {
	mb      *mailbox
	full    bool
	known   mailboxBases // records by base name
	fresh   []mailboxFound
	freshAt mailboxBases
	names   mailboxNames             // of fresh
	twice   map[string][]mailboxFile // base names seen more than once
	modSeq  uint64                   // of the changes found, 0 if none
}

// mailboxFile is where a message's file is.
type mailboxFile struct {
	name string
	cur  bool
}

// scan reads new/ and, if full, cur/.
func (mb *mailbox) scan(full bool) error {
	start := time.Now()
	newStamp, curStamp, err := mb.md.stamp()
	if err != nil {
		return err
	}
	if mb.list != nil {
		epoch := mb.epoch
		if err := mb.readList(); err != nil || mb.epoch != epoch {
			return err
		}
	}
	full = full || !curStamp.Equal(mb.curStamp) // it has changed since refresh looked
	known := uint32(0)                          // below it, lines were read before the directories
	if mb.list != nil {
		known = mb.list.next
	}
	s := &mailboxScan{mb: mb, full: full}
	if s.learn(); s.dropReturned() {
		s.learn()
	}
	if err := mb.md.scan(full, s.see); err != nil {
		return err
	}
	newAfter, curAfter, err := mb.md.stamp()
	if err != nil {
		return err
	}
	quiet := newStamp.Equal(newAfter) && (!full || curStamp.Equal(curAfter)) &&
		mailboxSettled(newStamp, start) && mailboxSettled(curStamp, start)
	if !full && (s.lost() || s.overlooks()) {
		return mb.scan(true) // it may be in cur/
	}
	if !quiet && mb.lock == nil && !mb.rescans && (s.misses() || s.overlooks()) {
		mb.rescans = true
		defer func() { mb.rescans = false }()
		return mb.renaming(func() error { return mb.scan(true) })
	}
	mb.newStamp, mb.curStamp = newStamp, curStamp
	if len(s.twice) > 0 {
		quiet = false
		s.resolveTwice()
	}
	s.expungeMissing(quiet)
	if full { // else one that is due for cur/ still is
		mb.scanDue = time.Time{}
	}
	switch {
	case mb.missing > 0:
		mb.scanDue = time.Now().Add(mailboxMissedDelay)
	case !quiet:
		mb.scanAgainLater()
	}
	if len(s.fresh) > 0 {
		if !quiet {
			known = 0
		}
		if err := mb.adopt(s.fresh, known); err != nil {
			return err
		}
	}
	if full && quiet {
		mb.buryEarly(known)
	}
	return nil
}

// learn fills s.known with the records that the scan may find. Two have the same name if a
// message was moved away and back, which a look at new/ alone does not tell: the file is that of
// the later one.
func (s *mailboxScan) learn() {
	s.known = mailboxBases{}
	add := func(i int, r *mailboxRecord) bool {
		r.state &^= mailboxScanned
		base := s.mb.base(r)
		s.known.set(base, i, func(at int) bool { return s.mb.base(&s.mb.records[at]) == base })
		return true
	}
	if !s.full {
		s.mb.eachNew(add)
		return
	}
	s.known.grow(len(s.mb.records))
	for i := range s.mb.records {
		add(i, &s.mb.records[i])
	}
}

// find gives the record that has a base name, nil if there is none.
func (s *mailboxScan) find(base string) *mailboxRecord {
	i := s.known.find(base, func(i int) bool { return s.mb.base(&s.mb.records[i]) == base })
	if i < 0 {
		return nil
	}
	return &s.mb.records[i]
}

// findFresh gives the file without a record that has a base name, nil if there is none.
func (s *mailboxScan) findFresh(base string) *mailboxFound {
	i := s.freshAt.find(base, func(i int) bool { return s.fresh[i].base() == base })
	if i < 0 {
		return nil
	}
	return &s.fresh[i]
}

// dropReturned drops records of messages that were moved away and back: Dovecot
// leaves a moved file its base name, and only the newer line of the uidlist tells that
// this is another message now.
func (s *mailboxScan) dropReturned() bool {
	old := map[uint32]bool{}
	s.mb.early.each(func(line maildirUidline) bool {
		if r := s.find(line.base); r != nil && r.uid < line.uid {
			old[r.uid] = true
		}
		return true
	})
	if len(old) == 0 {
		return false
	}
	s.mb.drop(func(r *mailboxRecord) bool { return old[r.uid] })
	return true
}

// mailboxSettled tells whether a directory that had this time when a scan
// started cannot change any more without its time changing. A time in the future
// comes from another clock; a change now would not give the same one.
func mailboxSettled(stamp, start time.Time) bool {
	age := start.Sub(stamp)
	if stamp.Nanosecond() == 0 {
		return age > mailboxQuietCoarse || age < -mailboxQuietCoarse
	}
	return age > mailboxQuiet || age < -mailboxQuietCoarse
}

// scanAgainLater has the directories scanned once more even if their times stay
// as they are; the larger the mailbox, the later.
func (mb *mailbox) scanAgainLater() {
	if mb.scanDue.IsZero() {
		mb.scanDue = time.Now().Add(max(mailboxRescanDelay, time.Duration(len(mb.records))*mailboxRescanEach))
	}
}

// absorb takes over the directories' times after changes of our own, so that
// they don't make the next refresh scan. Changes by others in between are
// found by the later scan.
func (mb *mailbox) absorb() {
	newStamp, curStamp, err := mb.md.stamp()
	if err != nil {
		newStamp, curStamp = time.Time{}, time.Time{} // the next refresh tells
	}
	mb.newStamp, mb.curStamp = newStamp, curStamp
	mb.scanAgainLater()
}

// see takes one directory entry, whose name is valid only now.
func (s *mailboxScan) see(name string, cur bool) {
	base, flags, _, _ := maildirParse(name)
	if base == "" || len(base) > 255 {
		return
	}
	r := s.find(base)
	if r == nil {
		s.seeFresh(name, base, cur)
		return
	}
	if r.state&mailboxScanned != 0 {
		s.seeTwice(s.mb.base(r), mailboxFile{s.mb.fileName(r), r.inCur()}, mailboxFile{strings.Clone(name), cur})
		return
	}
	r.state |= mailboxScanned
	if r.inCur() == cur && s.mb.hasFileName(r, name) {
		return
	}
	if flags != r.flags {
		s.mb.change(r, s.changed())
	}
	s.mb.setName(r, strings.Clone(name), cur)
}

func (s *mailboxScan) seeFresh(name, base string, cur bool) {
	if f := s.findFresh(base); f != nil {
		s.seeTwice(f.base(), mailboxFile{f.name, f.cur}, mailboxFile{strings.Clone(name), cur})
		return
	}
	s.freshAt.add(base, len(s.fresh))
	if len(s.fresh) == cap(s.fresh) {
		s.fresh = slices.Grow(s.fresh, max(16, len(s.fresh)))
	}
	s.fresh = append(s.fresh, mailboxFound{name: s.names.keep(name), made: maildirMade(base), baseLen: uint8(len(base)), cur: cur})
}

func (s *mailboxScan) seeTwice(base string, files ...mailboxFile) {
	if s.twice == nil {
		s.twice = map[string][]mailboxFile{}
	}
	if len(s.twice[base]) > 0 {
		files = files[1:]
	}
	s.twice[base] = append(s.twice[base], files...)
}

// changed gives the mod-sequence of all changes that this scan finds.
func (s *mailboxScan) changed() uint64 {
	if s.modSeq == 0 {
		s.modSeq = s.mb.nextModSeq()
	}
	return s.modSeq
}

// lost tells whether a file of new/ was not seen.
func (s *mailboxScan) lost() bool {
	for _, slot := range s.known.slots {
		if slot.at != 0 && s.mb.records[slot.at-1].state&mailboxScanned == 0 {
			return true
		}
	}
	return false
}

// misses tells whether a full scan did not see a file.
func (s *mailboxScan) misses() bool { return s.full && s.lost() }

// overlooks tells whether new mail was found, and a file was not that the uidlist has a
// line for, above the messages that have records.
func (s *mailboxScan) overlooks() bool {
	if len(s.fresh) == 0 {
		return false
	}
	last, overlooks := s.mb.lastUID(), false
	s.mb.early.each(func(line maildirUidline) bool {
		overlooks = line.uid > last && s.findFresh(line.base) == nil
		return !overlooks
	})
	return overlooks
}

// expungeMissing drops the records whose file is gone for certain.
func (s *mailboxScan) expungeMissing(quiet bool) {
	if !s.full {
		return
	}
	mb := s.mb
	gone := false
	mb.missing = 0
	for i := range mb.records {
		r := &mb.records[i]
		if r.state&mailboxScanned != 0 {
			r.misses = 0
			continue
		}
		if r.misses++; quiet {
			r.misses = mailboxMissesMost
		}
		mb.missing++
		gone = gone || r.misses >= mailboxMissesMost
	}
	if gone {
		mb.drop(func(r *mailboxRecord) bool { return r.misses >= mailboxMissesMost })
	}
}
