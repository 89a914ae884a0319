package main

import (
	"errors"
	"slices"
	"strings"
)

// SELECT, EXAMINE, CLOSE, UNSELECT.

func (s *imapSession) cmdSelect() error  { return s.selectMailbox(false) }
func (s *imapSession) cmdExamine() error { return s.selectMailbox(true) }

// selectMailbox opens a mailbox. Whatever comes of it, the one before is closed
// (RFC 9051, section 6.3.2).
func (s *imapSession) selectMailbox(readOnly bool) error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return err
	}
	condstore, resync, err := s.readSelectParameters()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	if s.selected != nil {
		s.unselect()
		s.c.printf("* OK [CLOSED] the previous mailbox is closed") // RFC 9051, section 7.1
	}
	folder, err := s.folder(name)
	if err != nil {
		return err
	}
	var view *mailboxView
	err = s.during(func() (err error) { view, err = s.tree.view(folder, readOnly, s.c.wake); return err })
	if err != nil {
		return err
	}
	s.selected, s.state = &imapSelected{view: view}, imapSelectedState
	view.by = s.listener()
	view.by.opens(view.name())
	var changes mailboxChanges
	err = s.during(func() (err error) { changes, err = view.sync(true); return err })
	if err != nil {
		s.unselect()
		return err
	}
	s.condstore = s.condstore || condstore
	s.tellSelected(name, changes.recent)
	if resync != nil {
		if err := s.resync(resync); err != nil {
			return err
		}
	}
	if view.readOnly() { // RFC 4314, section 5.2
		return imapOK{"READ-ONLY", s.name + " completed"}
	}
	return imapOK{"READ-WRITE", s.name + " completed"}
}

// tellSelected tells all about the mailbox that was selected by this name.
func (s *imapSession) tellSelected(name string, recent int) {
	sel := s.selected
	uids := sel.view.uids()
	sel.exists, sel.recent = len(uids), recent
	s.tellKeywords()
	s.c.printf("* %d EXISTS", sel.exists)
	if !s.rev2 {
		s.c.printf("* %d RECENT", recent)
	}
	if !s.rev2 && !s.uidOnly { // it is a message number
		if n := sel.view.firstUnseen(); n > 0 {
			s.c.printf("* OK [UNSEEN %d] the first unseen message", n)
		}
	}
	s.c.printf("* OK [UIDVALIDITY %d] UIDs are valid", sel.view.uidValidity())
	s.c.printf("* OK [UIDNEXT %d] the next UID", sel.view.uidNext())
	s.c.printf("* OK [HIGHESTMODSEQ %d] the highest mod-sequence", sel.view.highestModSeq())
	if id, err := sel.view.objectID(); err == nil { // RFC 8474, section 4.2
		s.c.printf("* OK [MAILBOXID (%s)] the mailbox's identifier", imapMailboxID(id))
	} else { // there was none, and it could not be written: a full disk keeps nobody from reading
		logCommandFailed(s.c.log, s.user, s.name, err)
	}
	s.tellURLMech()
	if s.rev2 { // RFC 9051, section 6.3.2
		out := append([]byte(nil), "* LIST () "...)
		out = append(out, '"', s.door.separator, '"', ' ')
		out = s.appendName(out, s.clientName(sel.view.name()))
		if name != s.clientName(sel.view.name()) { // "inbox"; RFC 9051, section 6.3.9.7
			out = append(s.appendName(append(out, ` ("OLDNAME" (`...), name), "))"...)
		}
		s.c.Write(append(out, "\r\n"...))
	}
}

// tellKeywords tells what flags there are, if the client does not know yet.
func (s *imapSession) tellKeywords() {
	sel := s.selected
	keywords := sel.view.keywords()
	rights := sel.view.rights()
	if sel.keywords != nil && slices.Equal(sel.keywords, keywords) && rights.flags() == sel.mayFlag {
		return
	}
	sel.mayFlag = rights.flags()
	sel.keywords = append(make([]string, 0, len(keywords)), keywords...)
	var names, permanent []string
	for _, flag := range imapFlags {
		names = append(names, string(flag.name))
		if rights.flags()&flag.bit != 0 {
			permanent = append(permanent, string(flag.name))
		}
	}
	names = append(names, "$Forwarded")
	for _, keyword := range keywords {
		if keyword != "" && !strings.EqualFold(keyword, "$Forwarded") {
			names = append(names, keyword)
		}
	}
	s.c.printf("* FLAGS (%s)", strings.Join(names, " "))
	mayWrite := rights&mailboxRightWrite != 0
	if mayWrite {
		permanent = append(permanent, names[len(imapFlags):]...)
	}
	list := strings.Join(permanent, " ")
	switch {
	case sel.view.readOnly():
		s.c.printf("* OK [PERMANENTFLAGS ()] the mailbox is open for reading only")
	case !mayWrite || sel.view.keywordsFull():
		s.c.printf("* OK [PERMANENTFLAGS (%s)] flags that can be changed", list)
	default:
		s.c.printf(`* OK [PERMANENTFLAGS (%s \*)] flags that can be changed`, list)
	}
}

// unselect leaves the selected mailbox, if there is one.
func (s *imapSession) unselect() {
	if s.selected != nil {
		s.listener().leaves(s.selected.view)
		s.selected.view.close()
		s.selected = nil
		s.state = imapAuthenticated
	}
}

// cmdClose expunges, tells nothing of it, and leaves (RFC 9051, section 6.4.1).
func (s *imapSession) cmdClose() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	var err error
	if view := s.selected.view; view.need(mailboxRightExpunge) == nil { // RFC 4314, section 4
		if err = s.during(func() error { return view.expunge(nil) }); errors.Is(err, errMailboxGone) {
			err = nil // so are its messages
		}
	}
	s.unselect()
	return err
}

func (s *imapSession) cmdUnselect() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.unselect()
	return nil
}
