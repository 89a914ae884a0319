package main

import (
	"errors"
	"slices"
	"sort"
	"strconv"

	"github.com/emersion/go-imap/v2"
)

// CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267, section 4): the results of a search with UPDATE are kept, and the
// client is told what comes to them and what leaves them, until the mailbox is left or CANCELUPDATE.
//
// What is kept is the UIDs of the results, four bytes each. Only messages that are new, gone or changed are
// held against the keys again. Where a message belongs in a sorted result is found by comparing it with
// some others, from what the index knows of them; no sort keys are kept.

// imapContext is a search whose results are kept up to date.
type imapContext struct {
	tag     string
	head    string // the correlators of what is told
	byUID   bool   // the client is told UIDs
	key     imapSearchKey
	needles []string
	order   []imapSortKey // nil: the mailbox's order
	hits    []uint32      // UIDs, in that order

	items *imapFetchItems // told of results that are new messages; nil: nothing
	won   []uint32        // UIDs of the results that came in last, ascending
}

const (
	imapContextsMost    = 8       // of a session
	imapContextHitsMost = 1 << 20 // results of all of them; the first one may have more
	imapContextSingly   = 32      // new results above this number are sorted, not looked up one by one
)

// context begins to keep a search up to date that has found hits, if the client asked for it.
func (s *imapSession) context(search *imapSearch, items *imapFetchItems, order []imapSortKey, hits []int, head string) {
	sel := s.selected
	if !s.notify.wantsMessages() {
		s.noUpdate(s.tag, "NOTIFY does not ask for this mailbox")
		return
	}
	kept := len(hits)
	for _, c := range sel.contexts {
		kept += len(c.hits)
	}
	if n := len(sel.contexts); n == imapContextsMost || n > 0 && kept > imapContextHitsMost {
		s.noUpdate(s.tag, "too many contexts")
		return
	}
	c := &imapContext{tag: s.tag, head: head, byUID: s.byUID(), items: items, key: search.key, needles: search.needles, hits: search.numbers(hits, true)}
	c.key.each(func(k *imapSearchKey) { k.freeze(search.view.uids()) })
	for _, k := range order {
		c.order = append(c.order, imapSortKey{imapSortKind: k.imapSortKind, reverse: k.reverse})
	}
	sel.contexts = append(sel.contexts, c)
}

// noUpdate tells that there will be no updates for a search (RFC 5267, section 4.3.1).
func (s *imapSession) noUpdate(tag, why string) {
	s.c.printf(`* NO [NOUPDATE "%s"] %s`, tag, why)
}

// mayUpdate refuses a tag that has updates already (RFC 5267, section 4.3).
func (s *imapSession) mayUpdate(ret imapSearchReturn) error {
	if ret.update && s.selected.contextAt(s.tag) >= 0 {
		return imapBad("this tag has updates already")
	}
	return nil
}

func (sel *imapSelected) contextAt(tag string) int {
	return slices.IndexFunc(sel.contexts, func(c *imapContext) bool { return c.tag == tag })
}

// freeze makes of message numbers, and of "$", the messages that have them now (RFC 5267, section 4.3). These are
// runs of UIDs: no message ever comes between others.
func (k *imapSearchKey) freeze(uids []uint32) {
	if k.kind != imapSearchSeqs && !(k.kind == imapSearchUIDs && k.set.saved) {
		return
	}
	k.kind, k.set = imapSearchUIDs, imapSet{}
	for _, span := range k.spans {
		k.set.ranges = append(k.set.ranges, imapRange{uids[span.from], uids[span.to-1]})
	}
}

// tellGone tells what is gone out of results, by the numbers that messages had: it comes before EXPUNGE (RFC 5267,
// section 4.3.4).
func (s *imapSession) tellGone(gone, before []uint32) {
	if len(gone) == 0 {
		return
	}
	for _, c := range s.selected.contexts {
		s.c.Write(c.remove(nil, gone, before))
	}
}

