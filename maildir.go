package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The maildir room is one folder on disk: tmp/, new/ and cur/, the files' names,
// the side files beside them in Dovecot's formats, and what it takes to make all
// that durable. It knows no session and no protocol, and keeps nothing in memory
// about the messages: that is the mailbox room's.
//
//	maildir.go            the folder: open, create, scan; files: open, rename, link
//	maildir_name.go       what a file's name says
//	maildir_deliver.go    the states D1 to D5 of a message on its way in
//	maildir_sync.go       callers that share one fsync of a directory
//	maildir_lock.go       Dovecot's lock files, and when one is stale
//	maildir_uidlist*.go   dovecot-uidlist
//	maildir_keywords.go   dovecot-keywords
//	maildir_root.go       a user's root: folders, subscriptions
//	maildir_acl.go        dovecot-acl
//	maildir_validity.go   dovecot-uidvalidity
//	maildir_scan_*.go     the names in a directory
//	maildir_index.go      letterbox.index and letterbox.index.text
//	maildir_sweep.go      what crashed programs leave behind

// maildir is one folder. It is safe for concurrent use.
type maildir struct {
	path string // the directory that holds cur, new, tmp

	info     atomic.Uint32 // the info separator once it is known, else 0
	newSyncs maildirSyncGroup
	curSyncs maildirSyncGroup
}

// maildirFlags are a message's flags as its file name has them: the low bits are
// the letters below, bit maildirKeyword0+n is keyword n (letter 'a'+n).
type maildirFlags uint32

const (
	maildirFlagDraft   maildirFlags = 1 << iota // D
	maildirFlagFlagged                          // F
	maildirFlagPassed                           // P: forwarded, resent or bounced
	maildirFlagReplied                          // R
	maildirFlagSeen                             // S
	maildirFlagTrashed                          // T: deleted, not yet expunged
	maildirKeyword0    = 6                      // the bit of keyword 'a'
	maildirKeywords    = 26
)

const (
	maildirDirMode  = 0o700 // mail is its owner's alone
	maildirFileMode = 0o600
)

var (
	errMaildirLocked       = errors.New("locked by another program")
	errMaildirKeywordsFull = errors.New("all 26 keyword letters are taken")
	errMaildirUidlist      = errors.New("dovecot-uidlist is broken")
)

// maildirOpen opens an existing folder and writes nothing.
func maildirOpen(path string) (*maildir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	return &maildir{path: path}, nil
}

