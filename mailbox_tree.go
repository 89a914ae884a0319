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

// mailboxTree is one user's folders. It is safe for concurrent use.
type mailboxTree struct {
	st   *mailboxStore
	user string
	root string

	quota    mailboxQuotaState // has mutexes of its own
	fetching sync.Mutex        // held while what POP3 has fetched is read or written

	mu       sync.Mutex // guards prepared; held while folders are made, removed, renamed
	prepared bool
}

type mailboxSpecial struct {
	use    string
	others []string
}

// mailboxSpecialUses are the folders that every user has (RFC 6154, section 2), and
// names by which other programs' users know them: where one of these exists it
// gets the use and no second one is made.
var mailboxSpecialUses = []mailboxSpecial{
	{"Drafts", nil},
	{"Sent", []string{"Sent Messages", "Sent Items"}},
	{"Trash", []string{"Deleted Messages", "Deleted Items"}},
	{"Junk", []string{"Spam"}},
	{"Archive", []string{"Archives"}},
}

// mailboxSweepTime is how often the tmp/ directories of a user are swept.
const mailboxSweepTime = 12 * time.Hour

// prepare makes the user's Maildir and special folders at first use.
func (t *mailboxTree) prepare() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := os.Stat(t.root); err == nil && t.prepared {
		return nil
	} else if t.prepared { // somebody removed all of the user's mail, to begin anew
		t.st.forgetAll(t)
	}
	if err := maildirCreate(t.root, true); err != nil {
		return mailboxError(err)
	}
	uses, err := maildirSpecialUse(t.root)
	if err != nil {
		return err
	}
	if uses == nil { // never before
		err := t.makeKeywords()
		if err == nil {
			err = t.makeSpecial()
		}
		if err != nil {
			return mailboxError(err)
		}
	}
	t.prepared = true
	t.st.sweepTree(t)
	return nil
}

// makeKeywords gives INBOX the keywords that it has from the first.
func (t *mailboxTree) makeKeywords() error {
	md, err := maildirOpen(t.root)
	for _, name := range t.st.inbox {
		if err == nil {
			_, err = md.addKeyword(name)
		}
	}
	if errors.Is(err, errMaildirKeywordsFull) {
		return nil // an INBOX of another server's
	}
	return err
}

// makeSpecial makes the special folders that there are no folders for yet,
// subscribes to them, and notes which is which.
func (t *mailboxTree) makeSpecial() error {
	dirs, err := maildirFolders(t.root)
	if err != nil {
		return err
	}
	uses := map[string]string{}
	var made []string
	for _, special := range mailboxSpecialUses {
		name := special.use
		for _, other := range special.others {
			if slices.Contains(dirs, mailboxDir(other)) && !slices.Contains(dirs, mailboxDir(name)) {
				name = other
				break
			}
		}
		if !slices.Contains(dirs, mailboxDir(name)) {
			if err := maildirCreate(filepath.Join(t.root, mailboxDir(name)), false); err != nil {
				return err
			}
			made = append(made, mailboxEncodeName(name))
		}
		uses[special.use] = name
	}
	if err := maildirSubscribe(t.root, true, made...); err != nil {
		return err
	}
	return maildirSetSpecialUse(t.root, uses)
}

// sweepTree removes what deliveries that never ended have left in tmp/, once now
// and then in all of a user's folders.
func (st *mailboxStore) sweepTree(t *mailboxTree) {
	now := st.now()
	if now.IsZero() {
		return // nothing is old while the clock is not believed
	}
	dirs, err := maildirFolders(t.root)
	for _, dir := range append([]string{""}, dirs...) {
		if err != nil {
			break
		}
		var md *maildir
		if md, err = maildirOpen(filepath.Join(t.root, dir)); err == nil {
			_, err = md.sweep(now)
		}
	}
	if err != nil {
		logMailboxTrouble(st.log, t.user, "tmp", err)
	}
}

// sweep sweeps tmp/ of all users that were here since the start. The server calls
// it from time to time.
func (st *mailboxStore) sweep() {
	st.mu.Lock()
	trees := make([]*mailboxTree, 0, len(st.trees))
	for _, t := range st.trees {
		trees = append(trees, t)
	}
	st.mu.Unlock()
	for _, t := range trees {
		st.sweepTree(t)
	}
}

// mailbox gives an existing folder.
func (t *mailboxTree) mailbox(name string) (*mailbox, error) {
	name, err := mailboxCleanName(name)
	if err != nil {
		return nil, errMailboxNotFound // what cannot be a folder is none
	}
	return t.st.folder(t, name, filepath.Join(t.root, mailboxDir(name)))
}

// mailboxFolder is what LIST tells of one folder.
type mailboxFolder struct {
	name       string
	selectable bool          // false: only a parent of others ("a" where only "a/b" exists)
	use        string        // special use without backslash: "Drafts", "Sent", "Trash", "Junk", "Archive", or ""
	rights     mailboxRights // the user's; set by mailboxAccess
}

