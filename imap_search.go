package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SEARCH and UID SEARCH (RFC 9051, section 6.4.4), with the result options of
// ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).

func (s *imapSession) cmdSearch() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	search := s.newSearch()
	ret, err := s.r.readSearch(search, s.rev2 || !s.utf8)
	if err != nil {
		if no := (imapNo{}); ret.save && errors.As(err, &no) {
			s.selected.saved = nil // RFC 5182, section 2.1
		}
		return err
	}
	if err := s.mayUpdate(ret); err != nil {
		return err
	}
	if ret.relevancy && !search.fuzzy {
		return errImapRelevancy
	}
	first, last := ret.ends()
	hits, err := s.search(search, ret, first, last)
	if err == nil && ret.relevancy {
		err = s.during(func() error { return search.score(hits) })
	}
	if err != nil {
		return err
	}
	s.tellFound(search, ret, hits, "SEARCH")
	if ret.update {
		s.context(search, ret.items, nil, hits, imapTagCorrelator(s.tag))
	}
	return nil
}

// search looks for messages, with first or last for those ends only. It gives indexes, ascending.
func (s *imapSession) search(search *imapSearch, ret imapSearchReturn, first, last bool) (hits []int, err error) {
	if search.modSeqs {
		s.useModSeqs()
	}
	search.prepare(s.selected.saved)
	if ret.save {
		s.selected.saved = nil // until it is known better
	}
	spans, lowest := s.limit(search.spans) // messages that are searched count (RFC 9738, section 3.1)
	if lowest > 0 && !strings.HasSuffix(s.name, "SEARCH") {
		return nil, s.limitRefusal(s.door.limit, 0) // RFC 9738, section 3.3: not to be had of a part
	}
	search.spans = spans
	if hits, err = s.find(search, first, last); err != nil {
		return nil, err
	}
	s.lowest = lowest
	search.sign()
	return hits, nil
}

// find is imapSearch.find, and tells the client how far it is.
func (s *imapSession) find(search *imapSearch, first, last bool) (hits []int, err error) {
	goal, p := search.spans.count(), s.progress
	sorts := !strings.HasSuffix(s.name, "SEARCH")
	switch {
	case sorts:
		p = s.begins(goal, 2) // what is found is looked at once more
	case search.alone:
		p = s.begins(goal, 1)
	case p == nil: // one mailbox after the other
		p = s.begins(0, 1)
	}
	search.progress = p
	err = s.during(func() (err error) { hits, err = search.find(first, last); return err })
	if sorts {
		p.done.Store(int64(2*goal - len(hits))) // what was not found is done with
	}
	return hits, err
}

// imapSearch is a search under way.
type imapSearch struct {
	view    *mailboxView
	filters func(name string) (text string, ok bool, err error) // saved searches (RFC 5466)
	key     imapSearchKey
	needles []string               // what is looked for in text, by number
	has     [imapCostText + 1]bool // there are keys of this cost
	uidOnly bool                   // no message numbers among the keys
	modSeqs bool                   // the answer tells the highest mod-sequence
	fuzzy   bool                   // there is a FUZZY among the keys
	scores  imapScores             // of what was found, if they are asked for
	hasDate bool                   // of imapCostStat: of the date
	hasSize bool                   // and of the size
	workers [imapWorkersMost]imapSearchWorker

	spans imapSpans // that have to be looked at
	alone bool      // of the selected mailbox and no other

	progress *imapProgress // nil: nobody waits for long

	messages []mailboxMessage // of the batch at hand: memory that is used again
	said     []imapMaybe
	open     []imapSearchOpen
}

// imapSearchWorker is what one core needs for its messages, one after the other.
type imapSearchWorker struct {
	texts []*messageText // by needle, made when they are needed
	body  imapBody
	uids  []uint32
	err   error

	known, signed mailboxSummaries
	unsigned      []uint32 // messages that were read through and have no signature
}

// imapSearchMessage is what is known of a message while it is held against the keys.
type imapSearchMessage struct {
	mailboxMessage
	index   int // in the session's numbering
	known   imapSearchCost
	search  *imapSearch
	worker  *imapSearchWorker
	summary *messageSummary
	words   []byte // signature, nil if it is not known
	header  []byte
	err     error
}

const (
	imapSearchBatch = 1024
	imapSearchSmall = 1 << 20 // larger messages are not read into memory

	imapSearchTogether = 32 // messages that a core takes at a time
)

// prepare is to be called once, before find.
func (s *imapSearch) prepare(saved []uint32) {
	s.key.resolve(s.view, saved)
	s.key.each(func(k *imapSearchKey) {
		s.has[k.kind.cost()] = true
		s.hasDate = s.hasDate || k.kind == imapSearchDate
		s.hasSize = s.hasSize || k.kind == imapSearchSize
	})
	s.spans = s.key.candidates(len(s.view.uids()))
}