// maildirCreate makes a folder and makes it durable; a folder below a root also
// gets a file maildirfolder. An existing one is completed.
func maildirCreate(path string, root bool) error {
	settled := true
	if root {
		// That file is written last, so what came before it is on disk.
		_, err := os.Stat(filepath.Join(path, maildirSpecialName))
		settled = err == nil
		if err := fileMakeAll(filepath.Dir(path), maildirDirMode); err != nil {
			return err
		}
	}
	changed := false
	for _, dir := range []string{"", "tmp", "new", "cur"} {
		switch err := os.Mkdir(filepath.Join(path, dir), maildirDirMode); {
		case err == nil:
			changed = true
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	if !root {
		// The file tells Courier and Maildir++ tools whose folder this is.
		f, err := fileCreate(filepath.Join(path, maildirFolderName), maildirFileMode)
		if err == nil {
			changed = true
			err = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if !changed && settled {
		return nil
	}
	if err := syncDir(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// dir is the path of new/ or cur/, with a slash.
func (md *maildir) dir(cur bool) string {
	if cur {
		return md.path + "/cur/"
	}
	return md.path + "/new/"
}

func (md *maildir) tmp(name string) string { return md.path + "/tmp/" + name }

// scan calls f for each message file of new/ and then, if cur, of cur/. A file
// that is renamed meanwhile may be missed, or seen twice. name is valid only during the call.
func (md *maildir) scan(cur bool, f func(name string, cur bool)) error {
	if err := md.scanDir(false, f); err != nil || !cur {
		return err
	}
	return md.scanDir(true, f)
}

func (md *maildir) scanDir(cur bool, f func(name string, cur bool)) error {
	return maildirEachName(md.dir(cur), func(name string) { f(name, cur) })
}

// stamp gives the modification times of new/ and cur/. If one of them is not
// there it is made; os.ErrNotExist if the folder is not.
func (md *maildir) stamp() (newTime, curTime time.Time, err error) {
	if newTime, err = md.stampDir(false); err == nil {
		curTime, err = md.stampDir(true)
	}
	return newTime, curTime, err
}

// inodes tells new/ and cur/ from others that were made in their place. 0 where that
// cannot be known.
func (md *maildir) inodes() (newInode, curInode uint64) {
	var st unix.Stat_t
	if unix.Stat(md.dir(false), &st) == nil {
		newInode = uint64(st.Ino)
	}
	if unix.Stat(md.dir(true), &st) == nil {
		curInode = uint64(st.Ino)
	}
	return newInode, curInode
}

func (md *maildir) stampDir(cur bool) (time.Time, error) {
	var st unix.Stat_t
	err := unix.Stat(md.dir(cur), &st)
	if err == unix.ENOENT {
		if err := os.Mkdir(md.dir(cur), maildirDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return time.Time{}, err
		}
		err = unix.Stat(md.dir(cur), &st)
	}
	if err != nil {
		return time.Time{}, &fs.PathError{Op: "stat", Path: md.dir(cur), Err: err}
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// open opens a message file. os.ErrNotExist if another program has renamed or
// removed it.
func (md *maildir) open(name string, cur bool) (*os.File, error) { return fileOpen(md.dir(cur) + name) }

// statFile tells a message file's size and time. os.ErrNotExist as with open.
func (md *maildir) statFile(name string, cur bool) (os.FileInfo, error) {
	return os.Stat(md.dir(cur) + name)
}

// rename moves a file to cur/ under another info. It does not sync.
func (md *maildir) rename(name string, cur bool, to string) error {
	return fileRename(md.dir(cur)+name, md.dir(true)+to)
}

// remove unlinks a file. It does not sync.
func (md *maildir) remove(name string, cur bool) error { return os.Remove(md.dir(cur) + name) }

// maildirHeld is a folder whose directories are open: who renames or removes many files has
// them looked up once.
type maildirHeld struct{ newDir, curDir *os.File }

// hold opens the directories. They are to be closed.
func (md *maildir) hold() (*maildirHeld, error) {
	newDir, err := fileOpen(md.dir(false))
	if err != nil {
		return nil, err
	}
	curDir, err := fileOpen(md.dir(true))
	if err != nil {
		newDir.Close()
		return nil, err
	}
	return &maildirHeld{newDir, curDir}, nil
}

func (h *maildirHeld) close() {
	h.newDir.Close()
	h.curDir.Close()
}

func (h *maildirHeld) dir(cur bool) int {
	if cur {
		return int(h.curDir.Fd())
	}
	return int(h.newDir.Fd())
}

// rename is maildir.rename.
func (h *maildirHeld) rename(name string, cur bool, to string) error {
	return fileRenameAt(h.dir(cur), name, h.dir(true), to)
}

// remove is maildir.remove.
func (h *maildirHeld) remove(name string, cur bool) error {
	for {
		err := unix.Unlinkat(h.dir(cur), name, 0)
		if err == nil {
			return nil
		} else if err != unix.EINTR { // which a file system on the network may say
			return &os.PathError{Op: "unlinkat", Path: name, Err: err}
		}
	}
}

// linkInto puts a message of this folder into to's cur/ (or new/) as toName: by
// hard link where the file system allows, else by a synced copy. It syncs no
// directory.
func (md *maildir) linkInto(name string, cur bool, to *maildir, toName string, toCur bool) error {
	from, target := md.dir(cur)+name, to.dir(toCur)+toName
	err := fileLink(from, target)
	if !maildirNoLink(err) {
		return err
	}
	tmp := to.tmp(to.newBase())
	if err := maildirCopyFile(from, tmp); err != nil {
		return err
	}
	if err := fileRename(tmp, target); err != nil {
		os.Remove(tmp) // else the sweep finds it
		return err
	}
	return nil
}

// moveInto is linkInto and remove in one: by rename where the file system allows.
func (md *maildir) moveInto(name string, cur bool, to *maildir, toName string, toCur bool) error {
	err := fileRename(md.dir(cur)+name, to.dir(toCur)+toName)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	if err := md.linkInto(name, cur, to, toName, toCur); err != nil {
		return err
	}
	return md.remove(name, cur)
}

// maildirNoLink tells whether a hard link failed because it cannot be made here.
func maildirNoLink(err error) bool {
	for _, reason := range []error{syscall.EXDEV, syscall.EPERM, syscall.EMLINK, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// maildirCopyFile makes a synced copy with the same date. Nothing is left of it
// after an error.
func maildirCopyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := fileCreate(to, maildirFileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(to) // else the sweep finds it
		}
	}()
	defer out.Close()
	if err = fileStep("write", to); err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err != nil {
		return fmt.Errorf("copying a message: %w", err)
	}
	if err = os.Chtimes(to, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return fileSync(out)
}

// separator is what stands between base and info in this folder: ":" or, where
// the file system refuses that, ";". It is found by the files that are there, else
// by trying, once for each file system.
func (md *maildir) separator() byte {
	if c := md.info.Load(); c != 0 {
		return byte(c)
	}
	c := md.separatorSeen()
	if c == 0 {
		c = md.separatorTried()
	}
	md.info.Store(uint32(c))
	return c
}

// separatorSeen looks at some files in cur/; 0 if they don't tell.
func (md *maildir) separatorSeen() byte {
	d, err := os.Open(md.dir(true))
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(16) // what cannot be read tells nothing
	for _, name := range names {
		if i := strings.LastIndex(name, "2,"); i > 0 && (name[i-1] == ':' || name[i-1] == ';') {
			return name[i-1]
		}
	}
	return 0
}

var maildirSeparators sync.Map // by device: byte

func (md *maildir) separatorTried() byte {
	var st unix.Stat_t
	device := any("unknown")
	if unix.Stat(md.path, &st) == nil {
		device = uint64(st.Dev)
	}
	if c, ok := maildirSeparators.Load(device); ok {
		return c.(byte)
	}
	name := md.tmp(md.newBase() + ":2,")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, maildirFileMode)
	if err == nil {
		f.Close()
		os.Remove(name)
	}
	c := byte(':')
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EILSEQ), errors.Is(err, syscall.EPROTO), errors.Is(err, syscall.EIO):
		c = ';' // FAT and exFAT say EINVAL, others differ
	case err != nil:
		return c // a full disk says nothing about names; ask again
	}
	maildirSeparators.Store(device, c)
	return c
}
