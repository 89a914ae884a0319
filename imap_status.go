package main

import (
	"slices"
	"strconv"
)

// STATUS (RFC 9051, section 6.3.11; RFC 8438 for SIZE, RFC 7889 for APPENDLIMIT).

// imapStatusItems are what STATUS can be asked for.
var imapStatusItems = map[string]func(s *imapSession, status *mailboxStatus) uint64{
	"MESSAGES":        func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.messages) },
	"RECENT":          func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.recent) },
	"UIDNEXT":         func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.uidNext) },
	"UIDVALIDITY":     func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.uidValidity) },
	"UNSEEN":          func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.unseen) },
	"DELETED":         func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.deleted) },
	"DELETED-STORAGE": func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.deletedSize) }, // RFC 9208, section 4.1.4
	"SIZE":            func(_ *imapSession, st *mailboxStatus) uint64 { return uint64(st.size) },
	"HIGHESTMODSEQ":   func(_ *imapSession, st *mailboxStatus) uint64 { return st.modSeq },
	"APPENDLIMIT":     func(s *imapSession, _ *mailboxStatus) uint64 { return uint64(s.door.appendLimit) },
}

func (s *imapSession) cmdStatus() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	items, err := s.readStatusItems()
	if err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	folder, err := s.folder(name)
	if err != nil {
		return err
	}
	line, err := s.statusLine(folder, items)
	if err != nil {
		return err
	}
	s.c.Write(line)
	return nil
}

// readStatusItems reads the list of what is asked for.
func (s *imapSession) readStatusItems() (items []string, err error) {
	modSeqs := false
	err = s.r.readList(func() error {
		item, err := s.r.readWord()
		if err != nil {
			return err
		}
		if imapStatusItems[item] == nil && item != "MAILBOXID" {
			return imapBad("there is no status item " + item)
		}
		if item == "HIGHESTMODSEQ" {
			modSeqs = true
		}
		items = append(items, item)
		return nil
	})
	if err == nil && len(items) == 0 {
		err = imapBad("no status item was asked for")
	}
	if err == nil && modSeqs {
		s.useModSeqs()
	}
	return items, err
}

// statusLine is the STATUS response of a folder.
func (s *imapSession) statusLine(folder string, items []string) ([]byte, error) {
	withSize := false
	for _, item := range items {
		withSize = withSize || item == "SIZE"
	}
	var status mailboxStatus
	err := s.during(func() (err error) { status, err = s.tree.status(folder, withSize); return err })
	if err != nil {
		return nil, err
	}
	if slices.Contains(items, "DELETED-STORAGE") {
		if status.deletedSize, err = s.tree.deletedSize(folder); err != nil {
			return nil, err
		}
	}
	id := ""
	if slices.Contains(items, "MAILBOXID") { // RFC 8474, section 4.3
		if id, err = s.tree.objectID(folder); err != nil {
			return nil, err
		}
	}
	return s.statusResponse(folder, items, &status, id), nil
}

// statusResponse is a STATUS response; id is what MAILBOXID tells.
func (s *imapSession) statusResponse(folder string, items []string, status *mailboxStatus, id string) []byte {
	out := append([]byte(nil), "* STATUS "...)
	out = s.appendName(out, s.clientName(folder))
	out = append(out, " ("...)
	for i, item := range items {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, item...)
		out = append(out, ' ')
		if item == "MAILBOXID" {
			out = append(append(append(out, '('), imapMailboxID(id)...), ')')
			continue
		}
		out = strconv.AppendUint(out, imapStatusItems[item](s, status), 10)
	}
	return append(out, ")\r\n"...)
}
