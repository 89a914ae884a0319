package main

import (
	"errors"
	"log/slog"
	"os"
	"time"
)

// The mailbox room: a user's folders, and open mailboxes shared by the sessions
// of all protocols. See mailbox_tree.go and mailbox_view.go. It knows no protocol
// and not how a flag is spelt in a file name.
//
// Folder names here are UTF-8 with "/" between parts; "INBOX" is the user's root.

var (
	errMailboxNotFound = errors.New("no such folder")
	errMailboxExists   = errors.New("the folder exists already")
	errMailboxName     = errors.New("this name cannot be a folder's") // wraps the reason
	errMailboxGone     = errors.New("the folder was deleted or renamed")
	errMailboxReadOnly = errors.New("the folder was opened read-only")
	errMailboxFull     = errors.New("no space left")    // ENOSPC, EDQUOT
	errMailboxKeywords = errors.New("no more keywords") // the 27th
	errMailboxExpunged = errors.New("the message is gone")
)

// mailboxStore has all users' mail. It outlives sessions.
type mailboxStore struct{}

// mailboxSettings is what a store needs to know.
type mailboxSettings struct {
	root  string           // directory of the users' Maildirs
	now   func() time.Time // the clock; zero time while it is not believed
	log   *slog.Logger
	watch bool // use inotify where there is one; else poll every 30 s
}

func newMailboxStore(settings mailboxSettings) (*mailboxStore, error) { panic("stub") }
func (st *mailboxStore) close()                                       { panic("stub") }

// tree gives a user's folders; the first call makes the Maildir and Drafts, Sent,
// Trash, Junk, Archive. user is a canonical name that auth knows.
func (st *mailboxStore) tree(user string) (*mailboxTree, error) { panic("stub") }

// mailboxTree is one user's folders. Safe for concurrent use.
type mailboxTree struct{}

// mailboxFolder is what LIST tells of one folder.
type mailboxFolder struct {
	name       string
	selectable bool   // false: only a parent of others ("a" where only "a/b" exists)
	use        string // special use without backslash: "Drafts", "Sent", "Trash", "Junk", "Archive", or ""
}

// folders lists all, INBOX first, the others sorted; parents that do not
// exist themselves are in it with selectable false.
func (t *mailboxTree) folders() ([]mailboxFolder, error)    { panic("stub") }
func (t *mailboxTree) subscriptions() ([]string, error)     { panic("stub") } // names that may no longer exist included
func (t *mailboxTree) subscribe(name string, on bool) error { panic("stub") }

// create makes a folder (and none of its parents); use is a special use or "".
func (t *mailboxTree) create(name, use string) error { panic("stub") }

// delete removes a folder with its mail; its children stay.
func (t *mailboxTree) delete(name string) error { panic("stub") }

// rename moves a folder and those below it. INBOX's messages are moved to the
// new folder, INBOX stays (RFC 9051, section 6.3.6).
func (t *mailboxTree) rename(from, to string) error { panic("stub") }

// special gives the folder that has this special use ("Trash"), made if need be.
func (t *mailboxTree) special(use string) (string, error) { panic("stub") }

// mailboxStatus is what STATUS tells. Counting moves nothing from new/ to cur/.
type mailboxStatus struct {
	messages, recent, unseen, deleted int
	uidNext, uidValidity              uint32
	modSeq                            uint64
	size                              int64  // wire sizes summed; only if asked for
	guid                              string // 32 hex digits, for MAILBOXID
}

func (t *mailboxTree) status(name string, size bool) (mailboxStatus, error) { panic("stub") }

// view opens a folder for one session. notify is called, from any goroutine and
// with no lock held, when there is something to tell; it must return at once
// (conn.wake); nil if the session does not care. readOnly views change nothing.
func (t *mailboxTree) view(name string, readOnly bool, notify func()) (*mailboxView, error) {
	panic("stub")
}

// mailboxFlags are a message's flags: system flags, and keywords by number in
// the folder's list of keywords.
type mailboxFlags uint32

const (
	mailboxFlagDraft     mailboxFlags = 1 << iota // \Draft
	mailboxFlagFlagged                            // \Flagged
	mailboxFlagForwarded                          // $Forwarded
	mailboxFlagAnswered                           // \Answered
	mailboxFlagSeen                               // \Seen
	mailboxFlagDeleted                            // \Deleted
	mailboxKeyword0      = 6                      // the bit of keyword number 0
)

// mailboxMessage is a copy of what is known of one message without opening it.
type mailboxMessage struct {
	uid    uint32
	flags  mailboxFlags
	modSeq uint64
	recent bool // to this session
}

// mailboxView is one session's view of an open mailbox: its numbering, which
// moves only in sync. One goroutine uses it.
type mailboxView struct{}

func (v *mailboxView) close()              { panic("stub") }
func (v *mailboxView) readOnly() bool      { panic("stub") }
func (v *mailboxView) uidValidity() uint32 { panic("stub") }
func (v *mailboxView) uidNext() uint32     { panic("stub") }
func (v *mailboxView) guid() string        { panic("stub") }

