package main

import (
	"slices"
	"sort"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// LIST with RFC 5258's selection and return options, STATUS in it (RFC 5819), special
// uses (RFC 6154); LSUB; NAMESPACE.

// imapList is what a LIST asks for.
type imapList struct {
	subscribed, special, recursive            bool // selection options
	wantSubscribed, wantChildren, wantSpecial bool // return options
	status                                    []string
	metadata                                  []string // entries (RFC 9590)
	rights                                    bool     // RFC 8440
	extended                                  bool
	patterns                                  []string // with the reference before them, UTF-8
	root                                      bool     // the pattern is empty: only the separator is asked for
}

// imapListPatterns bounds the patterns of one LIST.
const imapListPatterns = 100

// imapListName is a mailbox that LIST may tell.
type imapListName struct {
	folder, name              string // the folder's name, and the client's
	exists, subscribed        bool
	closed                    bool // it cannot be opened
	use                       string
	rights                    mailboxRights
	children, subscribedBelow bool
}

func (s *imapSession) cmdList() error {
	list, err := s.readListCommand()
	if err != nil {
		return err
	}
	if list.root && !list.extended {
		s.c.printf(`* LIST (\Noselect) "%c" ""`, s.door.separator) // RFC 9051, section 6.3.9
		return nil
	}
	names, err := s.listNames(list.wantsOthers(s.shared()))
	if err != nil {
		return err
	}
	for i := range names {
		if !list.matches(names[i].name, s.door.separator) {
			continue
		}
		if s.listLine(list, &names[i]) == nil {
			continue
		}
		if list.subscribed && !names[i].subscribed { // listed for what is below it: it has no more responses (RFC 5819, section 2)
			s.c.Write(s.listLine(list, &names[i]))
			continue
		}
		status := s.listStatus(list, &names[i])
		s.c.Write(s.listLine(list, &names[i]))
		s.c.Write(status)
		s.c.Write(s.listMetadata(list, &names[i]))
		if list.rights && names[i].rights != 0 {
			s.c.Write(s.rightsLine(names[i].folder, names[i].rights))
		}
	}
	return nil
}

// listStatus gives the STATUS response of a mailbox that is listed, if it was asked for. One
// that has gone meanwhile, or cannot be opened, has none and is not selectable (RFC 9051,
// section 6.3.9.2).
func (s *imapSession) listStatus(list *imapList, n *imapListName) []byte {
	if len(list.status) == 0 || !n.exists {
		return nil
	}
	line, err := s.statusLine(n.folder, list.status)
	if err == nil {
		return line
	}
	if _, known := imapReply(err); !known {
		logCommandFailed(s.c.log, s.user, s.name, err)
	}
	n.closed = true
	return nil
}

// listMetadata gives the METADATA response of a mailbox that is listed, if it was asked for.
// One whose annotations cannot be read has none (RFC 9590, section 3).
func (s *imapSession) listMetadata(list *imapList, n *imapListName) []byte {
	if len(list.metadata) == 0 || !n.exists || n.closed {
		return nil
	}
	annotations, err := s.tree.annotations(n.folder)
	if err != nil {
		if _, known := imapReply(err); !known {
			logCommandFailed(s.c.log, s.user, s.name, err)
		}
		return nil
	}
	want := imapMetadataWanted{entries: list.metadata, maxSize: -1}
	found, _ := want.of(annotations)
	return s.metadataLine(n.folder, found)
}

// readListCommand reads the arguments of LIST.
func (s *imapSession) readListCommand() (*imapList, error) {
	list := &imapList{}
	if err := s.r.readSpace(); err != nil {
		return nil, err
	}
	if s.r.peek() == '(' {
		list.extended = true
		if err := s.r.readList(func() error { return list.readSelection(&s.r) }); err != nil {
			return nil, err
		}
		if list.recursive && !list.subscribed {
			return nil, imapBad("RECURSIVEMATCH needs SUBSCRIBED") // RFC 5258, section 3.1
		}
		if err := s.r.readSpace(); err != nil {
			return nil, err
		}
	}
	reference, err := s.r.readAstring()
	if err != nil {
		return nil, err
	}
	if err := s.r.readSpace(); err != nil {
		return nil, err
	}
	if s.r.peek() == '(' {
		list.extended = true
		err = s.r.readList(func() error { return s.readPattern(list, reference) })
	} else {
		err = s.readPattern(list, reference)
	}
	if err != nil {
		return nil, err
	}
	if s.r.take(' ') {
		list.extended = true
		if word, err := s.r.readWord(); err != nil || word != "RETURN" {
			return nil, imapBad("RETURN is missing")
		}
		if err := s.r.readSpace(); err != nil {
			return nil, err
		}
		if err := s.r.readList(func() error { return s.readListReturn(list) }); err != nil {
			return nil, err
		}
	}
	return list, s.r.readEnd()
}

// readSelection reads one selection option.
func (list *imapList) readSelection(r *imapReader) error {
	word, err := r.readWord()
	if err != nil {
		return err
	}
	switch word {
	case "SUBSCRIBED":
		list.subscribed, list.wantSubscribed = true, true // RFC 5258, section 3.1
	case "SPECIAL-USE":
		list.special, list.wantSpecial = true, true
	case "RECURSIVEMATCH":
		list.recursive = true
	case "REMOTE": // there are none
	default:
		return imapBad("there is no selection option " + word)
	}
	return nil
}

// readListReturn reads one return option.
func (s *imapSession) readListReturn(list *imapList) error {
	word, err := s.r.readWord()
	if err != nil {
		return err
	}
	switch word {
	case "SUBSCRIBED":
		list.wantSubscribed = true
	case "CHILDREN":
		list.wantChildren = true
	case "SPECIAL-USE":
		list.wantSpecial = true
	case "STATUS":
		if err := s.r.readSpace(); err != nil {
			return err
		}
		list.status, err = s.readStatusItems()
		return err
	case "MYRIGHTS":
		list.rights = true
	case "METADATA":
		if err := s.r.readSpace(); err != nil {
			return err
		}
		if s.r.peek() != '(' {
			return imapBad("a list is missing")
		}
		list.metadata, err = s.r.readEntries()
		return err
	default:
		return imapBad("there is no return option " + word)
	}
	return nil
}

// readPattern reads a pattern (list-mailbox) and puts the reference before it.
func (s *imapSession) readPattern(list *imapList, reference string) error {
	var pattern string
	var err error
	if c := s.r.peek(); c == '"' || c == '{' {
		pattern, err = s.r.readString()
	} else {
		pattern = s.r.readWhile(func(c byte) bool { return c == '%' || c == '*' || imapIsAstringChar(c) })
		if pattern == "" {
			err = imapBad("a pattern is missing")
		}
	}
	if err != nil {
		return err
	}
	if len(list.patterns) == imapListPatterns {
		return imapBad("too many patterns")
	}
	list.root = pattern == ""
	if pattern, err = s.decodeName(reference + pattern); err != nil {
		return err
	}
	list.patterns = append(list.patterns, pattern)
	return nil
}

func (list *imapList) matches(name string, separator byte) bool {
	return slices.ContainsFunc(list.patterns, func(pattern string) bool { return imapMatch(pattern, name, separator) })
}

// wantsOthers tells whether others' mailboxes may match. To list them takes a look at each folder of all users.
func (list *imapList) wantsOthers(word string) bool {
	return slices.ContainsFunc(list.patterns, func(pattern string) bool {
		n := strings.IndexAny(pattern, "*%")
		if n < 0 {
			n = len(pattern)
		}
		n = min(n, len(word))
		return pattern[:n] == word[:n]
	})
}

// listNames gives all mailboxes, others' if they are wanted, and all names that are subscribed to, and their
// parents, sorted as the mailbox room sorts.
func (s *imapSession) listNames(others bool) ([]imapListName, error) {
	folders, err := s.tree.folders(others)
	if err != nil {
		return nil, err
	}
	subscriptions, err := s.tree.subscriptions()
	if err != nil {
		return nil, err
	}
	names := make([]imapListName, 0, len(folders)+len(subscriptions))
	at := map[string]int{}
	for _, f := range folders {
		at[f.name] = len(names)
		names = append(names, imapListName{folder: f.name, name: s.clientName(f.name), exists: f.selectable, use: f.use, rights: f.rights})
	}
	for _, folder := range subscriptions {
		i, known := at[folder]
		if !known {
			i = len(names)
			at[folder] = i
			names = append(names, imapListName{folder: folder, name: s.clientName(folder)})
		}
		names[i].subscribed = true
	}
	for i := 0; i < len(names); i++ { // grows: parents of what is only subscribed to
		n := names[i]
		parent, _, nested := imapCutLast(n.folder, "/")
		for nested {
			p, known := at[parent]
			if !known {
				p = len(names)
				at[parent] = p
				names = append(names, imapListName{folder: parent, name: s.clientName(parent)})
			}
			names[p].children = names[p].children || n.exists || n.children
			names[p].subscribedBelow = names[p].subscribedBelow || n.subscribed
			parent, _, nested = imapCutLast(parent, "/")
		}
	}
	sort.Slice(names, func(i, j int) bool { return mailboxCompareNames(names[i].folder, names[j].folder) < 0 })
	return names, nil
}

// imapCutLast is strings.Cut at the last separator.
func imapCutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// listLine gives the LIST response of a name that matches, nil if it is not selected.
func (s *imapSession) listLine(list *imapList, n *imapListName) []byte {
	belowOnly := false
	switch {
	case list.subscribed && !n.subscribed:
		if !list.recursive || !n.subscribedBelow {
			return nil
		}
		belowOnly = true
	case list.special && n.use == "":
		return nil
	case !list.subscribed && !n.exists && !n.children:
		return nil // a subscription to what is not there
	}
	var attrs []imap.MailboxAttr
	switch {
	case !n.exists && (list.extended || s.rev2):
		attrs = append(attrs, imap.MailboxAttrNonExistent) // RFC 5258, section 3.4; RFC 9051, section 7.3.1
	case !n.exists, n.closed:
		attrs = append(attrs, imap.MailboxAttrNoSelect)
	}
	if n.children {
		attrs = append(attrs, imap.MailboxAttrHasChildren)
	} else if n.exists || list.wantChildren {
		attrs = append(attrs, imap.MailboxAttrHasNoChildren)
	}
	if list.wantSubscribed && n.subscribed {
		attrs = append(attrs, imap.MailboxAttrSubscribed)
	}
	if n.use != "" && (list.wantSpecial || !list.extended) { // RFC 6154, section 2: a plain LIST may tell them
		attrs = append(attrs, imap.MailboxAttr(`\`+n.use))
	}
	out := s.beginList(attrs, n.name)
	if list.recursive && (belowOnly || n.subscribedBelow) {
		out = append(out, ` ("CHILDINFO" ("SUBSCRIBED"))`...) // RFC 5258, section 3.5
	}
	return append(out, "\r\n"...)
}

// beginList begins a LIST response.
func (s *imapSession) beginList(attrs []imap.MailboxAttr, name string) []byte {
	out := append([]byte(nil), "* LIST ("...)
	for i, attr := range attrs {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, attr...)
	}
	out = append(out, `) "`...)
	out = append(out, s.door.separator, '"', ' ')
	return s.appendName(out, name)
}

// cmdLsub tells what is subscribed to. With "%", the parent of what is subscribed
// stands for it, with \Noselect (RFC 3501, section 6.3.9).
func (s *imapSession) cmdLsub() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	reference, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	list := &imapList{}
	if err := s.readPattern(list, reference); err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	names, err := s.listNames(false) // whether they exist does not matter
	if err != nil {
		return err
	}
	percent := strings.HasSuffix(list.patterns[0], "%")
	for i := range names {
		n := &names[i]
		if !n.subscribed && (!percent || !n.subscribedBelow) || !list.matches(n.name, s.door.separator) {
			continue
		}
		out := append([]byte(nil), "* LSUB ("...)
		if !n.subscribed {
			out = append(out, `\Noselect`...)
		}
		out = append(out, `) "`...)
		out = append(out, s.door.separator, '"', ' ')
		s.c.Write(append(s.appendName(out, n.name), "\r\n"...))
	}
	return nil
}

func (s *imapSession) cmdNamespace() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	out := append([]byte(nil), "* NAMESPACE (("...)
	out = imapAppendString(out, s.door.prefix)
	out = append(out, ' ', '"', s.door.separator, '"')
	if s.shared() == "" {
		s.c.Write(append(out, ")) NIL NIL\r\n"...)) // RFC 9051, section 6.3.10: one's own, others', shared
		return nil
	}
	name := s.shared() + string(s.door.separator)
	if !s.utf8 {
		name = mailboxEncodeName(name)
	}
	out = imapAppendString(append(out, ")) (("...), name)
	s.c.Write(append(append(out, ' ', '"', s.door.separator, '"'), ")) NIL\r\n"...))
	return nil
}
