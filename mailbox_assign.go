package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Giving UIDs: files that a scan has found get those that dovecot-uidlist has for
// them, or new ones, which are on disk before anybody is told.

// adopt makes records of files that have none. Those without a UID get one,
// which is on disk when adopt returns. When it cannot be (a full disk, a lock that
// somebody holds), they stay unseen until a later scan. If the uidlist has a line at or above
// sure whose file was not seen, below that of one that was, the directories are read again
// first, for afterwards that UID could not be shown any more. The files of lines below sure
// are gone for certain.
func (mb *mailbox) adopt(fresh []mailboxFound, sure uint32) error {
	if n := mb.takeEarly(fresh); n > 0 || mb.list == nil {
		epoch := mb.epoch
		err := mb.assign(fresh)
		if mb.epoch != epoch {
			return err // loaded anew in between
		}
		if err != nil && mb.list == nil {
			return err
		} else if err != nil {
			logMailboxTrouble(mb.st.log, mb.tree.user, mb.name, fmt.Errorf("giving UIDs to new mail: %w", err))
			mb.newStamp, mb.curStamp = time.Time{}, time.Time{}
		}
	}
	mailboxSortFound(fresh)
	if mb.passes < mailboxMissesMost-1 && mb.passesOver(fresh, sure) {
		for _, f := range fresh {
			if f.uid != 0 {
				mb.early.put(maildirUidline{f.uid, f.fields, f.base()})
			}
		}
		mb.passes++
		defer func() { mb.passes-- }()
		return mb.scan(true)
	}
	if err := mb.takeArrivals(); err != nil {
		mb.indexFailed(err)
	}
	modSeq := uint64(0)
	mb.grow(len(fresh))
	for _, f := range fresh {
		if f.uid == 0 {
			continue
		}
		if modSeq == 0 {
			modSeq = mb.nextModSeq()
		}
		mb.add(f.uid, f.name, f.cur, f.fields, modSeq)
		mb.early.remove(f.base())
	}
	return nil
}

// mailboxSortFound sorts by UID; those that have none come last, as they were delivered.
func mailboxSortFound(fresh []mailboxFound) {
	slices.SortFunc(fresh, func(a, b mailboxFound) int {
		switch {
		case a.uid != b.uid:
			return cmp.Compare(a.uid-1, b.uid-1)
		case a.made != b.made:
			return cmp.Compare(a.made, b.made)
		}
		return strings.Compare(a.base(), b.base())
	})
}

// takeEarly gives files the UIDs that the uidlist has for them, and counts those
// that it has none for. A UID below one that sessions may know already cannot be
// shown any more (RFC 9051, section 2.3.1.1: UIDs ascend): that file gets a new one.
func (mb *mailbox) takeEarly(fresh []mailboxFound) (without int) {
	last := mb.lastUID()
	for i := range fresh {
		f := &fresh[i]
		if f.uid != 0 {
			continue
		}
		if line, ok := mb.early.get(f.base()); ok && line.uid > last {
			f.uid, f.fields = line.uid, line.fields
		} else {
			without++
		}
	}
	return without
}

// passesOver tells whether the uidlist has a line from sure on, without a file as yet, between
// the messages that have records and the last of fresh, which is sorted by UID.
func (mb *mailbox) passesOver(fresh []mailboxFound, sure uint32) bool {
	if len(fresh) == 0 || mb.early.count == 0 {
		return false
	}
	last, highest, over := mb.lastUID(), uint32(0), false
	for _, f := range fresh {
		highest = max(highest, f.uid)
	}
	mb.early.each(func(line maildirUidline) bool {
		if line.uid >= sure && line.uid > last && line.uid < highest {
			_, seen := slices.BinarySearchFunc(fresh, line.uid, func(f mailboxFound, uid uint32) int { return cmp.Compare(f.uid-1, uid-1) })
			over = !seen
		}
		return !over
	})
	return over
}

// scanForEarly looks for the files of uidlist lines that have no record, until it
// is certain that those not found are gone: whoever calls it will give higher UIDs.
func (mb *mailbox) scanForEarly() error {
	for range mailboxMissesMost {
		epoch := mb.epoch
		if err := mb.scan(true); err != nil || mb.epoch != epoch {
			return err
		}
		if mb.scanDue.IsZero() || !mb.comes() {
			break
		}
	}
	return nil
}

// comes tells whether the uidlist has a line, without a file as yet, above the
// messages that have records.
func (mb *mailbox) comes() bool {
	last, comes := mb.lastUID(), false
	mb.early.each(func(line maildirUidline) bool {
		comes = line.uid > last
		return !comes
	})
	return comes
}

func (mb *mailbox) lastUID() uint32 {
	if len(mb.records) == 0 {
		return 0
	}
	return mb.records[len(mb.records)-1].uid
}

