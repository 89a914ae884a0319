package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What a user sees: the own folders, and those of others in which the user has rights. The
// names of others' folders begin with "~", which no folder's own name does: "~/alice/Archive", and "~/alice"
// is alice's INBOX. "~" alone is no folder.
//
// All that a user does goes through here, so here stands which rights it needs (RFC 4314, section 4). A folder that
// the user may not see is answered for as if it were not there.

// mailboxOthers is the first part of the names of others' folders.
const mailboxOthers = "~"

// mailboxSharing says whose folders there are, and what they are called.
type mailboxSharing struct {
	word    string // the first part of others' folders' names, as clients and the file subscriptions have it; "": there is no sharing
	shadows bool   // own folders may be called so as well: who has one sees no others' folders
	joined  bool   // Dovecot's namespace has the separator "/", and so has its part of a name in the file subscriptions
	users   func() ([]string, error)
	exists  func(user string) bool
}

// mailboxAccess is all folders as one user sees them. It is safe for concurrent use.
type mailboxAccess struct {
	own     *mailboxTree
	st      *mailboxStore
	user    string
	sharing mailboxSharing
}

// access gives what a user sees. The user's own folders are made at first use.
func (st *mailboxStore) access(user string, sharing mailboxSharing) (*mailboxAccess, error) {
	t, err := st.tree(user)
	if err != nil {
		return nil, err
	}
	if sharing.shadows && sharing.word != "" {
		taken, err := t.hasCalled(sharing.word)
		if err != nil {
			return nil, err
		}
		if taken { // one's own mail comes first
			logMailboxTrouble(st.log, user, sharing.word, errMailboxShadow)
			sharing.word = ""
		}
	}
	return &mailboxAccess{own: t, st: st, user: user, sharing: sharing}, nil
}

// errMailboxShadow tells who runs the box what to do.
var errMailboxShadow = errors.New("the user has a folder of this name, and so sees no folders of others; rename it, or set another word in [imap] shared")

// hasCalled tells whether there is a folder of a name, or below it.
func (t *mailboxTree) hasCalled(name string) (bool, error) {
	entries, err := os.ReadDir(t.root)
	dir := mailboxDir(name)
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == dir || strings.HasPrefix(e.Name(), dir+".")
	}), err
}

// mailboxShadowed is hasCalled for the mail in a directory.
func mailboxShadowed(root, name string) (bool, error) {
	return (&mailboxTree{root: root}).hasCalled(name)
}

// treeOf gives the folders of a user without making any. errMailboxNotFound if there are none.
func (st *mailboxStore) treeOf(user string) (*mailboxTree, error) {
	root := filepath.Join(st.root, user)
	if _, err := os.Stat(filepath.Join(root, "cur")); errors.Is(err, fs.ErrNotExist) {
		return nil, errMailboxNotFound
	} else if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.trees[user]
	if t == nil {
		t = &mailboxTree{st: st, user: user, root: root}
		st.trees[user] = t
	}
	return t, nil
}

// mailboxIsOthers tells whether a name is one of others' folders, or of what is above them.
func mailboxIsOthers(name string) bool {
	return name == mailboxOthers || strings.HasPrefix(name, mailboxOthers+"/")
}

// locate gives whose folder a name means, and its name there. The folder need not exist.
func (a *mailboxAccess) locate(name string) (t *mailboxTree, folder string, err error) {
	if !mailboxIsOthers(name) {
		return a.own, name, nil
	}
	user, folder, _ := strings.Cut(strings.TrimPrefix(name[1:], "/"), "/")
	if a.sharing.word == "" || user == "" || user == a.user || !a.sharing.exists(user) {
		return nil, "", errMailboxNotFound
	}
	if t, err = a.st.treeOf(user); err != nil {
		return nil, "", err
	}
	if folder == "" {
		folder = "INBOX"
	}
	return t, folder, nil
}

// nameOf is the name by which the user knows a folder.
func (a *mailboxAccess) nameOf(t *mailboxTree, folder string) string {
	switch {
	case t == a.own:
		return folder
	case folder == "INBOX":
		return mailboxOthers + "/" + t.user
	}
	return mailboxOthers + "/" + t.user + "/" + folder
}

// find gives a folder that exists if the user has all rights needed there.
func (a *mailboxAccess) find(name string, need mailboxRights) (mb *mailbox, have mailboxRights, err error) {
	t, folder, err := a.locate(name)
	if err != nil {
		return nil, 0, err
	}
	if mb, err = t.mailbox(folder); err != nil {
		return nil, 0, err
	}
	have = t.rights(a.user, mb.name)
	return mb, have, have.refuse(need)
}