// find gives the indexes of the messages that match, ascending. With first or last
// it stops when it has found the first or the last one; others may be among what it
// gives.
func (s *imapSearch) find(first, last bool) (hits []int, err error) {
	if !first && !last {
		return s.findIn(s.spans, false, false)
	}
	if first {
		if hits, err = s.findIn(s.spans, true, false); err != nil || len(hits) == 0 {
			return hits, err
		}
	}
	if last {
		more, err := s.findIn(s.spans, true, true)
		if err != nil {
			return nil, err
		}
		hits = append(hits, more...)
	}
	slices.Sort(hits)
	return slices.Compact(hits), nil
}

// findIn looks at spans, batch by batch, with stop only until a batch has a hit.
func (s *imapSearch) findIn(spans imapSpans, stop, backwards bool) (hits []int, err error) {
	batch := imapSearchBatch
	if stop && (s.has[imapCostHeader] || s.has[imapCostText]) {
		batch = 32
	}
	spans = slices.Clone(spans)
	for len(spans) > 0 && !(stop && len(hits) > 0) {
		at := 0
		if backwards {
			at = len(spans) - 1
		}
		span := &spans[at]
		n := min(batch, span.to-span.from)
		from := span.from
		if backwards {
			from = span.to - n
			span.to = from
		} else {
			span.from += n
		}
		if hits, err = s.batch(hits, from, s.view.uids()[from:from+n]); err != nil {
			return nil, err
		}
		if span.from == span.to {
			spans = slices.Delete(spans, at, at+1)
		}
	}
	return hits, nil
}

// batch looks at messages that follow each other; the first has the index at.
func (s *imapSearch) batch(hits []int, at int, uids []uint32) ([]int, error) {
	s.messages = s.view.appendMessages(s.messages[:0], uids)
	messages := s.messages
	s.said = slices.Grow(s.said[:0], len(uids))[:len(uids)]
	said := s.said
	clear(said) // gone messages stay imapNever
	open := s.open[:0]
	var m imapSearchMessage
	n := 0
	for i := range messages {
		for uids[n] < messages[i].uid {
			n++
		}
		m.mailboxMessage, m.index, m.search = messages[i], at+n, s
		if said[n] = s.key.match(&m); said[n] == imapUnknown {
			open = append(open, imapSearchOpen{i, n})
		}
	}
	s.open = open
	s.looked(len(uids) - len(open))
	imapParallel((len(open)+imapSearchTogether-1)/imapSearchTogether, func(worker, n int) {
		w := &s.workers[worker]
		some := open[n*imapSearchTogether : min((n+1)*imapSearchTogether, len(open))]
		known, words := s.known(w, messages, some)
		for i, o := range some {
			m := imapSearchMessage{mailboxMessage: messages[o.message], index: at + o.place, search: s, worker: w}
			if known != nil {
				m.summary = known[i]
			}
			if words != nil {
				m.words = words[i]
			}
			said[o.place] = m.decide()
			s.looked(1)
		}
	})
	for i := range s.workers {
		if err := s.workers[i].err; err != nil {
			return nil, err
		}
	}
	for i, yes := range said {
		if yes == imapSurely {
			hits = append(hits, at+i)
		}
	}
	return hits, nil
}

// looked notes that it is known of n more messages whether they match.
func (s *imapSearch) looked(n int) {
	if s.progress != nil {
		s.progress.done.Add(int64(n))
	}
}

// known gives what is kept of messages that are not decided yet, nil where nothing is,
// if that is going to be asked for.
func (s *imapSearch) known(w *imapSearchWorker, messages []mailboxMessage, open []imapSearchOpen) (summaries []*messageSummary, words [][]byte) {
	w.uids = w.uids[:0]
	for _, o := range open {
		w.uids = append(w.uids, messages[o.message].uid)
	}
	if s.has[imapCostSummary] {
		summaries = s.view.knownSummaries(w.uids, &w.known)
	}
	if s.has[imapCostText] {
		words = s.view.knownWords(w.uids, &w.signed)
	}
	return summaries, words
}

// imapSearchOpen is a message that is not decided yet.
type imapSearchOpen struct{ message, place int }

// decide learns more and more of a message until it is known whether it matches.
// One that is gone does not.
func (m *imapSearchMessage) decide() imapMaybe {
	defer m.worker.body.reset(nil, 0, nil, nil)
	if m.worker.err != nil {
		return imapNever
	}
	if m.words != nil {
		if said := m.search.key.match(m); said != imapUnknown {
			return said
		}
	}
	for m.known = imapCostStat; m.known <= imapCostText; m.known++ {
		if !m.search.has[m.known] {
			continue
		}
		said := imapUnknown
		if err := m.learn(); err != nil {
			m.err = err
		} else {
			said = m.search.key.match(m)
		}
		if errors.Is(m.err, errMailboxExpunged) || errors.Is(m.err, errMailboxGone) {
			return imapNever
		} else if m.err != nil {
			m.worker.err = fmt.Errorf("searching message %d: %w", m.uid, m.err)
			return imapNever
		}
		if said != imapUnknown {
			return said
		}
	}
	return imapNever
}

