package main

import (
	"errors"
	"slices"
	"strconv"
	"time"
)

// ESEARCH: one search in several mailboxes, selected or not (RFC 7377). They are searched one after the other, each as if it
// were examined: its new mail stays new. What is found is told mailbox by mailbox, so no more is in memory than
// the results of one.

// imapEsearchPause is how long a result waits for others before it goes to the client.
const imapEsearchPause = time.Second

func (s *imapSession) cmdEsearch() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	sources := []imapFilter{{kind: imapFilterSelected}} // RFC 7377, section 2.2
	var err error
	if s.r.takeWord("IN") {
		if sources, err = s.readSources(); err != nil {
			return err
		}
	}
	alone := len(sources) == 1 && sources[0].kind == imapFilterSelected
	search := s.newSearch()
	ret, err := s.r.readSearch(search, s.rev2 || !s.utf8)
	if err != nil {
		if no := (imapNo{}); alone && s.selected != nil && ret.save && errors.As(err, &no) {
			s.selected.saved = nil // RFC 5182, section 2.1
		}
		return err
	}
	switch selects := slices.ContainsFunc(sources, func(f imapFilter) bool { return f.kind == imapFilterSelected }); {
	case selects && s.selected == nil:
		return imapBad("select a mailbox first")
	case ret.save && !alone:
		return imapBad("SAVE is for the selected mailbox alone")
	case ret.update && !alone:
		return imapBad("UPDATE is for the selected mailbox alone")
	case ret.relevancy && !search.fuzzy:
		return errImapRelevancy
	}
	if err := s.mayUpdate(ret); err != nil {
		return err
	}
	ret.all = ret.all || !ret.given
	if search.modSeqs {
		s.useModSeqs()
	}
	if search.alone = alone; alone {
		return s.esearch(search, ret, s.selected.view)
	}
	return s.esearchAll(search, ret, sources)
}

// readSources reads the source options and the space behind them. Those of one kind become one filter, so
// that however often a client writes one there are no more than kinds.
func (s *imapSession) readSources() (sources []imapFilter, err error) {
	if !s.r.take('(') {
		return nil, imapBad("mailboxes are named in parentheses")
	}
	for {
		f, err := s.readMailboxFilter()
		if err != nil {
			return nil, err
		}
		if f.kind == imapFilterSelectedDelayed {
			return nil, imapBad("ESEARCH does not take SELECTED-DELAYED") // RFC 7377, section 2.2
		}
		i := slices.IndexFunc(sources, func(other imapFilter) bool { return other.kind == f.kind })
		if i < 0 {
			sources = append(sources, f)
		} else if err := sources[i].addNames(f.names); err != nil {
			return nil, err
		}
		if s.r.take(')') {
			return sources, s.r.readSpace()
		}
		if err := s.r.readSpace(); err != nil {
			return nil, imapBad("a list of mailboxes does not end")
		}
		if s.r.peek() == '(' {
			return nil, imapBad("there are no scope options") // RFC 7377, section 4: none are defined
		}
	}
}

// esearchAll searches mailbox by mailbox. One that is in trouble does not keep the others from being searched.
func (s *imapSession) esearchAll(search *imapSearch, ret imapSearchReturn, sources []imapFilter) error {
	names, err := s.filterFolders(sources...)
	if err != nil {
		return err
	}
	key := search.key
	var failed error
	flushed := time.Now()
	for _, name := range names {
		search.key = key.clone()
		if err := s.esearchIn(search, ret, name); err != nil && failed == nil {
			failed = err
		}
		if s.c.unsent() && time.Since(flushed) > imapEsearchPause {
			if err := s.c.flush(); err != nil {
				return s.r.fail(err)
			}
			flushed = time.Now()
		}
	}
	return failed
}

// esearchIn searches a folder. One that has gone meanwhile has nothing in it.
func (s *imapSession) esearchIn(search *imapSearch, ret imapSearchReturn, name string) (err error) {
	if s.selected != nil && s.selected.view.name() == name {
		err = s.esearch(search, ret, s.selected.view)
	} else {
		var view *mailboxView
		if view, err = s.tree.view(name, true, nil); err == nil {
			defer view.close()
			err = s.esearch(search, ret, view)
		}
	}
	if errors.Is(err, errMailboxNotFound) || errors.Is(err, errMailboxRights) || errors.Is(err, errMailboxGone) {
		return nil
	}
	return err
}

// esearch searches one mailbox, and tells what it has found, if that is anything (RFC 7377, section 2.1).
func (s *imapSession) esearch(search *imapSearch, ret imapSearchReturn, view *mailboxView) error {
	selected := s.selected != nil && view == s.selected.view
	search.turnTo(view)
	var saved []uint32 // "$" means messages of the selected mailbox
	if selected {
		saved = s.selected.saved
	}
	search.prepare(saved)
	if ret.save {
		s.selected.saved = nil // until it is known better
	}
	lowest := uint32(0)
	if search.alone { // in several, no UID could say where it stopped
		search.spans, lowest = s.limit(search.spans)
	}
	first, last := ret.ends()
	hits, err := s.find(search, first, last)
	if err == nil && ret.relevancy {
		err = s.during(func() error { return search.score(hits) })
	}
	if err != nil {
		return err
	}
	s.lowest = lowest
	search.sign()
	uids := search.numbers(hits, true)
	if ret.save {
		s.selected.save(ret, uids)
	}
	head := s.correlators(view)
	if len(hits) > 0 && (!ret.save || ret.hasData() || ret.update || ret.context) {
		s.c.Write(imapAppendEsearch(nil, head, true, ret, uids, search.scores.of(ret, hits), search.highest(ret.saves(uids))))
	}
	if ret.update {
		s.context(search, ret.items, nil, hits, head)
	}
	return nil
}

// correlators say which command and which mailbox an ESEARCH response belongs to (RFC 7377, section 2.1).
func (s *imapSession) correlators(view *mailboxView) string {
	out := append([]byte(imapTagCorrelator(s.tag)), " MAILBOX "...)
	out = append(s.appendName(out, s.clientName(view.name())), " UIDVALIDITY "...)
	return string(strconv.AppendUint(out, uint64(view.uidValidity()), 10))
}

// turnTo has the search go on in another mailbox.
func (s *imapSearch) turnTo(view *mailboxView) {
	s.view = view
	for i := range s.workers {
		s.workers[i].err, s.workers[i].unsigned = nil, nil
	}
}

// clone copies a key and those below it: resolve changes them.
func (k imapSearchKey) clone() imapSearchKey {
	keys := make([]imapSearchKey, len(k.keys))
	for i := range keys {
		keys[i] = k.keys[i].clone()
	}
	k.keys = keys
	return k
}
