package main

import (
	"errors"
	"slices"
	"sync"
)

// expunge removes those of uids that are \Deleted now (nil: all that are), and
// is durable when it returns. The session hears of it in sync. Messages that
// the view does not show yet are left alone.
func (v *mailboxView) expunge(uids []uint32) error {
	if err := v.need(mailboxRightExpunge); err != nil {
		return err
	}
	if uids == nil {
		uids = v.list
	}
	return v.locked(func() error {
		var victims []uint32
		v.each(uids, func(r *mailboxRecord) {
			if _, shown := slices.BinarySearch(v.list, r.uid); shown && r.flags&maildirFlagTrashed != 0 {
				victims = append(victims, r.uid)
			}
		})
		return v.mb.removeFiles(victims)
	})
}

// remove removes messages whatever their flags, durably (POP3's QUIT).
func (v *mailboxView) remove(uids []uint32) error {
	return v.locked(func() error { return v.mb.removeFiles(uids) })
}

// removeFiles unlinks files and syncs the directories they were in. A file that came
// from new/ by a rename that was never synced would be there again after a power cut,
// so then new/ is synced, too.
func (mb *mailbox) removeFiles(uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	defer mb.changesMany(len(uids))()
	inNew, inCur := mb.newUnsynced, false
	gone := make([]uint32, 0, len(uids))
	done := mb.tree.changing()
	var sizes map[uint32]int64
	if mb.tree.counts() {
		sizes = make(map[uint32]int64, len(uids))
		for _, uid := range uids { // as long as the files are there
			sizes[uid] = mb.diskSizes([]uint32{uid}).bytes
		}
	}
	defer func() {
		bytes := int64(0)
		for _, uid := range gone {
			bytes += sizes[uid]
		}
		done(-bytes, -int64(len(gone)))
	}()
	removed := func(r *mailboxRecord) {
		inNew, inCur = inNew || !r.inCur(), inCur || r.inCur()
		gone = append(gone, r.uid)
	}
	var left []uint32
	for i, err := range mb.unlinkAll(uids) {
		if err != nil {
			left = append(left, uids[i])
		} else {
			removed(&mb.records[mb.find(uids[i])])
		}
	}
	mb.dropUIDs(gone)
	dropped := len(gone)
	var failed error
	for _, uid := range left { // renamed by another program, perhaps
		err := mb.withFile(uid, func(r *mailboxRecord) error {
			err := mb.unlink(mb.fileName(r), r.inCur())
			if err == nil {
				removed(r)
			}
			return err
		})
		if err != nil && !errors.Is(err, errMailboxExpunged) {
			failed = err
			break
		}
	}
	if len(gone) == 0 {
		return failed
	}
	if err := mb.md.syncDirs(inNew, inCur); err != nil && failed == nil {
		failed = err
	} else if err == nil && inNew {
		mb.newUnsynced = false
	}
	mb.dropUIDs(gone[dropped:])
	mb.absorb()
	return failed
}

// unlinkAll tries to unlink files, and gives an error for each. Most of what that takes is
// giving back a file's blocks, which two cores do faster than one.
func (mb *mailbox) unlinkAll(uids []uint32) []error {
	errs := make([]error, len(uids))
	unlink := func(from, to int) {
		for n := from; n < to; n++ {
			if i := mb.find(uids[n]); i < 0 {
				errs[n] = errMailboxExpunged
			} else {
				r := &mb.records[i]
				errs[n] = mb.unlink(mb.fileName(r), r.inCur())
			}
		}
	}
	half := 0
	var wg sync.WaitGroup
	if len(uids) >= mailboxMany {
		half = len(uids) / 2
		wg.Go(func() { unlink(0, half) })
	}
	unlink(half, len(uids))
	wg.Wait()
	return errs
}