// folders lists all, INBOX first, the others sorted; parents that do not exist
// themselves are in it with selectable false.
func (t *mailboxTree) folders() ([]mailboxFolder, error) {
	dirs, err := maildirFolders(t.root)
	if err != nil {
		return nil, err
	}
	uses, err := maildirSpecialUse(t.root)
	if err != nil {
		return nil, err
	}
	useOf := map[string]string{}
	for use, name := range uses {
		useOf[name] = use
	}
	exists := map[string]bool{"INBOX": true}
	for _, dir := range dirs {
		name, ok := mailboxNameOfDir(dir)
		if !ok {
			continue
		}
		exists[name] = true
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			if !exists[name[:i]] {
				exists[name[:i]] = false // known now, and not to be opened
			}
		}
	}
	list := make([]mailboxFolder, 0, len(exists))
	for name, selectable := range exists {
		list = append(list, mailboxFolder{name: name, selectable: selectable, use: useOf[name]})
	}
	slices.SortFunc(list, func(a, b mailboxFolder) int { return mailboxCompareNames(a.name, b.name) })
	return list, nil
}

// mailboxCompareNames sorts INBOX first and a folder before those below it.
func mailboxCompareNames(a, b string) int {
	if in, other := a == "INBOX", b == "INBOX"; in != other {
		if in {
			return -1
		}
		return 1
	}
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// exists tells whether there is such a folder.
func (t *mailboxTree) exists(name string) bool {
	_, err := t.mailbox(name)
	return err == nil
}

// subscriptions are the folders that clients show, names that no longer exist
// included (RFC 9051, section 6.3.7).
func (t *mailboxTree) subscriptions() ([]string, error) {
	coded, err := maildirSubscriptions(t.root)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(coded))
	for _, c := range coded {
		if name, err := mailboxDecodeName(c); err == nil {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, mailboxCompareNames)
	return slices.Compact(names), nil
}

func (t *mailboxTree) subscribe(name string, on bool) error {
	name, err := mailboxCleanName(name)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, err := t.subscriptions()
	if err == nil {
		err = maildirSubscribe(t.root, on, mailboxEncodeName(name))
	}
	if err == nil && slices.Contains(before, name) != on {
		t.announce(mailboxNews{kind: mailboxSubscribed, name: name}, nil)
	}
	return mailboxError(err)
}

// create makes a folder (and none of its parents); use is a special use or "".
// A use that another folder had goes over to the new one.
func (t *mailboxTree) create(name, use string) error {
	return t.make(name, use, mailboxNews{kind: mailboxMade})
}

// make is create, and tells listeners something.
func (t *mailboxTree) make(name, use string, news mailboxNews) error {
	name, err := mailboxCleanName(name)
	if err != nil {
		return err
	}
	news.name = name
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exists(name) {
		return errMailboxExists
	}
	if err := t.makeFolder(name); err != nil {
		return mailboxError(err)
	}
	defer t.announce(news, t.aclOf(name))
	if use == "" {
		return nil
	}
	loser := ""
	if err := t.setUse(func(uses map[string]string) { loser, uses[use] = uses[use], name }); err != nil {
		return err
	}
	t.tellUse(nil, name, loser)
	return nil
}

// makeFolder makes a folder with the rights of the nearest one above it (RFC 4314, section 4). After a crash in
// between it is its owner's alone.
func (t *mailboxTree) makeFolder(name string) error {
	above, err := t.above(name)
	if err != nil {
		return err
	}
	dir := mailboxDir(name)
	if err := maildirCreate(filepath.Join(t.root, dir), false); err != nil || above == "" {
		return err
	}
	if err := maildirCopyACL(t.root, filepath.Join(t.root, mailboxDir(above)), filepath.Join(t.root, dir)); err != nil {
		return errors.Join(err, maildirRemoveFolder(t.root, dir))
	}
	return nil
}

// setUse changes which folder has which special use.
func (t *mailboxTree) setUse(change func(uses map[string]string)) error {
	uses, err := maildirSpecialUse(t.root)
	if err != nil {
		return err
	}
	if uses == nil {
		uses = map[string]string{}
	}
	change(uses)
	return mailboxError(maildirSetSpecialUse(t.root, uses))
}

// delete removes a folder with its mail; its children stay.
func (t *mailboxTree) delete(name string) error {
	name, err := mailboxCleanName(name)
	if err != nil {
		return errMailboxNotFound
	}
	if name == "INBOX" {
		return fmt.Errorf("%w: INBOX cannot be deleted", errMailboxName) // RFC 9051, section 6.3.5
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.exists(name) {
		return errMailboxNotFound
	}
	acl := t.aclOf(name)
	err = maildirRemoveFolder(t.root, mailboxDir(name))
	t.recount()
	if err != nil {
		return mailboxError(err)
	}
	t.st.forget(filepath.Join(t.root, mailboxDir(name)))
	defer t.announce(mailboxNews{kind: mailboxDeleted, name: name}, acl)
	if acl != mailboxNoACL {
		if err := maildirForgetACLList(t.root); err != nil {
			return mailboxError(err)
		}
	}
	return t.setUse(func(uses map[string]string) {
		for use, of := range uses {
			if of == name {
				delete(uses, use)
			}
		}
	})
}

// rename moves a folder and those below it. INBOX's messages are moved to the
// new folder, INBOX and what is below it stay (RFC 9051, section 6.3.6).
func (t *mailboxTree) rename(from, to string) error {
	from, err := mailboxCleanName(from)
	if err != nil {
		return errMailboxNotFound
	}
	if to, err = mailboxCleanName(to); err != nil {
		return err
	}
	if from == "INBOX" {
		return t.renameInbox(to)
	}
	if strings.HasPrefix(to, from+"/") {
		return fmt.Errorf("%w: a folder cannot be moved below itself", errMailboxName)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	folders, err := t.folders()
	if err != nil {
		return err
	}
	moves, known := [][2]string{}, false
	for _, f := range folders {
		if f.name != from && !strings.HasPrefix(f.name, from+"/") {
			continue
		}
		if known = true; !f.selectable {
			continue
		}
		target, err := mailboxCleanName(to + f.name[len(from):])
		if err != nil {
			return err
		}
		if t.exists(target) {
			return errMailboxExists
		}
		moves = append(moves, [2]string{f.name, target})
	}
	if !known {
		return errMailboxNotFound
	}
	err = t.renameAll(moves)
	if err == nil {
		t.announce(mailboxNews{kind: mailboxRenamed, name: to, old: from}, t.aclOf(to))
	}
	return err
}

func (t *mailboxTree) renameAll(moves [][2]string) error {
	for _, m := range moves {
		if err := maildirRenameFolder(t.root, mailboxDir(m[0]), mailboxDir(m[1]), t.st.now()); err != nil {
			return mailboxError(err)
		}
		t.st.forget(filepath.Join(t.root, mailboxDir(m[0])))
		if err := maildirForgetKeys(filepath.Join(t.root, mailboxDir(m[1]))); err != nil {
			return mailboxError(err)
		}
		if t.aclOf(m[1]) != mailboxNoACL {
			if err := maildirForgetACLList(t.root); err != nil {
				return mailboxError(err)
			}
		}
		err := t.setUse(func(uses map[string]string) {
			for use, of := range uses {
				if of == m[0] {
					uses[use] = m[1]
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *mailboxTree) renameInbox(to string) error {
	if err := t.make(to, "", mailboxNews{kind: mailboxRenamed, old: "INBOX"}); err != nil {
		return err
	}
	v, err := t.view("INBOX", false, nil)
	if err != nil {
		return err
	}
	defer v.close()
	// Annotations are copied, and stay with INBOX as well (RFC 5464, section 4.1).
	if err := maildirCopyMetadata(t.root, filepath.Join(t.root, mailboxDir(to))); err != nil {
		return mailboxError(err)
	}
	_, err = v.move(v.uids(), to)
	return err
}

// special gives the folder that has this special use ("Trash"), made if need be.
func (t *mailboxTree) special(use string) (string, error) {
	uses, err := maildirSpecialUse(t.root)
	if err != nil {
		return "", err
	}
	if name, ok := uses[use]; ok && t.exists(name) {
		return name, nil
	}
	if err := t.create(use, use); err != nil && !errors.Is(err, errMailboxExists) {
		return "", err
	}
	return use, nil
}

// mailboxStatus is what STATUS tells. Counting moves nothing from new/ to cur/.
type mailboxStatus struct {
	messages, recent, unseen, deleted int
	uidNext, uidValidity              uint32
	modSeq                            uint64
	size                              int64 // wire sizes summed; only if asked for
	deletedSize                       int64 // what \Deleted messages take on the disk; set by who asks deletedSize
}

func (t *mailboxTree) status(name string, size bool) (status mailboxStatus, err error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return status, err
	}
	t.st.hold(mb)
	defer t.st.release(mb)
	var unknown []uint32
	v := &mailboxView{mb: mb, only: true}
	err = mb.locked(nil, func() error {
		v.epoch = mb.epoch
		status, unknown = mb.status()
		return nil
	})
	if err != nil || !size || len(unknown) == 0 {
		return status, err
	}
	for _, uid := range unknown {
		n, err := v.size(uid)
		if err != nil && !errors.Is(err, errMailboxExpunged) {
			return status, err
		}
		status.size += n
	}
	return status, nil
}

// status counts what is in memory; unknown are the messages whose size is not known.
func (mb *mailbox) status() (status mailboxStatus, unknown []uint32) {
	status = mailboxStatus{messages: len(mb.records), recent: mb.unread, uidNext: mb.uidNext(),
		uidValidity: mb.list.validity, modSeq: mb.modSeq}
	for i := range mb.records {
		r := &mb.records[i]
		if r.flags&maildirFlagSeen == 0 {
			status.unseen++
		}
		if r.flags&maildirFlagTrashed != 0 {
			status.deleted++
		}
		if r.size < 0 {
			unknown = append(unknown, r.uid)
		} else {
			status.size += r.size
		}
	}
	return status, unknown
}