// uids are this session's messages: message n is uids()[n-1]. Not to be changed.
func (v *mailboxView) uids() []uint32 { panic("stub") }

// mailboxChanges is what a session must be told after sync, in this order.
type mailboxChanges struct {
	expunged []uint32 // UIDs, ascending, no longer in the view
	numbers  []uint32 // the sequence number of each at its turn (numbers already shifted by those before)
	exists   bool     // the number of messages is to be told again: len(uids())
	recent   int      // number of messages recent to this session
	changed  []uint32 // UIDs whose flags changed, other than by this session silently
}

// sync looks for what other sessions and programs did and moves the numbering.
// With expunges false, messages that are gone keep their numbers for now. A view
// that is not read-only takes new mail: it goes to cur/ and is recent to it.
func (v *mailboxView) sync(expunges bool) (mailboxChanges, error) { panic("stub") }

// keywords are the folder's keywords by number ("" where there is none).
func (v *mailboxView) keywords() []string { panic("stub") }

// flags gives the bits of keyword names, adding those the folder does not have
// yet; errMailboxKeywords when there is no room.
func (v *mailboxView) keywordFlags(names []string) (mailboxFlags, error) { panic("stub") }
func (v *mailboxView) keywordsFull() bool                                { panic("stub") }

// messages gives those of uids (ascending) that still exist, by copy.
func (v *mailboxView) messages(uids []uint32) []mailboxMessage { panic("stub") }

// size is RFC822.SIZE, date INTERNALDATE; they may open or stat the file.
func (v *mailboxView) size(uid uint32) (int64, error)     { panic("stub") }
func (v *mailboxView) date(uid uint32) (time.Time, error) { panic("stub") }

// open opens a message's file for reading. errMailboxExpunged if it is gone.
func (v *mailboxView) open(uid uint32) (*os.File, error) { panic("stub") }

// summary gives what the store keeps of a message's content, reading it if need be.
func (v *mailboxView) summary(uid uint32) (*messageSummary, error) { panic("stub") }

// popUIDL is the UIDL another server gave (uidlist field P), "" if none;
// fileBase is the file's name without its info.
func (v *mailboxView) popUIDL(uid uint32) string  { panic("stub") }
func (v *mailboxView) fileBase(uid uint32) string { panic("stub") }

type mailboxStoreOp int

const (
	mailboxSet mailboxStoreOp = iota // replace all flags
	mailboxAdd
	mailboxRemove
)

// store changes flags. Messages changed since unchangedSince (0: no condition)
// are left alone and given back as modified. With silent this session's next sync does not tell
// its own changes. Messages that are gone are skipped.
func (v *mailboxView) store(uids []uint32, op mailboxStoreOp, flags mailboxFlags, silent bool, unchangedSince uint64) (modified []uint32, err error) {
	panic("stub")
}

// expunge removes those of uids that are \Deleted now (nil: all that are), and
// is durable when it returns. The session hears of it in sync.
func (v *mailboxView) expunge(uids []uint32) error { panic("stub") }

// remove removes messages whatever their flags (POP3's QUIT).
func (v *mailboxView) remove(uids []uint32) error { panic("stub") }

// mailboxCopied pairs the UIDs of COPYUID.
type mailboxCopied struct {
	uidValidity uint32
	from, to    []uint32
}

// copy copies messages with flags and dates to another folder of the same user,
// durably, all or none; move also removes them here. Messages that are gone are left out.
func (v *mailboxView) copy(uids []uint32, to string) (mailboxCopied, error) { panic("stub") }
func (v *mailboxView) move(uids []uint32, to string) (mailboxCopied, error) { panic("stub") }

// mailboxDraft is a message on its way into a folder (states D1 to D5, see
// maildir_deliver.go).
type mailboxDraft struct{}

// draft begins a message. It may be given up at any time by abort.
func (t *mailboxTree) draft(name string) (*mailboxDraft, error) { panic("stub") }
func (d *mailboxDraft) Write(p []byte) (int, error)             { panic("stub") }

// finish ends writing (D3): the file has its date and is synced.
func (d *mailboxDraft) finish(date time.Time) error { panic("stub") }

// linkTo gives another folder (of any user) the same finished message, at D3.
func (d *mailboxDraft) linkTo(t *mailboxTree, name string) (*mailboxDraft, error) { panic("stub") }
func (d *mailboxDraft) abort()                                                    { panic("stub") }

// mailboxDeliver brings finished drafts to new/ (D4) and makes that durable (D5);
// sessions are woken. One error a draft; a failed one is gone without a trace.
func mailboxDeliver(drafts []*mailboxDraft) []error { panic("stub") }

// mailboxAppend brings finished drafts, all for one folder, in with flags and
// keywords, all or none, and gives their UIDs.
type mailboxAppendFlags struct {
	flags    mailboxFlags // system flags
	keywords []string
}

func mailboxAppend(drafts []*mailboxDraft, flags []mailboxAppendFlags) (uidValidity uint32, uids []uint32, err error) {
	panic("stub")
}
