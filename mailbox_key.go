package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Access keys (RFC 4467): who has one for a folder can say who else may read a message there. A user has one of one's own for
// each folder, whoever the folder belongs to.

// visit gives what a user sees, for others whom that user has authorized. It makes no folders. errMailboxNotFound if there
// are none.
func (st *mailboxStore) visit(user string, sharing mailboxSharing) (*mailboxAccess, error) {
	t, err := st.treeOf(user)
	if err != nil {
		return nil, err
	}
	return &mailboxAccess{own: t, st: st, user: user, sharing: sharing}, nil
}

// clock is the time, zero while it is not believed.
func (a *mailboxAccess) clock() time.Time { return a.st.now() }

// accessKey gives the user's key for a folder, nil if there is none.
func (a *mailboxAccess) accessKey(name string) ([]byte, error) {
	mb, _, err := a.find(name, mailboxRightRead)
	if err != nil {
		return nil, err
	}
	list, err := maildirKeys(mb.md.path)
	if err != nil {
		return nil, mb.failed(fmt.Errorf("reading access keys: %w", err))
	}
	return mailboxKeyOf(list, a.user, mb.name), nil
}

func mailboxKeyOf(list []maildirKey, user, folder string) []byte {
	for _, k := range list {
		if k.user == user && k.folder == folder {
			return k.key
		}
	}
	return nil
}

// makeAccessKey gives the user's key for a folder. If there is none, or another is wanted, a new one is made.
func (a *mailboxAccess) makeAccessKey(name string, another bool) (key []byte, err error) {
	mb, _, err := a.find(name, mailboxRightRead)
	if err != nil {
		return nil, err
	}
	t := mb.tree
	t.mu.Lock()
	defer t.mu.Unlock() // the folder keeps its name meanwhile
	if mb, err = t.mailbox(mb.name); err != nil {
		return nil, err
	}
	err = maildirChangeKeys(mb.md.path, func(list []maildirKey) []maildirKey {
		if key = mailboxKeyOf(list, a.user, mb.name); key != nil && !another {
			return list
		}
		key = make([]byte, 32)
		rand.Read(key) // never fails
		list = slices.DeleteFunc(list, func(k maildirKey) bool { return k.user == a.user })
		return append(list, maildirKey{a.user, mb.name, key})
	})
	return key, mb.failed(err)
}

// dropAccessKeys takes all keys of the user away, those for others' folders that the user may not see any more included.
func (a *mailboxAccess) dropAccessKeys() error {
	users := []string{a.user}
	if a.sharing.word != "" {
		others, err := a.sharing.users()
		if err != nil {
			return err
		}
		users = append(users, others...)
	}
	for _, user := range users {
		t, err := a.st.treeOf(user)
		if err == nil {
			err = t.dropAccessKeys(a.user)
		}
		if err != nil && !errors.Is(err, errMailboxNotFound) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing access keys: %w", err)
		}
	}
	return nil
}

// dropAccessKeys takes a user's keys for these folders away.
func (t *mailboxTree) dropAccessKeys(user string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dirs, err := maildirFolders(t.root)
	if err != nil {
		return err
	}
	for _, dir := range append([]string{""}, dirs...) {
		path := filepath.Join(t.root, dir)
		if !maildirHasKeys(path) {
			continue
		}
		err := maildirChangeKeys(path, func(list []maildirKey) []maildirKey {
			return slices.DeleteFunc(list, func(k maildirKey) bool { return k.user == user })
		})
		if err != nil {
			return mailboxError(err)
		}
	}
	return nil
}
