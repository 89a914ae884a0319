package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// FUZZY (RFC 6203). What is looked for in texts is looked for fuzzily (message_fuzzy.go); for other keys FUZZY means
// nothing, as section 5 allows. Scores are computed only where they are asked for, of what was found.

const errImapRelevancy = imapBad("RELEVANCY goes with FUZZY")

// readFuzzy reads the key that FUZZY stands before.
func (p *imapSearchParser) readFuzzy() (key imapSearchKey, err error) {
	if err := p.r.readSpace(); err != nil {
		return key, err
	}
	before := p.fuzzy
	p.fuzzy, p.blurred = true, true
	key, err = p.readKey()
	p.fuzzy = before
	return key, err
}

// imapScores are the scores of messages that were found, 1 to 100.
type imapScores struct {
	hits   []int // ascending
	scores []uint8
}

// score finds the scores of hits, ascending.
func (s *imapSearch) score(hits []int) error {
	scores := make([]uint8, len(hits))
	imapParallel((len(hits)+imapSearchTogether-1)/imapSearchTogether, func(worker, n int) {
		w := &s.workers[worker]
		from := n * imapSearchTogether
		some := hits[from:min(from+imapSearchTogether, len(hits))]
		w.uids = w.uids[:0]
		for _, hit := range some {
			w.uids = append(w.uids, s.view.uids()[hit])
		}
		var known []*messageSummary
		if s.has[imapCostSummary] {
			known = s.view.knownSummaries(w.uids, &w.known)
		}
		at := 0
		for _, message := range s.view.messages(w.uids) {
			for w.uids[at] != message.uid {
				at++
			}
			m := imapSearchMessage{mailboxMessage: message, index: some[at], search: s, worker: w}
			if known != nil {
				m.summary = known[at]
			}
			if w.err == nil {
				scores[from+at] = m.score()
			}
		}
	})
	for i := range s.workers {
		if err := s.workers[i].err; err != nil {
			return err
		}
	}
	for i := range scores { // what is gone meanwhile has none
		scores[i] = max(scores[i], 1)
	}
	s.scores = imapScores{slices.Clone(hits), scores}
	return nil
}

// score learns all that the keys may ask for, and gives the message's score.
func (m *imapSearchMessage) score() uint8 {
	defer m.worker.body.reset(nil, 0, nil, nil)
	for m.known = imapCostStat; m.known <= imapCostText; m.known++ {
		if m.search.has[m.known] && m.err == nil {
			m.err = m.learn()
		}
	}
	m.known = imapCostText
	score := uint8(0)
	if m.err == nil {
		score = m.scoreOf(&m.search.key)
	}
	if m.err != nil && !errors.Is(m.err, errMailboxExpunged) && !errors.Is(m.err, errMailboxGone) {
		m.worker.err = fmt.Errorf("searching message %d: %w", m.uid, m.err)
	}
	if score == 0 { // nothing fuzzy has matched: then all that was asked for is so
		return 100
	}
	return score
}

// scoreOf gives the score of a key that matches, 0 if it has none: the mean of those of AND, the best of those of OR
// that match.
func (m *imapSearchMessage) scoreOf(k *imapSearchKey) uint8 {
	if k.not {
		return 0
	}
	sum, n, best := 0, 0, uint8(0)
	switch k.kind {
	case imapSearchAnd, imapSearchOr:
		for i := range k.keys {
			key := &k.keys[i]
			if k.kind == imapSearchOr && key.match(m) != imapSurely {
				continue
			}
			if score := m.scoreOf(key); score > 0 {
				sum, n, best = sum+int(score), n+1, max(best, score)
			}
		}
		if k.kind == imapSearchOr || n == 0 {
			return best
		}
		return uint8(sum / n)
	}
	if !k.fuzzy {
		return 0
	}
	needle := m.needle(k)
	needle.begin()
	return needle.score(func() { k.matchPlain(m) })
}

// of gives the scores that RELEVANCY tells, in the order of hits: those of PARTIAL, if that was asked for, or of all.
func (s *imapScores) of(ret imapSearchReturn, hits []int) []uint8 {
	if !ret.relevancy {
		return nil
	}
	if ret.part.given() {
		from, to := ret.part.of(len(hits))
		hits = hits[from:to]
	}
	scores := make([]uint8, len(hits))
	for i, hit := range hits {
		if at, found := slices.BinarySearch(s.hits, hit); found {
			scores[i] = s.scores[at]
		}
	}
	return scores
}

// imapAppendScores appends what RELEVANCY tells, if there is something.
func imapAppendScores(dst []byte, scores []uint8) []byte {
	for i, score := range scores {
		if i == 0 {
			dst = append(dst, " RELEVANCY ("...)
		} else {
			dst = append(dst, ' ')
		}
		dst = strconv.AppendUint(dst, uint64(score), 10)
	}
	if len(scores) > 0 {
		dst = append(dst, ')')
	}
	return dst
}
