package main

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// Which mailboxes NOTIFY and ESEARCH are about: "filter-mailboxes" (RFC 5465, section 6; RFC 7377,
// section 2.2). A filter is asked for its mailboxes each time, since they come and go.

// imapFilter is one filter-mailboxes.
type imapFilter struct {
	kind  imapFilterKind
	names []string // of subtree, subtree-one and mailboxes: clients' names, in UTF-8, INBOX so spelt
}

type imapFilterKind uint8

const (
	imapFilterSelected imapFilterKind = iota
	imapFilterSelectedDelayed
	imapFilterPersonal
	imapFilterInboxes
	imapFilterSubscribed
	imapFilterSubtree
	imapFilterSubtreeOne
	imapFilterMailboxes
)

var imapFilterKinds = map[string]imapFilterKind{
	"SELECTED":         imapFilterSelected,
	"SELECTED-DELAYED": imapFilterSelectedDelayed,
	"PERSONAL":         imapFilterPersonal,
	"INBOXES":          imapFilterInboxes,
	"SUBSCRIBED":       imapFilterSubscribed,
	"SUBTREE":          imapFilterSubtree,
	"SUBTREE-ONE":      imapFilterSubtreeOne,
	"MAILBOXES":        imapFilterMailboxes,
}

// imapFilterNames bounds the names of one filter.
const imapFilterNames = 1000

// readMailboxFilter reads a filter-mailboxes. Which kinds a command takes is for the command to
// say. A name that no mailbox can have is no error: there is no such mailbox.
func (s *imapSession) readMailboxFilter() (f imapFilter, err error) {
	word, err := s.r.readWord()
	if err != nil {
		return f, err
	}
	kind, known := imapFilterKinds[word]
	if !known {
		return f, imapBad("there are no mailboxes " + word)
	}
	f.kind = kind
	if kind < imapFilterSubtree {
		return f, nil
	}
	if err := s.r.readSpace(); err != nil {
		return f, err
	}
	named := false
	one := func() error {
		name, err := s.r.readAstring()
		if err != nil {
			return err
		}
		named = true
		if name, err = s.decodeName(name); err != nil {
			return nil
		}
		return f.addNames([]string{s.filterName(name)})
	}
	if s.r.peek() != '(' {
		return f, one()
	}
	if err = s.r.readList(one); err == nil && !named {
		err = imapBad("a mailbox name is missing")
	}
	return f, err
}

// addNames adds names to those of the filter.
func (f *imapFilter) addNames(names []string) error {
	if len(f.names)+len(names) > imapFilterNames {
		return imapNo{imap.ResponseCodeLimit, "too many mailboxes are named"}
	}
	f.names = append(f.names, names...)
	return nil
}

// filterName spells a client's name as clientName does, as far as that can be said.
func (s *imapSession) filterName(name string) string {
	first, rest, nested := strings.Cut(name, string(s.door.separator))
	if strings.EqualFold(first, "INBOX") {
		name = "INBOX"
		if nested && rest != "" {
			name += string(s.door.separator) + rest
		}
	}
	return name
}

// has tells whether a folder belongs to the filter. It need not exist, and whether it may be opened is
// another matter. To "selected" belongs the folder that is selected now.
func (f *imapFilter) has(s *imapSession, folder string) (bool, error) {
	switch f.kind {
	case imapFilterSelected, imapFilterSelectedDelayed:
		return s.selected != nil && s.selected.view.name() == folder, nil
	case imapFilterSubscribed:
		names, err := s.tree.subscriptions()
		return slices.Contains(names, folder), err
	case imapFilterPersonal, imapFilterInboxes: // mail may be delivered into each: RFC 5465, section 6.3
		return !mailboxIsOthers(folder), nil
	}
	name := s.clientName(folder)
	for _, root := range f.names {
		if name == root || f.kind != imapFilterMailboxes && imapIsBelow(name, root, s.door.separator, f.kind == imapFilterSubtreeOne) {
			return true, nil
		}
	}
	return false, nil
}

// wantsOthers tells whether others' folders may belong to the filter.
func (f imapFilter) wantsOthers() bool {
	return f.kind != imapFilterPersonal && f.kind != imapFilterInboxes
}

// imapIsBelow tells whether a name is below another one, with next only by one level. All names
// are below the empty one.
func imapIsBelow(name, root string, separator byte, next bool) bool {
	if root = strings.TrimSuffix(root, string(separator)); root != "" {
		root += string(separator)
	}
	below, ok := strings.CutPrefix(name, root)
	return ok && below != "" && !(next && strings.IndexByte(below, separator) >= 0)
}

// filterFolders gives the folders that exist, can be read and belong to one of the filters, sorted, each once.
func (s *imapSession) filterFolders(filters ...imapFilter) (names []string, err error) {
	folders, err := s.tree.folders(slices.ContainsFunc(filters, imapFilter.wantsOthers))
	if err != nil {
		return nil, err
	}
	folders = slices.DeleteFunc(folders, func(f mailboxFolder) bool { return f.rights&mailboxRightRead == 0 }) // RFC 7377, section 2.2
	for i := range filters {
		f := &filters[i]
		if f.kind == imapFilterSubscribed { // read once, not for each folder
			subscribed, err := s.tree.subscriptions()
			if err != nil {
				return nil, err
			}
			for _, folder := range folders {
				if _, found := slices.BinarySearchFunc(subscribed, folder.name, mailboxCompareNames); found && folder.selectable {
					names = append(names, folder.name)
				}
			}
			continue
		}
		for _, folder := range folders {
			if has, _ := f.has(s, folder.name); has && folder.selectable {
				names = append(names, folder.name)
			}
		}
	}
	slices.SortFunc(names, mailboxCompareNames)
	return slices.Compact(names), nil
}