// rights are the user's in a folder: none in one that does not exist, or that the user is not to know of.
func (a *mailboxAccess) rights(name string) (mailboxRights, error) {
	_, have, err := a.find(name, 0)
	if errors.Is(err, errMailboxNotFound) {
		return 0, nil
	}
	return have, err
}

// mayCreate tells whether the user may make a folder of this name: it takes a right in the nearest folder above it. Where
// there is none, only the owner may. It does not matter whether there is such a folder.
func (a *mailboxAccess) mayCreate(name string) (t *mailboxTree, folder string, err error) {
	t, folder, err = a.locate(name)
	if errors.Is(err, errMailboxNotFound) { // there is no such user
		return nil, "", errMailboxRights
	} else if err != nil {
		return nil, "", err
	}
	above, err := t.above(folder)
	switch {
	case err != nil:
		return nil, "", err
	case above != "" && t.rights(a.user, above)&mailboxRightCreate == 0, above == "" && t != a.own:
		return nil, "", errMailboxRights // whatever is wrong with the name: by that it would be told that there is such a user
	}
	folder, err = mailboxCleanName(folder)
	return t, folder, err
}

// above is the nearest folder above a name, "" if there is none.
func (t *mailboxTree) above(folder string) (string, error) {
	for i := strings.LastIndexByte(folder, '/'); i > 0; i = strings.LastIndexByte(folder[:i], '/') {
		if mb, err := t.mailbox(folder[:i]); err == nil {
			return mb.name, nil
		} else if !errors.Is(err, errMailboxNotFound) {
			return "", err
		}
	}
	return "", nil
}

// create makes a folder and gives its objectID.
func (a *mailboxAccess) create(name, use string) (id string, err error) {
	t, folder, err := a.mayCreate(name)
	if err == nil && use != "" && t != a.own {
		err = errMailboxUse
	}
	if err == nil {
		err = t.create(folder, use)
	}
	if err != nil {
		return "", err
	}
	return t.objectID(folder)
}

// mayDelete tells whether delete would be refused.
func (a *mailboxAccess) mayDelete(name string) error {
	mb, _, err := a.find(name, mailboxRightDelete)
	if err == nil && mb.name == "INBOX" {
		err = fmt.Errorf("%w: INBOX cannot be deleted", errMailboxName) // RFC 9051, section 6.3.5
	}
	return err
}

func (a *mailboxAccess) delete(name string) error {
	mb, _, err := a.find(name, mailboxRightDelete)
	if err != nil {
		return err
	}
	return mb.tree.delete(mb.name)
}

// mayRename tells whether rename would be refused. To rename INBOX is to take all messages out of it.
func (a *mailboxAccess) mayRename(from, to string) (t *mailboxTree, fromFolder, toFolder string, err error) {
	if t, fromFolder, err = a.locate(from); err != nil {
		return nil, "", "", err
	}
	need := mailboxRightDelete
	if strings.EqualFold(fromFolder, "INBOX") {
		need |= mailboxRightRead | mailboxRightDeleted | mailboxRightExpunge
	}
	// Of one's own, what is above folders and is none itself can be renamed, too.
	if _, _, err = a.find(from, need); err != nil && (t != a.own || !errors.Is(err, errMailboxNotFound)) {
		return nil, "", "", err
	}
	toTree, toFolder, err := a.mayCreate(to)
	if err == nil && toTree != t {
		err = errMailboxApart
	}
	return t, fromFolder, toFolder, err
}

// errMailboxApart refuses to make one user's folder another's.
var errMailboxApart = errors.New("a folder stays with its user")

func (a *mailboxAccess) rename(from, to string) error {
	t, from, to, err := a.mayRename(from, to)
	if err != nil {
		return err
	}
	return t.rename(from, to)
}

