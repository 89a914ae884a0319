package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// SORT and UID SORT (RFC 5256), by what is displayed as well (RFC 5957), with result options
// (RFC 5267).

// imapSortKinds are the sort criteria.
var imapSortKinds = map[string]imapSortKind{
	"ARRIVAL": {need: imapCostStat, number: func(m *mailboxMessage, _ *messageSummary) int64 { return m.date }},
	"SIZE":    {need: imapCostStat, size: true, number: func(m *mailboxMessage, _ *messageSummary) int64 { return m.size }},
	"DATE":    {need: imapCostSummary, number: imapSentTime},
	"CC":      {need: imapCostSummary, text: func(header []byte) string { return messageSortMailbox(header, "cc") }},
	"FROM":    {need: imapCostSummary, text: func(header []byte) string { return messageSortMailbox(header, "from") }},
	"TO":      {need: imapCostSummary, text: func(header []byte) string { return messageSortMailbox(header, "to") }},
	"SUBJECT": {need: imapCostSummary, text: func(header []byte) string { base, _ := messageSortSubject(header); return base }},

	"RELEVANCY": {relevancy: true}, // RFC 6203, section 6

	"DISPLAYFROM": {need: imapCostSummary, text: func(header []byte) string { return messageSortDisplay(header, "from") }},
	"DISPLAYTO":   {need: imapCostSummary, text: func(header []byte) string { return messageSortDisplay(header, "to") }},
}

// imapSortKind is what messages can be sorted by: a number or a text.
type imapSortKind struct {
	need   imapSearchCost // what must be known of a message
	size   bool           // its size, too
	number func(m *mailboxMessage, summary *messageSummary) int64
	text   func(header []byte) string

	relevancy bool // the highest score comes first
}

// imapSortKey is one criterion of a SORT, with the values of the messages at hand.
type imapSortKey struct {
	imapSortKind
	reverse bool
	numbers []int64
	texts   []string
}

// imapSortKeysMost is how many criteria a SORT may have: there are no more of them.
const imapSortKeysMost = 16

// imapSentTime is the sent date in seconds since 1970; without one, INTERNALDATE (RFC 5256,
// section 2.2).
func imapSentTime(m *mailboxMessage, summary *messageSummary) int64 {
	if summary == nil || summary.sent.IsZero() {
		return m.date
	}
	return summary.sent.Unix()
}

func (s *imapSession) cmdSort() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	var ret imapSearchReturn
	var err error
	if s.r.takeWord("RETURN") {
		if ret, err = s.r.readSearchReturn(); err != nil {
			return err
		}
	}
	keys, err := s.r.readSortKeys()
	if err != nil {
		return err
	}
	search := s.newSearch()
	if err := s.readFound(search, ret); err != nil {
		return err
	}
	if err := s.mayUpdate(ret); err != nil {
		return err
	}
	relevancy := slices.ContainsFunc(keys, func(k imapSortKey) bool { return k.relevancy })
	if (relevancy || ret.relevancy) && !search.fuzzy {
		return errImapRelevancy
	}
	hits, err := s.search(search, ret, false, false)
	if err == nil && (relevancy || ret.relevancy) {
		err = s.during(func() error { return search.score(hits) })
	}
	if err != nil {
		return err
	}
	err = s.during(func() (err error) {
		hits, err = imapSort(search.view, hits, keys, search.scores.scores, s.progress)
		return err
	})
	if err != nil {
		return err
	}
	s.tellFound(search, ret, hits, "SORT")
	switch {
	case ret.update && relevancy: // a score takes reading a message
		s.noUpdate(s.tag, "what is sorted by RELEVANCY is not kept up to date")
	case ret.update:
		s.context(search, ret.items, keys, hits, imapTagCorrelator(s.tag))
	}
	return nil
}

// readSortKeys reads the sort criteria and the space behind them.
func (r *imapReader) readSortKeys() (keys []imapSortKey, err error) {
	reverse := false
	err = r.readList(func() error {
		word, err := r.readWord()
		if err != nil {
			return err
		}
		if word == "REVERSE" && !reverse {
			reverse = true
			return nil
		}
		kind, known := imapSortKinds[word]
		if !known {
			return imapBad("there is no sort criterion " + word)
		}
		if len(keys) == imapSortKeysMost {
			return imapBad("too many sort criteria")
		}
		keys, reverse = append(keys, imapSortKey{imapSortKind: kind, reverse: reverse}), false
		return nil
	})
	if err == nil && (len(keys) == 0 || reverse) {
		err = imapBad("a sort criterion is missing")
	}
	if err == nil {
		err = r.readSpace()
	}
	return keys, err
}

