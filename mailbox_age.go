package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// Since when messages are in their folders, for mail that expires.

// mailboxPopHidden and mailboxPopMoved are the keywords of messages that a POP3 client has deleted: they stay in INBOX, and
// POP3 does not list them; or they went to another folder.
const (
	mailboxPopHidden = "$POP3Deleted"
	mailboxPopMoved  = "$POP3Moved"
)

// hasMail tells whether a user has a Maildir already. It makes none.
func (st *mailboxStore) hasMail(user string) bool {
	_, err := os.Stat(filepath.Join(st.root, user))
	return err == nil
}

// since is when a folder got its name: what is in it came there no earlier. Zero if nobody knows. A time that is still to come is of a
// clock that was not right, and is made now.
func (t *mailboxTree) since(folder string, now time.Time) (time.Time, error) {
	path := filepath.Join(t.root, mailboxDir(folder))
	since, err := maildirSince(path)
	if err == nil && since.After(now) {
		since, err = now, maildirSetSince(path, now)
	}
	return since, mailboxError(err)
}

// mailboxCheckSince is since, and changes nothing.
func mailboxCheckSince(root, folder string, now time.Time) (time.Time, error) {
	since, err := maildirSince(filepath.Join(root, mailboxDir(folder)))
	if since.After(now) {
		since = now
	}
	return since, err
}

// mailboxCheckFolders lists the folders in a user's directory, which need not be there, and makes none.
func mailboxCheckFolders(root string) ([]mailboxFolder, error) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return (&mailboxTree{root: root}).folders()
}

// mailboxAge is since when a message is in its folder.
type mailboxAge struct {
	uid    uint32 // 0: it has none yet
	at     time.Time
	marked bool // it has one of the keywords that were asked for
}

// mailboxCheckAges gives the messages of a folder in the order in which they came, by what their files are called. It changes
// nothing, and opens no message.
func mailboxCheckAges(root, folder string, keywords []string) (ages []mailboxAge, err error) {
	md, err := maildirOpen(filepath.Join(root, mailboxDir(folder)))
	if err != nil {
		return nil, err
	}
	uids := map[string]uint32{}
	_, _, err = md.readUidlist(nil, func(uid uint32, _, base string) { uids[strings.Clone(base)] = uid })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names, _, _, err := md.readKeywords(time.Time{})
	if err != nil {
		return nil, err
	}
	var marks maildirFlags
	for i, name := range names {
		if slices.ContainsFunc(keywords, func(k string) bool { return mailboxSameKeyword(k, name) }) {
			marks |= 1 << (maildirKeyword0 + i)
		}
	}
	for _, cur := range []bool{false, true} {
		var odd []string
		add := func(name string, at time.Time) {
			base, flags, _, _ := maildirParse(name)
			ages = append(ages, mailboxAge{uids[base], at, flags&marks != 0})
		}
		err := md.scanDir(cur, func(name string, _ bool) {
			base, _, _, _ := maildirParse(name)
			if seconds, _ := maildirTime(base); seconds < 1<<40 {
				add(name, time.Unix(int64(seconds), 0))
			} else {
				odd = append(odd, strings.Clone(name))
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, name := range odd { // as mailboxView.saved
			if info, err := md.statFile(name, cur); err == nil {
				add(name, info.ModTime())
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	sort.SliceStable(ages, func(i, j int) bool {
		a, b := ages[i], ages[j]
		// Those without a UID will get higher ones: 0-1 is the highest.
		return a.uid-1 < b.uid-1 || a.uid == b.uid && a.at.Before(b.at)
	})
	return ages, nil
}

// warned is the level at which the user was last warned that there is little room left, in percent; 0: not.
func (t *mailboxTree) warned() (int, error) { return maildirReadWarned(t.root) }

// setWarned keeps it.
func (t *mailboxTree) setWarned(level int) error {
	return mailboxError(maildirWriteWarned(t.root, level))
}