// folders lists all that the user may see. Others' are left out if they are not asked for.
func (a *mailboxAccess) folders(others bool) ([]mailboxFolder, error) {
	list, err := a.own.folders()
	if err != nil {
		return nil, err
	}
	if a.sharing.word != "" && a.sharing.shadows {
		list = slices.DeleteFunc(list, func(f mailboxFolder) bool {
			return f.name == a.sharing.word || strings.HasPrefix(f.name, a.sharing.word+"/")
		})
	}
	for i := range list {
		if list[i].selectable {
			list[i].rights = a.own.rights(a.user, list[i].name)
		}
	}
	if !others || a.sharing.word == "" {
		return list, nil
	}
	users, err := a.sharing.users()
	if err != nil { // one's own are there nevertheless
		logMailboxTrouble(a.st.log, a.user, mailboxOthers, fmt.Errorf("listing who shares folders: %w", err))
	}
	for _, user := range users {
		if user == a.user {
			continue
		}
		t, err := a.st.treeOf(user)
		if err == nil {
			list, err = a.appendShown(list, t)
		}
		if err != nil && !errors.Is(err, errMailboxNotFound) && !errors.Is(err, fs.ErrNotExist) { // the other users go on
			logMailboxTrouble(a.st.log, user, mailboxOthers, fmt.Errorf("listing shared folders: %w", err))
		}
	}
	slices.SortFunc(list, func(a, b mailboxFolder) int { return mailboxCompareNames(a.name, b.name) })
	return list, nil
}

// appendShown appends another user's folders that this one may see. Only those with a file of rights are looked at.
func (a *mailboxAccess) appendShown(list []mailboxFolder, t *mailboxTree) ([]mailboxFolder, error) {
	err := maildirShared(t.root, func(dir string, info os.FileInfo) {
		name, ok := "INBOX", true
		if dir != "" {
			name, ok = mailboxNameOfDir(dir)
		}
		path := filepath.Join(t.root, dir)
		rights := t.aclAsOf(path, info).of(a.user, t.user)
		if ok && rights&mailboxRightLookup != 0 && maildirIsFolder(path) {
			list = append(list, mailboxFolder{name: a.nameOf(t, name), selectable: true, rights: rights})
		}
	})
	return list, err
}

// subscriptions are the names that the user has subscribed to, sorted.
func (a *mailboxAccess) subscriptions() ([]string, error) {
	names, err := a.own.subscriptions()
	if err != nil || a.sharing.word == "" {
		return names, err
	}
	for i, name := range names {
		if name == a.sharing.word && a.sharing.shadows {
			names[i] = mailboxOthers
		}
		rest, below := strings.CutPrefix(name, a.sharing.word+"/")
		if !below || !a.sharing.shadows && a.own.exists(name) {
			continue
		}
		if user, folder, _ := strings.Cut(rest, "/"); folder == "INBOX" {
			rest = user // as Dovecot writes it
		}
		names[i] = mailboxOthers + "/" + rest
	}
	slices.SortFunc(names, mailboxCompareNames)
	return slices.Compact(names), nil
}

// subscribe takes names of one's own folders that do not exist. Another's must be one that the user may see.
func (a *mailboxAccess) subscribe(name string, on bool) error {
	if !mailboxIsOthers(name) {
		return a.own.subscribe(name, on)
	}
	if on {
		if _, _, err := a.find(name, mailboxRightLookup); err != nil {
			return err
		}
	}
	if name == mailboxOthers { // from when it could be a folder's
		return a.own.subscribe(a.sharing.word, on)
	}
	user, folder, _ := strings.Cut(name[2:], "/")
	if folder == "" {
		folder = "INBOX"
	}
	prefix := a.sharing.word + "/" + user + "/"
	if !a.sharing.joined {
		prefix = strings.ReplaceAll(prefix, "/", "\t")
	}
	a.own.mu.Lock()
	defer a.own.mu.Unlock()
	before, err := a.subscriptions()
	if err == nil {
		err = maildirSubscribeBelow(a.own.root, on, prefix, mailboxEncodeName(folder))
	}
	if err == nil && slices.Contains(before, name) != on {
		a.own.announce(mailboxNews{kind: mailboxSubscribed, name: name}, nil)
	}
	return mailboxError(err)
}

// status is mailboxTree.status for who may read.
func (a *mailboxAccess) status(name string, size bool) (status mailboxStatus, err error) {
	mb, _, err := a.find(name, mailboxRightRead)
	if err != nil {
		return status, err
	}
	return mb.tree.status(mb.name, size)
}

func (a *mailboxAccess) deletedSize(name string) (int64, error) {
	mb, _, err := a.find(name, mailboxRightRead)
	if err != nil {
		return 0, err
	}
	return mb.tree.deletedSize(mb.name)
}

func (a *mailboxAccess) objectID(name string) (string, error) {
	mb, _, err := a.find(name, mailboxRightRead)
	if err != nil {
		return "", err
	}
	return mb.tree.objectID(mb.name)
}

// view opens a folder for who may read. It is read-only for who has no right to change anything in it.
func (a *mailboxAccess) view(name string, readOnly bool, notify func()) (*mailboxView, error) {
	mb, have, err := a.find(name, mailboxRightRead)
	if err != nil {
		return nil, err
	}
	readOnly = readOnly || have&mailboxRightsWritable == 0
	return mb.tree.open(mb.name, &mailboxView{only: readOnly, notify: notify, who: a})
}

