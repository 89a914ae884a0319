package main

import (
	"errors"
	"slices"
)

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
