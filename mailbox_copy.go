package main

import "errors"

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
