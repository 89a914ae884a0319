package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// mailboxStorage is what one folder takes on the disk.
type mailboxStorage struct {
	name, use       string // see mailboxFolder
	messages, bytes int64
}

// storage tells what a user's folders take. It opens none of them, and makes none: a user who was
// never here has none.
func (st *mailboxStore) storage(user string) ([]mailboxStorage, error) {
	if _, err := os.Stat(filepath.Join(st.root, user)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	t, err := st.tree(user)
	if err != nil {
		return nil, err
	}
	folders, err := t.folders()
	if err != nil {
		return nil, err
	}
	var list []mailboxStorage
	for _, f := range folders {
		if !f.selectable {
			continue
		}
		var totals maildirTotals
		for _, sub := range []string{"new", "cur"} {
			if err := maildirCountIn(filepath.Join(t.root, mailboxDir(f.name), sub), &totals); err != nil {
				return nil, err
			}
		}
		list = append(list, mailboxStorage{f.name, f.use, totals.messages, totals.bytes})
	}
	return list, nil
}

// mailboxUse tells how much mail lies below a user's directory, and makes nothing.
func mailboxUse(root string) (used mailboxQuota, err error) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return used, nil
	}
	totals, _, err := maildirCountAll(root)
	return mailboxQuota(totals), err
}

// loaded tells how many mailboxes are in memory, and their messages.
func (st *mailboxStore) loaded() (mailboxes, messages int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, mb := range st.folders {
		if n := int(mb.count.Load()); n > 0 {
			mailboxes++
			messages += n
		}
	}
	return mailboxes, messages
}