// draft begins a message for who may insert. Flags without a right are going to be left out.
func (a *mailboxAccess) draft(name string) (*mailboxDraft, error) {
	mb, have, err := a.find(name, mailboxRightInsert)
	if err != nil {
		return nil, err
	}
	d, err := mb.tree.draft(mb.name)
	if err != nil {
		return nil, err
	}
	d.without = ^have.flags()
	return d, nil
}

// annotations are those that the user may see; folder "" is the server.
func (a *mailboxAccess) annotations(folder string) ([]mailboxAnnotation, error) {
	if folder == "" {
		return a.own.annotations(a.user, "")
	}
	mb, _, err := a.mayAnnotate(folder, 0)
	if err != nil {
		return nil, err
	}
	return mb.tree.annotations(a.user, mb.name)
}

// mayAnnotate holds RFC 5464, section 3.3.
func (a *mailboxAccess) mayAnnotate(folder string, need mailboxRights) (mb *mailbox, have mailboxRights, err error) {
	mb, have, err = a.find(folder, mailboxRightLookup|need)
	if err == nil && have&mailboxRightsAnnotate == 0 {
		err = errMailboxRights
	}
	return mb, have, err
}

// annotate changes annotations. What is shared changes only who may write.
func (a *mailboxAccess) annotate(folder string, changes []mailboxAnnotation, from *mailboxAnnotationNews) error {
	if folder == "" {
		return a.own.annotate(a.user, "", changes, from)
	}
	need := mailboxRights(0)
	if slices.ContainsFunc(changes, func(c mailboxAnnotation) bool { return !mailboxIsPrivate(c.entry) }) {
		need = mailboxRightWrite
	}
	mb, _, err := a.mayAnnotate(folder, need)
	if err != nil {
		return err
	}
	return mb.tree.annotate(a.user, mb.name, changes, from)
}

// usage is what a folder's owner may have and has, for who may read there (RFC 9208, section 6). One's own
// folders need not exist.
func (a *mailboxAccess) usage(name string) (owner string, limits, used mailboxQuota, err error) {
	t := a.own
	if mailboxIsOthers(name) {
		mb, _, err := a.find(name, mailboxRightRead)
		if err != nil {
			return "", limits, used, err
		}
		t = mb.tree
	}
	limits, used, err = t.usage()
	return t.user, limits, used, err
}

// usageOf is what a user may have and has: oneself, or one in whose folders one may read somewhere.
func (a *mailboxAccess) usageOf(user string) (limits, used mailboxQuota, err error) {
	if user == a.user {
		return a.own.usage()
	}
	t, _, err := a.locate(mailboxOthers + "/" + user)
	var shown []mailboxFolder
	if err == nil {
		shown, err = a.appendShown(nil, t)
	}
	if err != nil {
		return limits, used, err
	}
	if !slices.ContainsFunc(shown, func(f mailboxFolder) bool { return f.rights&mailboxRightRead != 0 }) {
		return limits, used, errMailboxNotFound
	}
	return t.usage()
}

// acl is the list of a folder's rights, for who may change it, and its owner.
func (a *mailboxAccess) acl(name string) (list []mailboxACLEntry, owner string, err error) {
	mb, _, err := a.find(name, mailboxRightAdmin)
	if err != nil {
		return nil, "", err
	}
	acl := mb.tree.aclOf(mb.name)
	if acl.damaged != nil { // it is logged
		return nil, "", errMailboxACL
	}
	return acl.list(mb.tree.user), mb.tree.user, nil
}

// changeACL changes rights, for who may.
func (a *mailboxAccess) changeACL(name string, change mailboxACLChange) error {
	mb, _, err := a.find(name, mailboxRightAdmin)
	if err != nil {
		return err
	}
	return mb.tree.changeACL(mb.name, change)
}

// rights are those that the session has now, in what it has opened.
func (v *mailboxView) rights() mailboxRights {
	if v.who == nil {
		return mailboxRightsAll
	}
	return v.mb.tree.rights(v.who.user, v.mb.name)
}

// may tells whether the session has all of some rights.
func (v *mailboxView) may(need mailboxRights) bool { return v.rights()&need == need }

// need refuses what the session has no right to.
func (v *mailboxView) need(need mailboxRights) error {
	if v.only {
		return errMailboxReadOnly
	}
	if !v.may(need) {
		return errMailboxRights
	}
	return nil
}
