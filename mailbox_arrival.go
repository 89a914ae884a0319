package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// mailboxArrival is a number of messages that enter a mailbox together: first
// their files, then their UIDs; all or none.
type mailboxArrival struct {
	mb    *mailbox
	files []mailboxFile
	lines []maildirUidline
	inNew bool
	inCur bool

	src  *mailbox      // where files were moved from, if they were
	from []mailboxFile // their names there

	known   []mailboxArrivalKnown // of each file
	knownOf *mailbox              // whose index has the texts
}

// mailboxArrivalKnown is what is known of a message before it arrives.
type mailboxArrivalKnown struct {
	date        int64  // INTERNALDATE, -1 if not known
	text, words uint32 // places in knownOf's index, 0: none
	known       *mailboxKnown
}

// arrive runs fill, which puts files into new/ or cur/, gives them UIDs, makes all
// durable and then runs done. If fill or the disk fails, the files are removed.
func (mb *mailbox) arrive(fill, done func(a *mailboxArrival) error) error {
	a := &mailboxArrival{mb: mb}
	noted := a.changing()
	err := mb.withLock(func(lock *maildirUidlistLock) error {
		if err := mb.catchUp(); err != nil {
			return err
		}
		err := fill(a)
		if err == nil && len(a.files) > 0 {
			err = a.makeDurable(lock)
		}
		if err != nil {
			a.undo()
		}
		return err
	})
	noted(err)
	if err != nil {
		return err
	}
	modSeq := uint64(0)
	var readers [len(maildirIndexEntries)]maildirEntryReader
	for i, f := range a.files {
		if modSeq == 0 {
			modSeq = mb.nextModSeq()
		}
		r := mb.add(a.lines[i].uid, f.name, f.cur, a.lines[i].fields, modSeq)
		a.tell(r, i, &readers)
	}
	mb.absorb()
	return done(a)
}

// changing is mailboxTree.changing for what arrives, and for where it was moved from.
func (a *mailboxArrival) changing() (noted func(err error)) {
	done := a.mb.tree.changing()
	return func(err error) {
		if err != nil || a.src != nil && a.src.tree == a.mb.tree {
			done(0, 0)
			return
		}
		bytes := int64(0)
		for _, f := range a.files {
			bytes += a.mb.md.diskSize(f.name, f.cur)
		}
		done(bytes, int64(len(a.files)))
		if a.src != nil {
			a.src.tree.changing()(-bytes, -int64(len(a.files)))
		}
	}
}

// tell gives a new record what is known of file i.
func (a *mailboxArrival) tell(r *mailboxRecord, i int, readers *[len(maildirIndexEntries)]maildirEntryReader) {
	known, mb := a.known[i], a.mb
	r.date = known.date
	if known.known != nil {
		mb.keepSummary(r, known.known.summary)
		mb.keepWords(r, known.known.words)
		return
	}
	for which, place := range [...]uint32{maildirIndexText: known.text, maildirIndexWords: known.words} {
		if place == 0 || a.knownOf.index.file == nil || mb.index.file == nil {
			continue
		}
		reader := &readers[which]
		if reader.file == nil || i%1024 == 0 {
			a.knownOf.index.file.read(which, reader, len(a.files) > 1)
		}
		entry := reader.entry(place)
		switch {
		case len(entry) < 8:
		case which == maildirIndexText:
			mb.keepText(r, mailboxAppendWords(mailboxBaseHash(mb.base(r)), entry[8:]))
		default:
			mb.keepWords(r, entry[8:])
		}
	}
}

// makeDurable gives the files UIDs and syncs their names and the list.
func (a *mailboxArrival) makeDurable(lock *maildirUidlistLock) error {
	if err := a.mb.writeLines(lock, a.lines, a.mb.wantsRewrite()); err != nil {
		return err
	}
	// The directory first: on many file systems its commit takes the list along.
	if err := a.mb.md.syncDirs(a.inNew, a.inCur); err != nil {
		return err
	}
	return lock.sync()
}

// catchUp reads the uidlist under its lock. If others have added lines, their
// files get records first, for UIDs ascend.
func (mb *mailbox) catchUp() error {
	epoch := mb.epoch
	if err := mb.readList(); err != nil {
		return err
	}
	if mb.epoch != epoch {
		return errMailboxGone
	}
	if mb.early.count > 0 {
		return mb.scanForEarly()
	}
	return nil
}

// bring adds a message of another folder (or of this one) under a new name. To copy
// makes a hard link, or a synced copy where the file system has no links; to move
// renames, so that of two sessions that move a message only one succeeds.
func (a *mailboxArrival) bring(src *mailbox, r *mailboxRecord, may mailboxFlags, move bool) error {
	flags := a.mb.translate(src, r.flags&maildirFlags(may))
	disk, wire := maildirSizes(src.base(r))
	base := a.mb.md.newBase()
	if disk >= 0 && wire >= 0 {
		base = maildirWithSizes(base, disk, wire)
	}
	base = maildirWithOrigin(base, src.base(r)) // RFC 8474, section 5.1: one EMAILID for both
	from, to := mailboxFile{src.fileName(r), r.inCur()}, mailboxFile{base, false}
	if flags != 0 {
		to = mailboxFile{a.mb.md.fileName(base, flags, ""), true}
	}
	if !move {
		if err := src.md.linkInto(from.name, from.cur, a.mb.md, to.name, to.cur); err != nil {
			return err
		}
	} else {
		if err := src.md.moveInto(from.name, from.cur, a.mb.md, to.name, to.cur); err != nil {
			return err
		}
		a.src, a.from = src, append(a.from, from)
	}
	a.knownOf = src
	a.put(to, base, mailboxArrivalKnown{date: r.date, text: r.text, words: r.words})
	return nil
}

// movedAway makes it durable that messages have left, and drops their records.
func (mb *mailbox) movedAway(uids []uint32) error {
	err := mb.md.syncDirs(mb.newUnsynced || mb.unread > 0, true)
	if err == nil {
		mb.newUnsynced = false
	}
	mb.dropUIDs(uids)
	mb.absorb()
	return err
}

func (a *mailboxArrival) put(to mailboxFile, base string, known mailboxArrivalKnown) {
	a.files = append(a.files, to)
	a.known = append(a.known, known)
	a.lines = append(a.lines, maildirUidline{base: base})
	a.inNew, a.inCur = a.inNew || !to.cur, a.inCur || to.cur
}

// undo removes the files of an arrival that failed, or moves them back.
func (a *mailboxArrival) undo() {
	for i, f := range a.files {
		a.mb.bury(a.lines[i].base) // it may have got a line already
		var err error
		if a.src != nil {
			err = a.mb.md.moveInto(f.name, f.cur, a.src.md, a.from[i].name, a.from[i].cur)
		} else {
			err = a.mb.unlink(f.name, f.cur)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			logMailboxTrouble(a.mb.st.log, a.mb.tree.user, filepath.Join(a.mb.name, f.name), err)
		}
	}
	if a.src != nil {
		a.src.newStamp, a.src.curStamp = time.Time{}, time.Time{}
	}
	a.mb.newStamp, a.mb.curStamp = time.Time{}, time.Time{}
}