// knows tells whether m's facts are enough for k.
func (m *imapSearchMessage) knows(k *imapSearchKey) bool {
	switch k.kind {
	case imapSearchDate:
		return m.date >= 0
	case imapSearchSize:
		return m.size >= 0
	}
	return m.known >= k.kind.cost()
}

// learn finds out what keys of the cost m.known need.
func (m *imapSearchMessage) learn() (err error) {
	view := m.search.view
	switch m.known {
	case imapCostStat:
		if m.search.hasDate && m.date < 0 {
			date, err := view.date(m.uid)
			if err != nil {
				return err
			}
			m.date = date.Unix()
		}
		if m.search.hasSize && m.size < 0 {
			m.size, err = view.size(m.uid)
		}
	case imapCostSummary:
		if m.summary == nil {
			m.summary, err = view.readSummary(m.uid)
		}
	case imapCostHeader:
		err = m.readHeader()
	case imapCostText:
		if err = m.open(); err == nil {
			_, err = m.worker.body.tree()
		}
		if m.words == nil {
			m.worker.unsigned = append(m.worker.unsigned, m.uid)
		}
	}
	return err
}

// sign has signatures made of what was read and has none, so that the next search need not
// read it.
func (s *imapSearch) sign() {
	var uids []uint32
	for i := range s.workers {
		uids = append(uids, s.workers[i].unsigned...)
	}
	s.view.signLater(uids)
}

// readHeader reads the header. With all else, if that is going to be needed, the file
// is read once.
func (m *imapSearchMessage) readHeader() error {
	if err := m.open(); err != nil {
		return err
	}
	if m.search.has[imapCostText] {
		if _, err := m.worker.body.tree(); err != nil {
			return err
		}
	}
	top, err := m.worker.body.top()
	if err != nil {
		return err
	}
	m.header, err = messageReadHeader(m.worker.body.r, top)
	return err
}

func (m *imapSearchMessage) open() error {
	body := &m.worker.body
	if body.view == nil {
		body.reset(m.search.view, m.uid, m.summary, nil)
		body.most = imapSearchSmall
	}
	return body.open()
}

// needle gives what this core has prepared to look for k's text.
func (m *imapSearchMessage) needle(k *imapSearchKey) *messageText {
	w := m.worker
	if w.texts == nil {
		w.texts = make([]*messageText, len(m.search.needles))
	}
	if w.texts[k.needle] == nil {
		text := m.search.needles[k.needle]
		if w.texts[k.needle] = newMessageText(text); k.fuzzy {
			w.texts[k.needle] = newMessageFuzzy(text)
		}
	}
	return w.texts[k.needle]
}

// inText holds BODY and TEXT against the message. Every message contains the empty
// string.
func (m *imapSearchMessage) inText(k *imapSearchKey) imapMaybe {
	if k.text == "" {
		return imapSurely
	}
	needle := m.needle(k)
	needle.begin()
	found, err := needle.inBody(m.worker.body.r, m.worker.body.root, k.kind == imapSearchText)
	if err != nil {
		m.err = err
		return imapUnknown
	}
	return imapSay(found)
}

// imapSearchReturn is the result options (RFC 4731, section 3.1; RFC 5182, section
// 2.1). Without any, the answer is an untagged SEARCH.
type imapSearchReturn struct {
	given, min, max, all, count, save bool

	part imapPart // PARTIAL

	relevancy bool // RFC 6203, section 4

	context, update bool            // RFC 5267, section 4; the first is a hint that is not taken
	items           *imapFetchItems // what UPDATE tells of new messages (RFC 5465, section 7)
}

// hasData tells whether the answer has data items.
func (ret *imapSearchReturn) hasData() bool {
	return ret.min || ret.max || ret.all || ret.count || ret.part.given() || ret.relevancy
}

// ends tells whether the first or the last message, or both, are all that was asked for.
func (ret *imapSearchReturn) ends() (first, last bool) {
	only := !ret.all && !ret.count && !ret.part.given() && !ret.update && !ret.relevancy
	return only && ret.min, only && ret.max
}

// numbers gives sequence numbers or UIDs of what was found.
func (s *imapSearch) numbers(hits []int, byUID bool) []uint32 {
	list := make([]uint32, len(hits))
	for i, hit := range hits {
		if byUID {
			list[i] = s.view.uids()[hit]
		} else {
			list[i] = uint32(hit + 1)
		}
	}
	return list
}

