package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// CONDSTORE and QRESYNC (RFC 7162): mod-sequences in answers, and what has vanished. What a
// client's mod-sequence is worth, the mailbox room says (mailbox_modseq.go).

// imapResync is the QRESYNC parameter of SELECT (RFC 7162, section 3.2.5).
type imapResync struct {
	validity uint32
	since    uint64
	known    imapSet // UIDs; no ranges if they were not given: then all
	seqs     imapSet // numbers, and the UIDs that the client knows them by
	uids     imapSet
}

// useModSeqs is for a command that shows that the client knows of mod-sequences: from now on
// it is told them (RFC 7162, section 3.1).
func (s *imapSession) useModSeqs() {
	if s.condstore {
		return
	}
	if s.condstore = true; s.selected != nil {
		s.c.printf("* OK [HIGHESTMODSEQ %d] the highest mod-sequence", s.selected.view.highestModSeq())
	}
}

// tellHeldBack says from where the client would have to begin if the connection broke now:
// while expunges are held back, or others have been at work since sync, that is not the highest
// mod-sequence it has seen (RFC 7162, section 3.2).
func (s *imapSession) tellHeldBack() {
	sel := s.selected
	held := sel.view.holdsBack()
	if s.condstore && (held || sel.heldBack) {
		s.c.printf("* OK [HIGHESTMODSEQ %d] all up to this was told", sel.view.highestModSeq())
	}
	sel.heldBack = held
}

// readModSeq reads a mod-sequence: 63 bits. 0, which only UNCHANGEDSINCE and SEARCH may have,
// is taken everywhere.
func (r *imapReader) readModSeq() (uint64, error) {
	n, err := r.readNumber64()
	if err != nil {
		return 0, imapBad("a mod-sequence is missing or too large")
	}
	return uint64(n), nil
}

// readSelectParameters reads what may follow the name in SELECT (RFC 4466, section 2.4).
func (s *imapSession) readSelectParameters() (condstore bool, resync *imapResync, err error) {
	if !s.r.take(' ') {
		return false, nil, nil
	}
	if s.r.peek() != '(' {
		return false, nil, imapBad("too many arguments")
	}
	err = s.r.readList(func() error {
		name, err := s.r.readWord()
		switch {
		case err != nil:
			return err
		case name == "CONDSTORE":
			condstore = true
			return nil
		case name == "QRESYNC" && !s.qresync:
			return imapBad("ENABLE QRESYNC first") // RFC 7162, section 3.2.5
		case name == "QRESYNC" && resync == nil:
			if err := s.r.readSpace(); err != nil {
				return err
			}
			resync, err = s.r.readResync()
			if err == nil && s.uidOnly && len(resync.seqs.ranges) > 0 {
				err = errImapUIDRequired // RFC 9586, section 3.7
			}
			return err
		}
		return imapBad("there is no such parameter")
	})
	return condstore, resync, err
}

// readResync reads the argument of QRESYNC.
func (r *imapReader) readResync() (*imapResync, error) {
	q := &imapResync{}
	if !r.take('(') {
		return nil, imapBad("QRESYNC takes a list")
	}
	var err error
	if q.validity, err = r.readNumber(); err == nil {
		err = r.readSpace()
	}
	if err == nil {
		q.since, err = r.readModSeq()
	}
	if err != nil {
		return nil, err
	}
	if len(r.line) > 1 && r.line[0] == ' ' && r.line[1] != '(' {
		r.take(' ')
		if q.known, err = r.readUIDs(); err != nil {
			return nil, err
		}
	}
	if r.take(' ') {
		if !r.take('(') {
			return nil, imapBad("numbers and their UIDs are missing")
		}
		if q.seqs, err = r.readUIDs(); err == nil {
			err = r.readSpace()
		}
		if err == nil {
			q.uids, err = r.readUIDs()
		}
		if err == nil && !r.take(')') {
			err = imapBad("a list does not end")
		}
		if err == nil && q.seqs.size() != q.uids.size() {
			err = imapBad("there are not as many numbers as UIDs")
		}
		if err != nil {
			return nil, err
		}
	}
	if !r.take(')') {
		return nil, imapBad("a list does not end")
	}
	return q, nil
}

// readUIDs reads a set without "*" and "$".
func (r *imapReader) readUIDs() (imapSet, error) {
	set, err := r.readSet()
	if err == nil && (set.saved || set.size() == 0) {
		err = imapBad("* and $ have no place here")
	}
	return set, err
}

// size is how many numbers a set names, each as often as it does; 0 if "*" is among them.
func (set imapSet) size() (n int64) {
	for _, r := range set.ranges {
		if r.a == imapStar || r.b == imapStar {
			return 0
		}
		n += int64(max(r.a, r.b)) - int64(min(r.a, r.b)) + 1
	}
	return n
}