// tellContexts tells what came into results and left them since sync gave changes. before is the UIDs that the
// session had then.
func (s *imapSession) tellContexts(changes mailboxChanges, before []uint32) {
	sel := s.selected
	if len(sel.contexts) == 0 {
		return
	}
	now := sel.view.uids()
	touched := append(slices.Clone(changes.changed), changes.silent...)
	if n := len(before); n > 0 {
		touched = append(touched, now[imapUIDIndex(now, before[n-1]+1):]...)
		if len(changes.gone) > 0 || now[len(now)-1] != before[n-1] {
			touched = append(touched, before[n-1]) // it is not "*" any more
		}
	} else {
		touched = append(touched, now...)
	}
	if n := len(now); n > 0 && len(changes.gone) > 0 {
		touched = append(touched, now[n-1]) // it may be "*" now
	}
	if len(touched) == 0 {
		return
	}
	slices.Sort(touched)
	touched = slices.Compact(touched)
	sel.contexts = slices.DeleteFunc(sel.contexts, func(c *imapContext) bool {
		out, err := c.update(s, touched)
		if err != nil {
			if !errors.Is(err, errMailboxGone) {
				logCommandFailed(s.c.log, s.user, s.name, err)
			}
			s.noUpdate(c.tag, "no further updates, something went wrong here")
			return true
		}
		s.c.Write(out)
		return false
	})
}

// update holds messages that were touched, UIDs ascending, against the keys, and gives what the client must be
// told.
func (c *imapContext) update(s *imapSession, touched []uint32) (out []byte, err error) {
	view := s.selected.view
	uids := view.uids()
	search := &imapSearch{view: view, key: c.key, needles: c.needles}
	search.prepare(nil)
	matches := map[uint32]bool{}
	for len(touched) > 0 {
		at := imapUIDIndex(uids, touched[0])
		if at == len(uids) {
			break
		}
		if uids[at] != touched[0] { // gone meanwhile
			touched = touched[1:]
			continue
		}
		n := 1
		for n < len(touched) && n < imapSearchBatch && at+n < len(uids) && uids[at+n] == touched[n] {
			n++
		}
		found, err := search.batch(nil, at, touched[:n])
		if err != nil {
			return nil, err
		}
		for _, uid := range touched[:n] {
			matches[uid] = false
		}
		for _, i := range found {
			matches[uids[i]] = true
		}
		touched = touched[n:]
	}
	search.sign()
	var lost []uint32
	for _, uid := range c.hits {
		matched, asked := matches[uid]
		if asked && !matched {
			lost = append(lost, uid)
		}
		delete(matches, uid)
	}
	var won []uint32
	for uid, matched := range matches {
		if matched {
			won = append(won, uid)
		}
	}
	slices.Sort(lost)
	slices.Sort(won)
	c.won = won
	out = c.remove(nil, lost, uids)
	return c.add(out, won, s)
}

// remove takes UIDs, ascending, out of the results, and appends what the client must be told. list is the UIDs by
// which messages have their numbers.
func (c *imapContext) remove(dst []byte, uids, list []uint32) []byte {
	var pairs []byte
	var run []uint32
	kept := c.hits[:0]
	end := func() {
		if len(run) > 0 {
			pairs = c.appendPair(pairs, len(kept)+1, run, list)
			run = run[:0]
		}
	}
	for _, uid := range c.hits {
		if _, gone := slices.BinarySearch(uids, uid); gone {
			run = append(run, uid)
			continue
		}
		if c.order != nil {
			end()
		}
		kept = append(kept, uid)
	}
	end()
	c.hits = kept
	return c.appendResponse(dst, "REMOVEFROM", pairs)
}

