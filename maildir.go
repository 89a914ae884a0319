package main

import (
	"errors"
	"io"
	"os"
	"time"
)

// maildir is one folder on disk: tmp/, new/ and cur/ and its side files. It
// knows names, files and durability; it knows no session and no protocol.
type maildir struct {
	path string // the directory that holds cur, new, tmp
	// further fields as the room needs them (separator, directory sync groups, ...)
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

var (
	errMaildirLocked       = errors.New("locked by another program")
	errMaildirKeywordsFull = errors.New("all 26 keyword letters are taken")
	errMaildirUidlist      = errors.New("dovecot-uidlist is broken")
)

// --- names (maildir_name.go)

// maildirParse splits a file name. odd holds the info letters that are neither a
// flag nor a keyword ("" nearly always); canonical tells whether maildirFileName
// would give exactly this name.
func maildirParse(name string) (base string, flags maildirFlags, odd string, canonical bool) {
	panic("stub")
}

// fileName is base with its info for cur/, with this folder's separator.
func (md *maildir) fileName(base string, flags maildirFlags, odd string) string { panic("stub") }

// maildirSizes reads ,S= and ,W= from a base name; -1 where absent.
func maildirSizes(base string) (disk, wire int64) { panic("stub") }

// maildirLess orders base names by delivery: seconds, microseconds, then the name.
func maildirLess(a, b string) bool { panic("stub") }

// newBase is a fresh unique base name without sizes; withSizes adds them.
func (md *maildir) newBase() string                         { panic("stub") }
func maildirWithSizes(base string, disk, wire int64) string { panic("stub") }

// --- folder (maildir.go)

// maildirOpen opens an existing folder. Nothing is written but, once, the test
// which separator the file system takes (if no file in cur/ tells it).
func maildirOpen(path string) (*maildir, error) { panic("stub") }

// maildirCreate makes a folder and makes it durable; a folder below a root also
// gets a file maildirfolder. An existing one is completed.
func maildirCreate(path string, root bool) error { panic("stub") }

// scan calls f for each message file of new/ and then, if cur, of cur/. A file
// that is renamed meanwhile may be missed, or seen twice.
func (md *maildir) scan(cur bool, f func(name string, cur bool)) error { panic("stub") }

// stamp gives the modification times of new/ and cur/.
func (md *maildir) stamp() (newTime, curTime time.Time, err error) { panic("stub") }

// open opens a message file; stat tells its size and time. os.ErrNotExist if
// another program has renamed or removed it.
func (md *maildir) open(name string, cur bool) (*os.File, error)        { panic("stub") }
func (md *maildir) statFile(name string, cur bool) (os.FileInfo, error) { panic("stub") }

// rename moves a file to cur/ under another info; remove unlinks it. Neither syncs.
func (md *maildir) rename(name string, cur bool, to string) error { panic("stub") }
func (md *maildir) remove(name string, cur bool) error            { panic("stub") }

// linkInto and moveInto put a message of this folder into to's cur/ (or new/)
// as toName: by hard link where the file system allows, else by a synced copy;
// by rename (or copy, then remove). Neither syncs a directory.
func (md *maildir) linkInto(name string, cur bool, to *maildir, toName string, toCur bool) error {
	panic("stub")
}
func (md *maildir) moveInto(name string, cur bool, to *maildir, toName string, toCur bool) error {
	panic("stub")
}

// syncDirs makes the names in new/ and/or cur/ durable. Callers that come
// together share one fsync: a call returns after an fsync that began after it.
func (md *maildir) syncDirs(new, cur bool) error { panic("stub") }

// --- delivery (maildir_deliver.go)

// maildirDraft is a message on its way in, states D1 to D5. See maildir_deliver.go.
type maildirDraft struct {
	md         *maildir
	base       string // without sizes
	disk, wire int64  // sizes so far
}

func (md *maildir) draft() (*maildirDraft, error)                 { panic("stub") } // D1, D2 begun
func (d *maildirDraft) Write(p []byte) (int, error)               { panic("stub") } // D2
func (d *maildirDraft) sync(date time.Time) error                 { panic("stub") } // D3: mtime set, synced
func (d *maildirDraft) reader() (io.ReaderAt, error)              { panic("stub") } // what was written, until deliver
func (d *maildirDraft) linkTo(to *maildir) (*maildirDraft, error) { panic("stub") } // D3 in another folder: hard link, else synced copy
// deliver is D4: the file gets its name in new/, or in cur/ with flags. D5 is syncDirs.
func (d *maildirDraft) deliver(cur bool, flags maildirFlags) (name string, err error) { panic("stub") }
func (d *maildirDraft) abort()                                                        { panic("stub") } // the tmp file goes, whatever state

// --- dovecot-uidlist (maildir_uidlist.go)

// maildirUidlist says what a dovecot-uidlist file was when it was read last.
type maildirUidlist struct {
	validity, next uint32 // next is above every uid in the file
	guid           string // 32 hex digits
	lines          int    // lines in the file, those of expunged messages included
	// and the file's identity: inode, size, time
}

// readUidlist reads what is new since old (nil: all) and calls line for each
// line, uids ascending. whole tells that it was read from the start (another
// inode, or old was nil): what line was not called for is no longer in it. No
// lock is needed. os.ErrNotExist: there is none; errMaildirUidlist: unusable. A
// torn tail (lines cut short, NULs) after a power cut is left out, and next is
// above every uid that can be read in it.
func (md *maildir) readUidlist(old *maildirUidlist, line func(uid uint32, fields, base string)) (list *maildirUidlist, whole bool, err error) {
	panic("stub")
}

// maildirUidlistLock is dovecot-uidlist.lock, held.
type maildirUidlistLock struct{ md *maildir }

// lockUidlist waits for the lock, removes stale ones (see the design), and gives
// errMaildirLocked after some seconds. In this process, too, one holds it at a time.
func (md *maildir) lockUidlist() (*maildirUidlistLock, error) { panic("stub") }

// append adds lines at the end; list is what readUidlist gave under this lock and
// is brought up to date. The lines are not synced.
func (l *maildirUidlistLock) append(list *maildirUidlist, lines []maildirUidline) error {
	panic("stub")
}

// rewrite replaces the file by one that has the header and those old lines that
// keep says, and new lines: temporary file, sync, rename, directory sync. A version 1
// file becomes version 3 this way.
func (l *maildirUidlistLock) rewrite(list *maildirUidlist, keep func(uid uint32, base string) bool, more []maildirUidline) error {
	panic("stub")
}

// sync makes appended lines durable, the file's name included.
func (l *maildirUidlistLock) sync() error { panic("stub") }
func (l *maildirUidlistLock) unlock()     { panic("stub") }

type maildirUidline struct {
	uid    uint32
	fields string // "" or like "G6ee8... P0000", as between uid and the colon
	base   string
}

// maildirField gives the value of one field of a line, such as 'P' or 'G'.
func maildirField(fields string, letter byte) (value string, ok bool) { panic("stub") }

// --- dovecot-keywords (maildir_keywords.go)

// readKeywords gives the keywords by number ("" where none), if the file has
// changed since (zero: read); changed tells.
func (md *maildir) readKeywords(since time.Time) (names []string, stamp time.Time, changed bool, err error) {
	panic("stub")
}

// addKeyword gives the number of a keyword, adding it under the file's own lock
// and syncing if it is new. errMaildirKeywordsFull after 26.
func (md *maildir) addKeyword(name string) (int, error) { panic("stub") }

// --- a user's root (maildir_root.go)

// maildirFolders lists the folders below a root by their directory names
// (".Sent", ".Archive.2026"), sorted. Those being deleted are left out.
func maildirFolders(root string) ([]string, error) { panic("stub") }

// maildirRemoveFolder renames the folder away, syncs, then removes it;
// maildirRenameFolder renames it and syncs. Directory names as in maildirFolders.
func maildirRemoveFolder(root, dir string) error      { panic("stub") }
func maildirRenameFolder(root, from, to string) error { panic("stub") }

// maildirSubscriptions reads and maildirSubscribe changes the subscriptions file
// (Dovecot's version 2 and the older plain form): names in modified UTF-7, parts
// split by '/'. Changed under Dovecot's lock, synced.
func maildirSubscriptions(root string) ([]string, error)        { panic("stub") }
func maildirSubscribe(root, name string, subscribed bool) error { panic("stub") }

// maildirNextValidity gives a UIDVALIDITY above every one this root has given,
// kept in dovecot-uidvalidity as Dovecot does. now is the clock, or 0 if it is not
// believed.
func maildirNextValidity(root string, now time.Time) (uint32, error) { panic("stub") }

// sweep removes files in tmp/ that are older than 36 hours.
func (md *maildir) sweep(now time.Time) (removed int, err error) { panic("stub") }