// highest gives the highest mod-sequence of what is told, in whatever order, 0 if that was not asked for or there
// is nothing (RFC 7162, section 3.1.6; RFC 4731, section 3.2).
func (s *imapSearch) highest(uids []uint32) (highest uint64) {
	if s.modSeqs {
		for _, m := range s.view.messages(slices.Sorted(slices.Values(uids))) {
			highest = max(highest, m.modSeq)
		}
	}
	return highest
}

// tellFound writes what SEARCH or SORT has found, in that order.
func (s *imapSession) tellFound(search *imapSearch, ret imapSearchReturn, hits []int, name string) {
	numbers := search.numbers(hits, s.byUID())
	uids := numbers
	if !s.byUID() && (ret.save || search.modSeqs) {
		uids = search.numbers(hits, true)
	}
	if ret.save {
		s.selected.save(ret, uids)
	}
	var out []byte
	switch {
	case ret.given || s.rev2 && name == "SEARCH": // RFC 9051, section 6.4.4
		if ret.all = ret.all || !ret.given; !ret.save || ret.hasData() || ret.update || ret.context {
			out = imapAppendEsearch(nil, imapTagCorrelator(s.tag), s.byUID(), ret, numbers, search.scores.of(ret, hits), search.highest(ret.saves(uids)))
		}
	default:
		highest := search.highest(uids)
		if s.lowest > 0 {
			slices.Reverse(numbers)
		}
		out = append(append(out, "* "...), name...)
		out = imapAppendNumbers(out, numbers, highest)
	}
	s.c.Write(out)
}

// save keeps what was found for "$".
func (sel *imapSelected) save(ret imapSearchReturn, uids []uint32) {
	sel.saved = slices.Clone(ret.saves(uids))
	slices.Sort(sel.saved)
}

// imapTagCorrelator says which command an ESEARCH response belongs to.
func imapTagCorrelator(tag string) string { return `TAG "` + tag + `"` }

// imapAppendNumbers appends numbers, each with a space before it, and the end of the line.
func imapAppendNumbers(dst []byte, numbers []uint32, modSeq uint64) []byte {
	for _, n := range numbers {
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, uint64(n), 10)
	}
	if modSeq > 0 {
		dst = append(strconv.AppendUint(append(dst, " (MODSEQ "...), modSeq, 10), ')')
	}
	return append(dst, "\r\n"...)
}

// imapAppendEsearch appends an ESEARCH response (RFC 9051, section 7.3.4); head is its correlators, scores
// what RELEVANCY tells.
func imapAppendEsearch(dst []byte, head string, byUID bool, ret imapSearchReturn, numbers []uint32, scores []uint8, modSeq uint64) []byte {
	dst = append(append(append(dst, "* ESEARCH ("...), head...), ')')
	if byUID {
		dst = append(dst, " UID"...)
	}
	if len(numbers) > 0 {
		if ret.min {
			dst = strconv.AppendUint(append(dst, " MIN "...), uint64(numbers[0]), 10)
		}
		if ret.max {
			dst = strconv.AppendUint(append(dst, " MAX "...), uint64(numbers[len(numbers)-1]), 10)
		}
		if ret.all {
			dst = imapAppendSet(append(dst, " ALL "...), numbers)
		}
	}
	if ret.part.given() {
		from, to := ret.part.of(len(numbers))
		dst = append(append(append(dst, " PARTIAL ("...), ret.part.text...), ' ')
		if from == to {
			dst = append(dst, "NIL"...)
		}
		dst = append(imapAppendSet(dst, numbers[from:to]), ')')
	}
	dst = imapAppendScores(dst, scores)
	if ret.count {
		dst = strconv.AppendInt(append(dst, " COUNT "...), int64(len(numbers)), 10)
	}
	if modSeq > 0 {
		dst = strconv.AppendUint(append(dst, " MODSEQ "...), modSeq, 10)
	}
	return append(dst, "\r\n"...)
}

// saves gives what "$" stands for after a search with SAVE: with MIN, MAX and PARTIAL alone,
// those messages only (RFC 5182, section 2.4; RFC 9394, section 3.2).
func (ret imapSearchReturn) saves(uids []uint32) []uint32 {
	if ret.all || ret.count || !ret.min && !ret.max && !ret.part.given() || len(uids) == 0 {
		return uids
	}
	var kept []uint32
	if ret.part.given() {
		from, to := ret.part.of(len(uids))
		kept = append(kept, uids[from:to]...)
	}
	if ret.min {
		kept = append(kept, uids[0])
	}
	if ret.max {
		kept = append(kept, uids[len(uids)-1])
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}