// readFound reads the charset and the keys of SORT and THREAD, up to the end of the command.
func (s *imapSession) readFound(search *imapSearch, ret imapSearchReturn) error {
	name, err := s.r.readAstring()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	err = s.r.readSearchKeys(search, name)
	if no := (imapNo{}); ret.save && errors.As(err, &no) {
		s.selected.saved = nil // RFC 5182, section 2.1
	}
	return err
}

// imapSort puts hits, which are ascending, in order. scores are theirs if there is a key for them. progress may be nil.
func imapSort(view *mailboxView, hits []int, keys []imapSortKey, scores []uint8, progress *imapProgress) ([]int, error) {
	uids := make([]uint32, len(hits))
	for i, hit := range hits {
		uids[i] = view.uids()[hit]
	}
	need := imapFacts{}
	for i := range keys {
		k := &keys[i]
		need.add(k.need)
		need.size = need.size || k.size
		if k.text != nil {
			k.texts = make([]string, len(hits))
		} else {
			k.numbers = make([]int64, len(hits))
		}
	}
	err := imapLearn(view, uids, need, progress, func(at int, m *mailboxMessage, summary *messageSummary) {
		for i := range keys {
			k := &keys[i]
			if k.relevancy {
				k.numbers[at] = -int64(scores[at])
			} else if k.number != nil {
				k.numbers[at] = k.number(m, summary)
			} else if summary != nil {
				k.texts[at] = k.text(summary.header)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	order := make([]int, len(hits))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		for i := range keys {
			if c := keys[i].compare(a, b); c != 0 {
				return c
			}
		}
		return a - b // RFC 5256, section 3: in the mailbox's order
	})
	for i, at := range order {
		order[i] = hits[at]
	}
	return order, nil
}

func (k *imapSortKey) compare(a, b int) int {
	c := 0
	if k.texts != nil {
		c = strings.Compare(k.texts[a], k.texts[b])
	} else {
		c = cmp.Compare(k.numbers[a], k.numbers[b])
	}
	if k.reverse {
		return -c
	}
	return c
}

// imapFacts is what must be known of messages.
type imapFacts struct{ date, size, summary bool }

func (f *imapFacts) add(cost imapSearchCost) {
	f.date = true
	f.summary = f.summary || cost >= imapCostSummary
}

// imapLearnTogether is how many messages a core takes at a time.
const imapLearnTogether = 128

// imapLearn finds out what is needed of messages, UIDs ascending, and calls take for each that is
// still there, on several cores. at is its place among uids. The summary may be nil if the message has
// gone meanwhile; it is valid only during the call.
func imapLearn(view *mailboxView, uids []uint32, need imapFacts, progress *imapProgress, take func(at int, m *mailboxMessage, summary *messageSummary)) error {
	var workers [imapWorkersMost]struct {
		known mailboxSummaries
		err   error
	}
	imapParallel((len(uids)+imapLearnTogether-1)/imapLearnTogether, func(worker, n int) {
		w := &workers[worker]
		from := n * imapLearnTogether
		some := uids[from:min(from+imapLearnTogether, len(uids))]
		var summaries []*messageSummary
		if need.summary {
			summaries = view.knownSummaries(some, &w.known)
		}
		at := 0
		for _, m := range view.messages(some) {
			for some[at] != m.uid {
				at++
			}
			var summary *messageSummary
			if need.summary {
				summary = summaries[at]
			}
			summary, err := imapLearnOne(view, &m, summary, need)
			if errors.Is(err, errMailboxExpunged) {
				continue
			} else if err != nil {
				w.err = err
				return
			}
			take(from+at, &m, summary)
			if progress != nil {
				progress.done.Add(1)
			}
		}
	})
	for i := range workers {
		if err := workers[i].err; err != nil {
			return err
		}
	}
	return nil
}

// imapLearnOne finds out what is not known yet of one message.
func imapLearnOne(view *mailboxView, m *mailboxMessage, summary *messageSummary, need imapFacts) (*messageSummary, error) {
	var err error
	if need.summary && summary == nil {
		if summary, err = view.readSummary(m.uid); err != nil {
			return nil, err
		}
	}
	if need.date && m.date < 0 {
		date, err := view.date(m.uid)
		if err != nil {
			return nil, err
		}
		m.date = date.Unix()
	}
	if need.size && m.size < 0 {
		m.size, err = view.size(m.uid)
	}
	return summary, err
}
