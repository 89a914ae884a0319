package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// mailboxSameKeyword compares keyword names, which are the same in any case
// (RFC 9051, section 2.3.2).
func mailboxSameKeyword(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

// keywordFlags gives the bits of keyword names, adding those the folder does not
// have yet; errMailboxKeywords when there is no room. Who may not set keywords adds none.
func (v *mailboxView) keywordFlags(names []string) (flags mailboxFlags, err error) {
	if !v.may(mailboxRightWrite) {
		return v.knownKeywordFlags(names), nil
	}
	err = v.peek(func() error { flags, err = v.mb.keywordFlags(names, true); return err })
	return flags, err
}

// knownKeywordFlags is keywordFlags without adding: what no message here can have is
// left out. For SEARCH and for removing flags.
func (v *mailboxView) knownKeywordFlags(names []string) (flags mailboxFlags) {
	v.peek(func() error { flags, _ = v.mb.keywordFlags(names, false); return nil })
	return flags
}

// keywordsFull tells that no further keyword can be added.
func (v *mailboxView) keywordsFull() (full bool) {
	v.peek(func() error {
		full = len(v.mb.keywords) >= maildirKeywords && !slices.Contains(v.mb.keywords, "")
		return nil
	})
	return full
}

func (mb *mailbox) keywordFlags(names []string, add bool) (flags mailboxFlags, err error) {
	if add && !mb.keywordsFit(names) {
		return 0, errMailboxKeywords
	}
	for _, name := range names {
		if mailboxSameKeyword(name, "$Forwarded") {
			flags |= mailboxFlagForwarded
		}
		bit, err := mb.keywordBit(name, add)
		if errors.Is(err, errMaildirKeywordsFull) && flags&mailboxFlagForwarded != 0 {
			continue // the letter P is enough
		} else if err != nil {
			return 0, err
		}
		if bit != mb.forwarded {
			flags |= mailboxFlags(bit)
		}
	}
	return flags, nil
}

// keywordsFit tells whether there is room for those of names that are new. A number that is
// given is never free again, so names are added all or none.
func (mb *mailbox) keywordsFit(names []string) bool {
	known := slices.DeleteFunc(slices.Clone(mb.keywords), func(name string) bool { return name == "" })
	for _, name := range names {
		if mailboxSameKeyword(name, "$Forwarded") ||
			slices.ContainsFunc(known, func(k string) bool { return mailboxSameKeyword(k, name) }) {
			continue
		}
		if known = append(known, name); len(known) > maildirKeywords {
			return false
		}
	}
	return true
}

// keywordBit gives a keyword's bit in file names, 0 if it has none and add is
// false.
func (mb *mailbox) keywordBit(name string, add bool) (maildirFlags, error) {
	for i, known := range mb.keywords {
		if mailboxSameKeyword(known, name) {
			return 1 << (maildirKeyword0 + i), nil
		}
	}
	if !add {
		return 0, nil
	}
	i, err := mb.md.addKeyword(name)
	if err != nil {
		return 0, err
	}
	if err := mb.refreshKeywords(); err != nil {
		return 0, err
	}
	return 1 << (maildirKeyword0 + i), nil
}

type mailboxStoreOp uint8

const (
	mailboxSet mailboxStoreOp = iota // replace all flags
	mailboxAdd
	mailboxRemove
)

func (op mailboxStoreOp) apply(old, flags mailboxFlags) mailboxFlags {
	switch op {
	case mailboxAdd:
		return old | flags
	case mailboxRemove:
		return old &^ flags
	}
	return flags
}

// mailboxFlagChange is a change of flags, of those among may only.
type mailboxFlagChange struct {
	op         mailboxStoreOp
	flags, may mailboxFlags
}

func (c mailboxFlagChange) apply(old mailboxFlags) mailboxFlags {
	return old&^c.may | c.op.apply(old, c.flags)&c.may
}

// refused tells whether there is nothing among the flags that may be changed (RFC 4314, section 4).
func (c mailboxFlagChange) refused() bool {
	return c.may == 0 || c.flags != 0 && c.flags&c.may == 0
}

// store changes flags. Messages changed since unchangedSince (0: no condition) are
// left alone and given back as modified (RFC 7162, section 3.1.3). With silent this
// session's next sync does not tell its own changes. Messages that are gone are skipped.
// Flags without a right are left as they are. The new names are not synced: a power cut may undo a change of flags.
func (v *mailboxView) store(uids []uint32, op mailboxStoreOp, flags mailboxFlags, silent bool, unchangedSince uint64) (modified []uint32, err error) {
	if v.only {
		return nil, errMailboxReadOnly
	}
	change := mailboxFlagChange{op, flags, v.rights().flags()}
	if change.refused() {
		return nil, errMailboxRights
	}
	err = v.locked(func() (err error) {
		mb := v.mb
		var targets, news []uint32 // news: what others did to them has not been told yet
		v.each(uids, func(r *mailboxRecord) {
			switch {
			case unchangedSince != 0 && r.modSeq > unchangedSince:
				modified = append(modified, r.uid)
			case change.apply(mb.publicFlags(r.flags)) == mb.publicFlags(r.flags):
			case silent && r.modSeq > v.told && !slices.Contains(v.quiet, r.modSeq):
				news = append(news, r.uid)
			default:
				targets = append(targets, r.uid)
			}
		})
		if len(targets)+len(news) == 0 {
			return nil
		}
		return mb.renaming(func() error {
			if len(news) > 0 { // a mod-sequence of their own, which is not silent (RFC 9051, section 6.4.6)
				if _, err := mb.setAllFlags(news, change); err != nil {
					return err
				}
			}
			if len(targets) == 0 {
				return nil
			}
			modSeq, err := mb.setAllFlags(targets, change)
			if silent {
				v.quiet = append(v.quiet, modSeq)
			}
			return err
		})
	})
	return modified, err
}

// mailboxMany is from how many messages on a change of their files pays for preparations.
const mailboxMany = 16

// changesMany is called before n files are changed, and what it gives after that. The
// directories are looked at later then, for what others have done.
func (mb *mailbox) changesMany(n int) (done func()) {
	if n < mailboxMany || mb.held != nil {
		return func() {}
	}
	resume := mb.st.watcher.pause(mb)
	held, err := mb.md.hold()
	if err != nil {
		return resume // it goes by paths
	}
	mb.held = held
	return func() {
		mb.held = nil
		held.close()
		resume()
	}
}

// rename is maildir.rename.
func (mb *mailbox) rename(name string, cur bool, to string) error {
	if mb.held != nil {
		return mb.held.rename(name, cur, to)
	}
	return mb.md.rename(name, cur, to)
}

// unlink is maildir.remove.
func (mb *mailbox) unlink(name string, cur bool) error {
	if mb.held != nil {
		return mb.held.remove(name, cur)
	}
	return mb.md.remove(name, cur)
}

// setAllFlags renames files, and gives the mod-sequence of the change.
func (mb *mailbox) setAllFlags(uids []uint32, change mailboxFlagChange) (modSeq uint64, err error) {
	defer mb.changesMany(len(uids))()
	modSeq = mb.nextModSeq()
	changes := false
	for _, uid := range uids {
		changed, err := mb.setFlags(uid, change, modSeq)
		if changes = changes || changed; err != nil {
			mb.absorb()
			return modSeq, err
		}
	}
	if changes {
		mb.absorb()
	}
	return modSeq, nil
}

// setFlags renames one message's file. A message still in new/ moves to cur/, for
// only names there can have flags.
func (mb *mailbox) setFlags(uid uint32, change mailboxFlagChange, modSeq uint64) (changed bool, err error) {
	err = mb.withFile(uid, func(r *mailboxRecord) error {
		old := mb.publicFlags(r.flags)
		want := change.apply(old)
		if want == old {
			return nil
		}
		name := mb.fileName(r)
		base, _, letters, _ := maildirParse(name)
		to := mb.md.fileName(base, mb.fileFlags(want), letters)
		if err := mb.rename(name, r.inCur(), to); err != nil {
			return err
		}
		if !r.inCur() {
			mb.newUnsynced = true
		}
		mb.setName(r, to, true)
		if r.modSeq > modSeq { // another program changed it just now, which is told, too
			modSeq = mb.nextModSeq()
		}
		mb.change(r, modSeq)
		changed = true
		return nil
	})
	if errors.Is(err, errMailboxExpunged) {
		return changed, nil
	}
	return changed, err
}

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

// mailboxCopied pairs the UIDs of COPYUID (RFC 4315, section 3).
type mailboxCopied struct {
	uidValidity uint32
	from, to    []uint32
}

// copy copies messages with dates, and flags as far as there are rights, to another folder,
// durably, all or none. Messages that are gone are left out. errMailboxNotFound if
// there is no such folder.
func (v *mailboxView) copy(uids []uint32, to string) (mailboxCopied, error) {
	return v.transfer(uids, to, false)
}

// move is copy, and then removes the messages here. A power cut leaves a
// message in one of the two folders or in both, never in none.
func (v *mailboxView) move(uids []uint32, to string) (mailboxCopied, error) {
	if err := v.need(mailboxRightDeleted | mailboxRightExpunge); err != nil { // RFC 6851, section 4.2
		return mailboxCopied{}, err
	}
	return v.transfer(uids, to, true)
}

func (v *mailboxView) transfer(uids []uint32, to string, move bool) (copied mailboxCopied, err error) {
	dst, may, err := v.target(to)
	if err != nil {
		return copied, err
	}
	v.mb.st.hold(dst)
	defer v.mb.st.release(dst)
	if !move || dst.tree != v.mb.tree { // within a user's folders, mail that is moved takes no more
		sum, err := v.diskSizes(uids)
		if err == nil {
			err = dst.tree.room(sum.bytes, sum.messages)
		}
		if err != nil {
			return copied, err
		}
	}
	if dst == v.mb {
		err = v.locked(func() error { return v.transferLocked(uids, dst, may, move, &copied) })
		return copied, err
	}
	// Both are locked, always in the same order, so that nobody sees half of it.
	inner := func() error { return v.transferLocked(uids, dst, may, move, &copied) }
	if dst.md.path < v.mb.md.path {
		err = dst.lockedBy(nil, v.by, func() error { return v.locked(inner) })
	} else {
		err = v.locked(func() error { return dst.lockedBy(nil, v.by, inner) })
	}
	return copied, err
}

// target gives the folder that messages are to go to, and the flags that they may have there.
func (v *mailboxView) target(to string) (dst *mailbox, may mailboxFlags, err error) {
	if v.who == nil {
		dst, err = v.mb.tree.mailbox(to)
		return dst, mailboxRightsAll.flags(), err
	}
	dst, rights, err := v.who.find(to, mailboxRightInsert)
	return dst, rights.flags(), err
}

// transferLocked has both mailboxes locked and refreshed. While it holds the
// other folder's uidlist lock, no program gives UIDs to the files it makes.
func (v *mailboxView) transferLocked(uids []uint32, dst *mailbox, may mailboxFlags, move bool, copied *mailboxCopied) error {
	src := v.mb
	if src != dst { // two programs that wait for each other's other lock would do so for long
		src.rescans = true
		defer func() { src.rescans = false }()
	}
	if _, err := dst.translateFlags(src, uids, v, may); err != nil {
		return err
	}
	defer dst.changesMany(len(uids))()
	if move {
		defer src.changesMany(len(uids))()
	}
	return dst.arrive(func(a *mailboxArrival) error {
		for _, uid := range uids {
			err := src.withFile(uid, func(r *mailboxRecord) error { return a.bring(src, r, may, move) })
			if errors.Is(err, errMailboxExpunged) {
				continue
			} else if err != nil {
				return err
			}
			copied.from = append(copied.from, uid)
			if v.copied != nil {
				v.copied()
			}
		}
		return nil
	}, func(a *mailboxArrival) error {
		copied.uidValidity = dst.list.validity
		for _, line := range a.lines {
			copied.to = append(copied.to, line.uid)
		}
		if !move {
			return nil
		}
		return src.movedAway(copied.from)
	})
}

// translateFlags sees to it that dst has a letter for every keyword that the
// messages use; with a full table, the keywords that have no place are left out.
func (dst *mailbox) translateFlags(src *mailbox, uids []uint32, v *mailboxView, may mailboxFlags) (flags mailboxFlags, err error) {
	if dst == src {
		return 0, nil
	}
	v.each(uids, func(r *mailboxRecord) { flags |= mailboxFlags(r.flags) & may })
	for i, name := range src.keywords {
		if name == "" || flags&(1<<(maildirKeyword0+i)) == 0 {
			continue
		}
		if _, err := dst.keywordBit(name, true); err != nil && !errors.Is(err, errMaildirKeywordsFull) {
			return 0, err
		}
	}
	return flags, nil
}

// translate gives a message's flags in another folder's letters.
func (dst *mailbox) translate(src *mailbox, flags maildirFlags) maildirFlags {
	if dst == src || flags>>maildirKeyword0 == 0 {
		return flags
	}
	out := flags & maildirFlags(mailboxSystemFlags)
	for i, name := range src.keywords {
		if flags&(1<<(maildirKeyword0+i)) != 0 {
			bit, _ := dst.keywordBit(name, false) // not adding, it cannot fail
			out |= bit
		}
	}
	return out
}

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