// add puts UIDs, ascending, into the results.
func (c *imapContext) add(dst []byte, uids []uint32, s *imapSession) ([]byte, error) {
	if len(uids) == 0 {
		return dst, nil
	}
	list := s.selected.view.uids()
	if c.order == nil {
		c.hits = append(c.hits, uids...)
		slices.Sort(c.hits)
		return c.appendResponse(dst, "ADDTO", c.appendPair(nil, 0, uids, list)), nil
	}
	merged, err := c.merge(s.selected.view, uids)
	if err != nil {
		return dst, err
	}
	var pairs []byte
	for i := 0; i < len(merged); i++ {
		from := i
		for i < len(merged) {
			if _, new := slices.BinarySearch(uids, merged[i]); !new {
				break
			}
			i++
		}
		if i > from {
			pairs = c.appendPair(pairs, from+1, merged[from:i], list)
		}
	}
	c.hits = merged
	return c.appendResponse(dst, "ADDTO", pairs), nil
}

// merge gives the results with UIDs, ascending, at their places.
func (c *imapContext) merge(view *mailboxView, uids []uint32) ([]uint32, error) {
	if len(uids) > imapContextSingly {
		all := slices.Concat(c.hits, uids)
		slices.Sort(all)
		return c.sort(view, all)
	}
	uids, err := c.sort(view, uids)
	if err != nil {
		return nil, err
	}
	merged := make([]uint32, 0, len(c.hits)+len(uids))
	at := 0
	for _, uid := range uids {
		to := at + sort.Search(len(c.hits)-at, func(i int) bool {
			other := c.hits[at+i]
			pair, failed := c.sort(view, []uint32{min(uid, other), max(uid, other)})
			if failed != nil {
				err = failed
				return true
			}
			return pair[0] == uid
		})
		merged = append(append(merged, c.hits[at:to]...), uid)
		at = to
	}
	return append(merged, c.hits[at:]...), err
}

// sort puts UIDs, ascending, in order.
func (c *imapContext) sort(view *mailboxView, uids []uint32) ([]uint32, error) {
	hits := make([]int, len(uids))
	for i, uid := range uids {
		hits[i] = imapUIDIndex(view.uids(), uid)
	}
	hits, err := imapSort(view, hits, slices.Clone(c.order), nil, nil)
	sorted := make([]uint32, len(hits))
	for i, hit := range hits {
		sorted[i] = view.uids()[hit]
	}
	return sorted, err
}

// appendPair appends a position and what is there, as the client calls it. Results in the mailbox's order have no
// positions (RFC 5267, sections 4.3.3 and 4.3.4).
func (c *imapContext) appendPair(dst []byte, position int, uids, list []uint32) []byte {
	if c.order == nil {
		position = 0
	}
	if len(dst) > 0 {
		dst = append(dst, ' ')
	}
	dst = append(strconv.AppendInt(dst, int64(position), 10), ' ')
	if c.byUID {
		return imapAppendSet(dst, uids)
	}
	numbers := make([]uint32, len(uids))
	for i, uid := range uids {
		numbers[i] = uint32(imapUIDIndex(list, uid) + 1)
	}
	return imapAppendSet(dst, numbers)
}

func (c *imapContext) appendResponse(dst []byte, name string, pairs []byte) []byte {
	if len(pairs) == 0 {
		return dst
	}
	dst = append(append(append(dst, "* ESEARCH ("...), c.head...), ')')
	if c.byUID {
		dst = append(dst, " UID"...)
	}
	dst = append(append(append(dst, ' '), name...), " ("...)
	return append(append(dst, pairs...), ")\r\n"...)
}

// cmdCancelUpdate ends updates (RFC 5267, section 4.3.5).
func (s *imapSession) cmdCancelUpdate() error {
	var tags []string
	for s.r.take(' ') {
		if s.r.peek() != '"' {
			return imapBad("CANCELUPDATE takes tags in quotes")
		}
		tag, err := s.r.readQuoted()
		if err != nil {
			return err
		}
		tags = append(tags, tag)
	}
	if len(tags) == 0 {
		return imapBad("a tag is missing")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	for _, tag := range tags {
		if s.selected.contextAt(tag) < 0 {
			return imapNo{imap.ResponseCodeNonExistent, "no search with this tag has updates"}
		}
	}
	s.selected.contexts = slices.DeleteFunc(s.selected.contexts, func(c *imapContext) bool { return slices.Contains(tags, c.tag) })
	return nil
}
