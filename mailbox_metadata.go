package main

import (
	"errors"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Annotations of folders, and of the server as a user sees it (RFC 5464): names like
// "/private/comment", which have no case, and values. A private one belongs to the user who
// has set it, whoever the folder belongs to; a shared one to the folder. The annotation
// /private/specialuse is the folder's special use (RFC 6154, section 4).

const (
	mailboxAnnotationsMost     = 100     // of a folder: shared ones, and private ones of a user
	mailboxAnnotationBytesMost = 1 << 20 // of a folder: shared ones and private ones of a user together
	mailboxAnnotationNewsMost  = 1000    // that wait for a session; later ones it does not hear of

	mailboxPrivate    = "/private/"
	mailboxSpecialUse = "/private/specialuse"
)

var (
	errMailboxAnnotations = errors.New("no more annotations fit here")
	errMailboxUse         = errors.New("no folder can have this special use") // or this one cannot
)

// mailboxAnnotation is one entry; without a value it is none, or to be removed.
type mailboxAnnotation struct {
	entry string
	value *string
}

// mailboxIsPrivate tells whether an entry is a user's own.
func mailboxIsPrivate(entry string) bool {
	return len(entry) > len(mailboxPrivate) && strings.EqualFold(entry[:len(mailboxPrivate)], mailboxPrivate)
}

// annotationPath is the file that has a folder's annotations; folder "" is the server.
func (t *mailboxTree) annotationPath(folder string) (path, name string, err error) {
	if folder == "" {
		return filepath.Join(t.root, maildirMetadataServerName), "", nil
	}
	mb, err := t.mailbox(folder)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(mb.md.path, maildirMetadataName), mb.name, nil
}

// annotations are those of a folder that a user may see, sorted.
func (t *mailboxTree) annotations(user, folder string) (list []mailboxAnnotation, err error) {
	path, name, err := t.annotationPath(folder)
	if err != nil {
		return nil, err
	}
	stored, err := maildirMetadata(path)
	if err != nil {
		return nil, err
	}
	for _, a := range stored {
		if a.user == "" || a.user == user {
			list = append(list, mailboxAnnotation{a.entry, &a.value})
		}
	}
	if name != "" && user == t.user {
		use, err := t.useOf(name)
		if err != nil {
			return nil, err
		}
		if use != "" {
			use = `\` + use
			list = append(list, mailboxAnnotation{mailboxSpecialUse, &use})
		}
	}
	sort.Slice(list, func(i, j int) bool { return strings.ToLower(list[i].entry) < strings.ToLower(list[j].entry) })
	return list, nil
}

// useOf is a folder's special use, or "".
func (t *mailboxTree) useOf(name string) (string, error) {
	uses, err := maildirSpecialUse(t.root)
	for use, of := range uses {
		if of == name {
			return use, err
		}
	}
	return "", err
}

// annotate changes annotations of a folder, all or none. The news goes to all sessions that
// want it but from.
func (t *mailboxTree) annotate(user, folder string, changes []mailboxAnnotation, from *mailboxAnnotationNews) error {
	t.mu.Lock()
	defer t.mu.Unlock() // the folder keeps its name meanwhile
	path, name, err := t.annotationPath(folder)
	if err != nil {
		return err
	}
	restore, loser := func() error { return nil }, ""
	err = maildirChangeMetadata(path, func(list []maildirAnnotation) ([]maildirAnnotation, error) {
		for _, c := range changes {
			if name == "" || !strings.EqualFold(c.entry, mailboxSpecialUse) {
				list = mailboxChangeAnnotation(list, user, c)
			}
		}
		if err := mailboxCheckAnnotations(list, user); err != nil {
			return nil, err
		}
		for _, c := range changes {
			if name != "" && strings.EqualFold(c.entry, mailboxSpecialUse) {
				var err error
				if restore, loser, err = t.changeUse(user, name, c.value); err != nil {
					return nil, err
				}
			}
		}
		return list, nil
	})
	if err != nil {
		return errors.Join(mailboxError(err), restore())
	}
	t.tellAnnotations(user, name, changes, from)
	t.tellUse(from, loser)
	return nil
}

// tellUse tells that folders have another special use, or none.
func (t *mailboxTree) tellUse(from *mailboxAnnotationNews, folders ...string) {
	for _, name := range folders {
		if name != "" {
			t.tellAnnotations(t.user, name, []mailboxAnnotation{{entry: mailboxSpecialUse}}, from)
		}
	}
}

// mailboxChangeAnnotation puts a new value in the place of the old one, or takes it away.
func mailboxChangeAnnotation(list []maildirAnnotation, user string, c mailboxAnnotation) []maildirAnnotation {
	if !mailboxIsPrivate(c.entry) {
		user = ""
	}
	i := slices.IndexFunc(list, func(a maildirAnnotation) bool { return a.user == user && strings.EqualFold(a.entry, c.entry) })
	switch {
	case i >= 0 && c.value == nil:
		return slices.Delete(list, i, i+1)
	case i >= 0:
		list[i].value = *c.value
	case c.value != nil:
		return append(list, maildirAnnotation{user, c.entry, *c.value})
	}
	return list
}

// mailboxCheckAnnotations holds the limits.
func mailboxCheckAnnotations(list []maildirAnnotation, user string) error {
	shared, private, bytes := 0, 0, 0
	for _, a := range list {
		switch a.user {
		case "":
			shared++
		case user:
			private++
		default: // nobody's private ones leave no room for another's
			continue
		}
		bytes += a.size()
	}
	if shared > mailboxAnnotationsMost || private > mailboxAnnotationsMost || bytes > mailboxAnnotationBytesMost {
		return errMailboxAnnotations
	}
	return nil
}

// changeUse gives a folder a special use, or none, as CREATE would: the one that had it, the
// loser, has none then. restore undoes that.
func (t *mailboxTree) changeUse(user, name string, value *string) (restore func() error, loser string, err error) {
	restore = func() error { return nil }
	use := ""
	if value != nil && *value != "" {
		i := slices.IndexFunc(mailboxSpecialUses, func(s mailboxSpecial) bool { return strings.EqualFold(`\`+s.use, *value) })
		if i < 0 || name == "INBOX" || user != t.user {
			return restore, "", errMailboxUse
		}
		use = mailboxSpecialUses[i].use
	}
	before, err := maildirSpecialUse(t.root)
	if err != nil {
		return restore, "", err
	}
	if loser = before[use]; loser == name {
		loser = ""
	}
	restore = func() error { return maildirSetSpecialUse(t.root, before) }
	return restore, loser, t.setUse(func(uses map[string]string) {
		for other, of := range uses {
			if of == name {
				delete(uses, other)
			}
		}
		if use != "" {
			uses[use] = name
		}
	})
}

// mailboxAnnotationNews is what a session has not yet been told of annotations that others
// changed. Its session makes it, and ends it.
type mailboxAnnotationNews struct {
	access *mailboxAccess
	notify func()

	waiting []mailboxChangedAnnotation // guarded by the store's news.mu
}

// mailboxChangedAnnotation names an annotation that was changed; folder "" is the server.
type mailboxChangedAnnotation struct{ folder, entry string }

// mailboxAnnotationListeners are the sessions that want to hear of changes.
type mailboxAnnotationListeners struct {
	mu   sync.Mutex // guards all below, and what waits for each
	list []*mailboxAnnotationNews
}

// listenAnnotations begins to note what others change in what the user sees. notify is called
// as for a view.
func (a *mailboxAccess) listenAnnotations(notify func()) *mailboxAnnotationNews {
	n := &mailboxAnnotationNews{access: a, notify: notify}
	a.st.news.mu.Lock()
	defer a.st.news.mu.Unlock()
	a.st.news.list = append(a.st.news.list, n)
	return n
}

func (n *mailboxAnnotationNews) close() {
	n.access.st.news.mu.Lock()
	defer n.access.st.news.mu.Unlock()
	n.access.st.news.list = slices.DeleteFunc(n.access.st.news.list, func(o *mailboxAnnotationNews) bool { return o == n })
}

// take gives what is new, each annotation once, in the order in which they were changed.
func (n *mailboxAnnotationNews) take() (changed []mailboxChangedAnnotation) {
	n.access.st.news.mu.Lock()
	defer n.access.st.news.mu.Unlock()
	changed, n.waiting = n.waiting, nil
	return changed
}

// tellAnnotations notes a change for all but the one who made it. What is private only its user hears, and what is in a
// folder only who may see it.
func (t *mailboxTree) tellAnnotations(user, name string, changes []mailboxAnnotation, from *mailboxAnnotationNews) {
	var wake []func()
	acl := mailboxNoACL
	if name != "" {
		acl = t.aclOf(name)
	}
	l := &t.st.news
	l.mu.Lock()
	for _, n := range l.list {
		folder, rights := n.access.nameOf(t, name), acl.of(n.access.user, t.user)
		if n == from || n.access.user != t.user && (rights&mailboxRightLookup == 0 || rights&mailboxRightsAnnotate == 0) {
			continue
		}
		if name == "" {
			folder = ""
		}
		before := len(n.waiting)
		for _, c := range changes {
			changed := mailboxChangedAnnotation{folder, c.entry}
			if mailboxIsPrivate(c.entry) && user != n.access.user || slices.Contains(n.waiting, changed) {
				continue
			}
			if len(n.waiting) < mailboxAnnotationNewsMost {
				n.waiting = append(n.waiting, changed)
			}
		}
		if len(n.waiting) > before {
			wake = append(wake, n.notify)
		}
	}
	l.mu.Unlock()
	for _, notify := range wake {
		notify()
	}
}
