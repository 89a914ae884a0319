package main

// Identifiers that outlast UIDs (RFC 8474): a folder's is field G of its uidlist, a message's
// comes from its base name, and a copy's name says which one it was copied from.

// objectID names the folder for good: 32 hex digits, which go with it when it is renamed. A
// list of another program's that has none gets one, which is on the disk before it is told.
func (v *mailboxView) objectID() (id string, err error) {
	err = v.locked(func() (err error) { id, err = v.mb.objectID(); return err })
	return id, err
}

// objectID is mailboxView.objectID of a folder by its name.
func (t *mailboxTree) objectID(name string) (id string, err error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return "", err
	}
	t.st.hold(mb)
	defer t.st.release(mb)
	err = mb.locked(nil, func() (err error) { id, err = mb.objectID(); return err })
	return id, err
}

func (mb *mailbox) objectID() (string, error) {
	if mb.list.guid != "" {
		return mb.list.guid, nil
	}
	epoch := mb.epoch
	err := mb.withLock(func(lock *maildirUidlistLock) error {
		if err := mb.readList(); err != nil || mb.epoch != epoch || mb.list.guid != "" {
			return err
		}
		return lock.rewrite(mb.list, func(uint32, string) bool { return true }, nil)
	})
	if err == nil && mb.epoch != epoch {
		err = errMailboxGone
	}
	if err != nil {
		return "", err
	}
	return mb.list.guid, nil
}

// contentID names a message's content, the same for all its copies.
func (v *mailboxView) contentID(uid uint32) (id string, err error) {
	err = v.record(uid, func(r *mailboxRecord) error { id = maildirOrigin(v.mb.base(r)); return nil })
	return id, err
}
