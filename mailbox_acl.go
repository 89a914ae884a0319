package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rights in folders (RFC 4314). A folder without a file of rights is its owner's alone. The
// owner may always see a folder and change its rights. Of the entries that speak of a user the most
// specific counts, as with Dovecot: one for the user before the owner's, then those for all. What any entry takes
// away is taken away (RFC 4314, section 2).
//
// A file that cannot be read, or is not understood, gives others nothing, is logged, and is never written over.

// mailboxRights is a set of rights.
type mailboxRights uint16

const (
	mailboxRightLookup  mailboxRights = 1 << iota // l
	mailboxRightRead                              // r
	mailboxRightSeen                              // s
	mailboxRightWrite                             // w
	mailboxRightInsert                            // i
	mailboxRightPost                              // p
	mailboxRightCreate                            // k
	mailboxRightDelete                            // x
	mailboxRightDeleted                           // t
	mailboxRightExpunge                           // e
	mailboxRightAdmin                             // a

	mailboxRightsAll   = mailboxRightAdmin<<1 - 1
	mailboxRightsOwner = mailboxRightLookup | mailboxRightAdmin // what an owner always has

	// Any of these makes a mailbox writable (RFC 4314, section 5.2).
	mailboxRightsWritable = mailboxRightInsert | mailboxRightExpunge | mailboxRightSeen | mailboxRightWrite | mailboxRightDeleted

	// Any of these is enough to be told of them (RFC 4314, section 4, MYRIGHTS).
	mailboxRightsTell = mailboxRightLookup | mailboxRightRead | mailboxRightInsert | mailboxRightCreate | mailboxRightDelete | mailboxRightAdmin

	// Who may see a folder and has any of these may have annotations there (RFC 5464, section 3.3).
	mailboxRightsAnnotate = mailboxRightRead | mailboxRightSeen | mailboxRightWrite | mailboxRightInsert | mailboxRightPost

	mailboxRightsLetters = "lrswipkxtea"
)

var (
	errMailboxRights     = errors.New("the user has no right to do this")
	errMailboxIdentifier = errors.New("rights cannot be given to this") // wraps the reason
	errMailboxACL        = errors.New("the file of rights is not understood")
)

// String gives the letters in RFC 4314's order.
func (r mailboxRights) String() string {
	var b strings.Builder
	for i := range len(mailboxRightsLetters) {
		if r&(1<<i) != 0 {
			b.WriteByte(mailboxRightsLetters[i])
		}
	}
	return b.String()
}

// mailboxParseRights reads letters. The old rights c and d stand for others (RFC 4314, section 2.1.1).
func mailboxParseRights(letters string) (rights mailboxRights, ok bool) {
	for _, letter := range letters {
		i := strings.IndexRune(mailboxRightsLetters, letter)
		switch {
		case i >= 0:
			rights |= 1 << i
		case letter == 'c':
			rights |= mailboxRightCreate | mailboxRightDelete
		case letter == 'd':
			rights |= mailboxRightExpunge | mailboxRightDeleted
		default:
			return 0, false
		}
	}
	return rights, true
}

// flags are those that may be changed (RFC 4314, section 4).
func (r mailboxRights) flags() (flags mailboxFlags) {
	if r&mailboxRightSeen != 0 {
		flags |= mailboxFlagSeen
	}
	if r&mailboxRightDeleted != 0 {
		flags |= mailboxFlagDeleted
	}
	if r&mailboxRightWrite != 0 {
		flags |= ^(mailboxFlagSeen | mailboxFlagDeleted)
	}
	return flags
}

// refuse tells why rights are not enough: a folder that the user may not see is none (RFC 4314, section 6).
func (r mailboxRights) refuse(need mailboxRights) error {
	switch {
	case r&need == need:
		return nil
	case r&mailboxRightLookup != 0:
		return errMailboxRights
	}
	return errMailboxNotFound
}

// mailboxACL is a folder's list of rights as its file has it. It does not change.
type mailboxACL struct {
	entries []maildirACLEntry
	damaged error // why it could not be read

	info   os.FileInfo // of the file; nil: there is none
	readAt time.Time
}

// mailboxACLRetry is how long a file that could not be read is left alone, if it does not change.
const mailboxACLRetry = time.Minute

// of gives a user's rights.
func (acl *mailboxACL) of(user, owner string) mailboxRights {
	owns := user == owner
	if acl.damaged != nil && !owns {
		return 0
	} else if acl.damaged != nil {
		return mailboxRightsAll
	}
	var given, taken mailboxRights
	best, owners := maildirACLAnyone, false
	if owns {
		given, best = mailboxRightsAll, maildirACLOwner
	}
	for i := range acl.entries {
		e := &acl.entries[i]
		rights, _ := mailboxParseRights(e.rights)
		switch {
		case !e.means(user, owns):
		case e.negative:
			taken |= rights
		case e.kind > best, e.kind == maildirACLOwner && best == maildirACLOwner && !owners:
			given, best, owners = rights, e.kind, true
		case e.kind == best:
			given |= rights
		}
	}
	given &^= taken
	if owns {
		given |= mailboxRightsOwner
	}
	return given
}