// assign gives UIDs to those of fresh that have none, under the uidlist's lock,
// and syncs the list.
func (mb *mailbox) assign(fresh []mailboxFound) error {
	return mb.withLock(func(lock *maildirUidlistLock) error { return mb.assignLocked(lock, fresh) })
}

// withLock runs f with the uidlist's lock held.
func (mb *mailbox) withLock(f func(lock *maildirUidlistLock) error) error {
	if mb.lock != nil {
		return f(mb.lock)
	}
	lock, err := mb.md.lockUidlist()
	if err != nil {
		return err
	}
	mb.lock = lock
	defer func() {
		mb.lock = nil
		lock.unlock()
	}()
	return f(lock)
}

// renaming runs f, which renames files or must not miss any, under the uidlist's lock:
// readdir can miss a file that is renamed meanwhile, so Dovecot, and other Letterboxes,
// rename and look under that lock. Where it cannot be made (a full disk), f runs without.
func (mb *mailbox) renaming(f func() error) error {
	ran := false
	err := mb.withLock(func(*maildirUidlistLock) error {
		ran = true
		return f()
	})
	if ran || errors.Is(err, errMaildirLocked) {
		return err
	}
	return f()
}

// wantsRewrite tells whether most of the uidlist is of no more use.
func (mb *mailbox) wantsRewrite() bool { return len(mb.dead) > len(mb.records)+200 }

func (mb *mailbox) assignLocked(lock *maildirUidlistLock, fresh []mailboxFound) error {
	epoch := mb.epoch
	if err := mb.readList(); err != nil || mb.epoch != epoch {
		return err
	}
	if mb.takeEarly(fresh) == 0 && mb.list != nil {
		return nil // another program was faster
	}
	mailboxSortFound(fresh)
	first := slices.IndexFunc(fresh, func(f mailboxFound) bool { return f.uid == 0 })
	if first < 0 {
		first = len(fresh)
	}
	without := fresh[first:]
	stale := mb.list == nil || mb.wantsRewrite()
	lines := make([]maildirUidline, len(without))
	for i := range without {
		lines[i].base = without[i].base()
		if !stale {
			_, early := mb.early.get(lines[i].base)
			_, dead := mb.dead[mailboxBaseHash(lines[i].base)]
			stale = early || dead // the old line must go
		}
	}
	if err := mb.writeLines(lock, lines, stale); err != nil {
		return err
	}
	if err := lock.sync(); err != nil {
		return err
	}
	for i := range without {
		without[i].uid = lines[i].uid
	}
	return nil
}

// writeLines gives lines the next UIDs and writes them: appended, or, if stale, with
// the whole list written anew without the lines that are of no more use.
func (mb *mailbox) writeLines(lock *maildirUidlistLock, lines []maildirUidline, stale bool) error {
	list := mb.list
	if list == nil {
		validity, err := maildirNextValidity(mb.tree.root, mb.st.now())
		if err != nil {
			return err
		}
		list = &maildirUidlist{validity: validity, next: 1}
	}
	uid := max(list.next, mb.lastUID()+1)
	for i := range lines {
		if uid == 0 {
			return errors.New("all UIDs of this folder are used up") // RFC 9051, section 2.3.1.1: 32 bits
		}
		lines[i].uid = uid
		uid++
	}
	if !stale {
		return lock.append(list, lines)
	}
	mine := map[string]bool{}
	if list.info != nil { // there are lines that may go
		for _, line := range lines {
			mine[line.base] = true
		}
	}
	err := lock.rewrite(list, func(uid uint32, base string) bool {
		_, early := mb.early.get(base)
		return !mine[base] && (early || mb.find(uid) >= 0)
	}, lines)
	if err == nil {
		mb.list = list
		mb.forgetDead()
	}
	return err
}

// buryEarly gives up the uidlist lines below a UID whose file an undisturbed scan did
// not see. Those above were added while it went on.
func (mb *mailbox) buryEarly(below uint32) {
	mb.early.each(func(line maildirUidline) bool {
		if line.uid < below {
			mb.bury(line.base)
			mb.early.remove(line.base)
		}
		return true
	})
}

// bury notes that the uidlist has a line that is of no more use.
func (mb *mailbox) bury(base string) {
	hash := mailboxBaseHash(base)
	if _, known := mb.dead[hash]; known {
		return
	}
	if mb.dead == nil {
		mb.dead = map[uint64]struct{}{}
	}
	mb.dead[hash] = struct{}{}
	if mb.index.file != nil {
		mb.index.dead = append(mb.index.dead, hash)
	}
}

// forgetDead notes that the uidlist has no such lines, or that they are going to be found
// again.
func (mb *mailbox) forgetDead() {
	mb.dead, mb.index.dead, mb.index.deadGone = nil, nil, true
}

// mailboxBaseHash is FNV-1a of a base name, never 0: the index keeps it.
func mailboxBaseHash(base string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(base) {
		hash = (hash ^ uint64(base[i])) * 1099511628211
	}
	return max(hash, 1)
}