// resync tells all that has changed since the client was here last (RFC 7162, section
// 3.2.5).
func (s *imapSession) resync(q *imapResync) error {
	view := s.selected.view
	if q.validity != view.uidValidity() {
		return nil // the client sees that by itself
	}
	known := q.known
	if known.size() == 0 {
		known = imapSet{ranges: []imapRange{{1, math.MaxUint32}}}
	}
	if err := s.tellVanished(q.since, known, q.matched(view.uids())); err != nil {
		return err
	}
	items := &imapFetchItems{}
	if !s.uidOnly {
		items.addPlain(imapFetchUID)
	}
	items.addPlain(imapFetchFlags)
	items.addPlain(imapFetchModSeq)
	f := s.newFetch(items)
	f.changed, f.since = true, view.since(q.since)
	if err := f.run(known.byUID(view.uids())); err != nil {
		return s.r.fail(err)
	}
	return f.err
}

// matched gives the highest UID that the client knows by the number it has now: up to it, it
// knows what has vanished (RFC 7162, section 3.2.5.2).
func (q *imapResync) matched(uids []uint32) uint32 {
	highest := uint32(0)
	at, in := 0, uint32(0) // the range of q.uids, and the place in it
	for _, seqs := range q.seqs.ranges {
		for seq := min(seqs.a, seqs.b); ; seq++ {
			known := q.uids.ranges[at]
			uid := min(known.a, known.b) + in
			if int64(seq) > int64(len(uids)) || uids[seq-1] != uid {
				return highest // they ascend, so no later pair can match all before it
			}
			highest = uid
			if in++; uid == max(known.a, known.b) {
				at, in = at+1, 0
			}
			if seq == max(seqs.a, seqs.b) {
				break
			}
		}
	}
	return highest
}

// tellVanished tells those UIDs of a set, above one, that have vanished since.
func (s *imapSession) tellVanished(since uint64, set imapSet, above uint32) error {
	runs, err := s.selected.view.vanished(since)
	if err != nil {
		return err
	}
	out := append([]byte(nil), "* VANISHED (EARLIER) "...)
	bare := len(out)
	for _, run := range set.cut(runs) {
		if run.to <= above {
			continue
		}
		run.from = max(run.from, above+1)
		if len(out) > bare {
			out = append(out, ',')
		}
		if out = strconv.AppendUint(out, uint64(run.from), 10); run.to > run.from {
			out = strconv.AppendUint(append(out, ':'), uint64(run.to), 10)
		}
	}
	if len(out) > bare {
		s.c.Write(append(out, "\r\n"...))
	}
	return nil
}

// cut gives what of runs of UIDs, ascending, is in the set.
func (set imapSet) cut(runs []mailboxUIDs) (cut []mailboxUIDs) {
	wanted := make([]mailboxUIDs, 0, len(set.ranges))
	for _, r := range set.ranges {
		wanted = append(wanted, mailboxUIDs{min(r.a, r.b), max(r.a, r.b)})
	}
	slices.SortFunc(wanted, func(a, b mailboxUIDs) int { return cmp.Compare(a.from, b.from) })
	told := uint32(0) // up to it all is in cut, or not in the set
	for _, w := range wanted {
		for len(runs) > 0 && runs[0].to < max(w.from, told+1) {
			runs = runs[1:]
		}
		for _, run := range runs {
			from, to := max(run.from, w.from, told+1), min(run.to, w.to)
			if run.from > w.to {
				break
			}
			if from <= to {
				cut, told = append(cut, mailboxUIDs{from, to}), to
			}
		}
	}
	return cut
}

// imapAppendModSeq appends a message's mod-sequence as FETCH has it.
func imapAppendModSeq(dst []byte, modSeq uint64) []byte {
	return append(strconv.AppendUint(append(dst, '('), modSeq, 10), ')')
}

// imapFetchModifiers are what may follow the items of FETCH.
type imapFetchModifiers struct {
	changed  bool // CHANGEDSINCE
	since    uint64
	vanished bool // what has vanished is told, too
	part     imapPart
}

// readFetchModifiers reads them (RFC 7162, sections 3.1.4.1 and 3.2.6; RFC 9394, section 3.3).
func (s *imapSession) readFetchModifiers() (m imapFetchModifiers, err error) {
	if !s.r.take(' ') {
		return m, nil
	}
	if s.r.peek() != '(' {
		return m, imapBad("too many arguments")
	}
	err = s.r.readList(func() error {
		name, err := s.r.readWord()
		switch {
		case err != nil:
			return err
		case name == "CHANGEDSINCE":
			m.changed = true
			if err = s.r.readSpace(); err == nil {
				m.since, err = s.r.readModSeq()
			}
			return err
		case name == "VANISHED":
			m.vanished = true
			return nil
		case name == "PARTIAL" && s.byUID() && !m.part.given():
			if err = s.r.readSpace(); err == nil {
				m.part, err = s.r.readPart()
			}
			return err
		}
		return imapBad("there is no such modifier")
	})
	if err == nil && m.vanished && (!s.byUID() || !s.qresync || !m.changed) {
		err = imapBad("VANISHED wants UID FETCH, ENABLE QRESYNC and CHANGEDSINCE")
	}
	return m, err
}

// vanishing gives a set of UIDs with numbers for "*", which means here whatever there was at the end.
func (set imapSet) vanishing() imapSet {
	plain := imapSet{ranges: make([]imapRange, 0, len(set.ranges))}
	for _, r := range set.ranges {
		if r.a == imapStar {
			r.a = math.MaxUint32
		}
		if r.b == imapStar {
			r.b = math.MaxUint32
		}
		plain.ranges = append(plain.ranges, r)
	}
	return plain
}