// means tells whether a line speaks of a user. What is taken from all is not meant for the owner. There are no groups here: what is given to one is given to nobody, and
// what is taken from one may have been meant for anybody.
func (e *maildirACLEntry) means(user string, owns bool) bool {
	switch e.kind {
	case maildirACLAnyone, maildirACLAuthenticated:
		return !e.negative || !owns
	case maildirACLOwner:
		return owns
	case maildirACLUser:
		return e.name == user
	case maildirACLGroup, maildirACLGroupOverride:
		return e.negative && !owns
	}
	return false
}

// mailboxACLs keeps the lists of rights that were read, so that a LIST of many folders looks at the dates of files
// only.
type mailboxACLs struct {
	mu    sync.Mutex // guards all below
	known map[string]*mailboxACL
}

// mailboxACLsMost bounds the lists that are kept.
const mailboxACLsMost = 10_000

// mailboxNoACL is the list of a folder that has none.
var mailboxNoACL = &mailboxACL{}

// acl gives the list of the folder in a directory.
func (t *mailboxTree) acl(dir string) *mailboxACL {
	info, err := maildirACLStat(dir)
	if err == nil && info == nil {
		return mailboxNoACL
	}
	return t.aclAsOf(dir, info)
}

// aclAsOf is acl of a file that has this info now, nil if it could not be found out.
func (t *mailboxTree) aclAsOf(dir string, info os.FileInfo) *mailboxACL {
	acls := &t.st.acls
	acls.mu.Lock()
	acl := acls.known[dir]
	acls.mu.Unlock()
	if acl != nil && acl.isOf(info) {
		return acl
	}
	acl = &mailboxACL{readAt: time.Now()}
	var err error
	if acl.entries, acl.info, err = maildirReadACL(dir); acl.info == nil {
		acl.info = info
	}
	if acl.damaged = err; err != nil {
		logMailboxTrouble(t.st.log, t.user, filepath.Join(dir, maildirACLName), err)
	}
	acls.mu.Lock()
	defer acls.mu.Unlock()
	if acls.known == nil || len(acls.known) >= mailboxACLsMost {
		acls.known = map[string]*mailboxACL{}
	}
	acls.known[dir] = acl
	return acl
}

// isOf tells whether the list is what a file says that has this info now.
func (acl *mailboxACL) isOf(info os.FileInfo) bool {
	if acl.damaged != nil && time.Since(acl.readAt) > mailboxACLRetry {
		return false
	}
	if info == nil || acl.info == nil {
		return info == nil && acl.info == nil
	}
	return os.SameFile(info, acl.info) && info.Size() == acl.info.Size() && info.ModTime().Equal(acl.info.ModTime()) &&
		(acl.damaged != nil || mailboxSettled(acl.info.ModTime(), acl.readAt))
}

// rights are those of a user in a folder that exists.
func (t *mailboxTree) rights(user, name string) mailboxRights {
	return t.aclOf(name).of(user, t.user)
}

func (t *mailboxTree) aclOf(name string) *mailboxACL {
	return t.acl(filepath.Join(t.root, mailboxDir(name)))
}

// mailboxACLEntry is an entry as users see it. An identifier is a user's name, "anyone", "authenticated", "owner", a
// group's name with "$" before it, or any of these with a "-" that takes rights away.
type mailboxACLEntry struct {
	identifier string
	rights     mailboxRights
}

// mailboxIdentifiers are the identifiers of all kinds, as far as they are always the same. A user whose name
// is one of these is called "user=" and the name.
var mailboxIdentifiers = map[maildirACLKind]string{maildirACLAnyone: "anyone", maildirACLAuthenticated: "authenticated",
	maildirACLOwner: "owner", maildirACLGroup: "$", maildirACLUser: "", maildirACLGroupOverride: "!$"}

const mailboxIdentifierUser = "user="

// identifier is the entry's identifier.
func (e *maildirACLEntry) identifier() string {
	identifier := mailboxIdentifiers[e.kind] + e.name
	if e.kind == maildirACLUser && mailboxIsReserved(e.name) {
		identifier = mailboxIdentifierUser + e.name
	}
	if e.negative {
		identifier = "-" + identifier
	}
	return identifier
}

func mailboxIsReserved(name string) bool {
	return name == "anyone" || name == "authenticated" || name == "owner" || strings.ContainsAny(name[:min(1, len(name))], "-$!#") ||
		strings.HasPrefix(name, mailboxIdentifierUser)
}

// mailboxParseIdentifier reads an identifier.
func mailboxParseIdentifier(identifier string) (e maildirACLEntry, err error) {
	identifier, e.negative = strings.CutPrefix(identifier, "-")
	for _, kind := range []maildirACLKind{maildirACLAnyone, maildirACLAuthenticated, maildirACLOwner} {
		if identifier == mailboxIdentifiers[kind] {
			e.kind = kind
			return e, nil
		}
	}
	for _, kind := range []maildirACLKind{maildirACLGroup, maildirACLGroupOverride} {
		if name, ok := strings.CutPrefix(identifier, mailboxIdentifiers[kind]); ok && name != "" {
			e.kind, e.name = kind, name
			return e, nil
		}
	}
	e.kind, e.name = maildirACLUser, strings.TrimPrefix(identifier, mailboxIdentifierUser)
	if e.name == "" || strings.ContainsFunc(e.name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return e, fmt.Errorf("%w: it is no name", errMailboxIdentifier)
	}
	return e, nil
}

// list gives the entries. The owner's stands in it, if only by the default.
func (acl *mailboxACL) list(owner string) (list []mailboxACLEntry) {
	if !slices.ContainsFunc(acl.entries, func(e maildirACLEntry) bool {
		return !e.negative && (e.kind == maildirACLOwner || e.kind == maildirACLUser && e.name == owner)
	}) {
		e := maildirACLEntry{kind: maildirACLUser, name: owner}
		list = append(list, mailboxACLEntry{e.identifier(), mailboxRightsAll})
	}
	for i := range acl.entries {
		e := &acl.entries[i]
		if e.kind == maildirACLComment {
			continue
		}
		rights, _ := mailboxParseRights(e.rights)
		if !e.negative && (e.kind == maildirACLOwner || e.kind == maildirACLUser && e.name == owner) {
			rights |= mailboxRightsOwner
		}
		identifier := e.identifier()
		if at := slices.IndexFunc(list, func(known mailboxACLEntry) bool { return known.identifier == identifier }); at >= 0 {
			list[at].rights |= rights
			continue
		}
		list = append(list, mailboxACLEntry{identifier, rights})
	}
	return list
}

// mailboxACLChange changes what an identifier has: op mailboxSet replaces it, and nil rights take the entry away.
type mailboxACLChange struct {
	identifier string
	op         mailboxStoreOp
	rights     *mailboxRights
}

// changeACL changes a folder's list. Sessions that have the folder open look at their rights again.
func (t *mailboxTree) changeACL(name string, change mailboxACLChange) error {
	entry, err := mailboxParseIdentifier(change.identifier)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock() // the folder keeps its name meanwhile
	mb, err := t.mailbox(name)
	if err != nil {
		return err
	}
	before := t.aclOf(mb.name)
	err = maildirChangeACL(t.root, mb.md.path, func(entries []maildirACLEntry) ([]maildirACLEntry, error) {
		return mailboxChangeEntries(entries, entry, change, t.user)
	})
	if err != nil {
		return mailboxError(err)
	}
	t.st.acls.forget(mb.md.path)
	t.announceRights(mb.name, before, t.aclOf(mb.name))
	mb.mu.Lock()
	wake := mb.others(nil)
	mb.mu.Unlock()
	wake()
	return nil
}

func (acls *mailboxACLs) forget(dir string) {
	acls.mu.Lock()
	defer acls.mu.Unlock()
	delete(acls.known, dir)
}

// mailboxChangeEntries gives the entries after a change. Of several for one identifier one is left.
func mailboxChangeEntries(entries []maildirACLEntry, entry maildirACLEntry, change mailboxACLChange, owner string) ([]maildirACLEntry, error) {
	same := func(e maildirACLEntry) bool {
		return e.kind == entry.kind && e.negative == entry.negative && e.name == entry.name
	}
	at := slices.IndexFunc(entries, same)
	if at < 0 && (entry.kind == maildirACLGroup || entry.kind == maildirACLGroupOverride) && change.rights != nil {
		return nil, fmt.Errorf("%w: there are no groups here", errMailboxIdentifier)
	}
	owns := !entry.negative && (entry.kind == maildirACLOwner || entry.kind == maildirACLUser && entry.name == owner)
	old := mailboxRights(0)
	if owns && at < 0 {
		old = mailboxRightsAll
	}
	for _, e := range entries {
		if same(e) {
			rights, _ := mailboxParseRights(e.rights)
			old |= rights
		}
	}
	if change.rights == nil {
		return slices.DeleteFunc(entries, same), nil
	}
	rights := *change.rights
	switch change.op {
	case mailboxAdd:
		rights |= old
	case mailboxRemove:
		rights = old &^ rights
	}
	if owns {
		rights |= mailboxRightsOwner
	}
	if at < 0 && change.op == mailboxRemove && rights == old {
		return entries, nil // there was nothing to take away
	}
	if entry.rights = maildirACLSort(rights.String()); at < 0 {
		return append(entries, entry), nil
	}
	if kept, _ := mailboxParseRights(entries[at].rights); kept != rights {
		entries[at] = entry
	}
	rest := slices.DeleteFunc(entries[at+1:], same)
	return entries[:at+1+len(rest)], nil
}
