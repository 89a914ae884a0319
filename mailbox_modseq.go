package main

import (
	"cmp"
	"slices"
)

// Mod-sequences (RFC 7162) are per mailbox and never go back. They are the clock in units of
// 256 microseconds, or the next number if that is not above the last, and below that 16 bits that
// name the store which gave them: two Letterboxes on one Maildir never give the same one.
//
// A client's mod-sequence must never hide a change. What happened since can be told only if
// it was given by this mailbox as it is in memory, or as it lies in the index: the spans say which
// those are. After a crash there is a gap between what was saved and what was given; a
// mod-sequence out of a gap, of another store's, or of an index that is lost is worth
// as much as 0.

// mailboxInstanceBits is how many low bits name the store.
const mailboxInstanceBits = 16

// mailboxSpan is a run of mod-sequences, ends included, after each of which all changes are known.
type mailboxSpan struct{ from, to uint64 }

// mailboxSpansMost is how many a mailbox keeps: each start of the program may make one.
const mailboxSpansMost = 32

// nextModSeq gives a mod-sequence above all that were given for this mailbox.
func (mb *mailbox) nextModSeq() uint64 {
	next := mb.modSeq>>mailboxInstanceBits + 1
	if now := mb.st.now(); !now.IsZero() {
		next = max(next, uint64(now.UnixMicro())>>8)
	}
	mb.modSeq = next<<mailboxInstanceBits | mb.st.instance
	if !mb.spanLive {
		mb.spans = append(mb.spans, mailboxSpan{from: mb.modSeq})
		mb.spans = mb.spans[max(0, len(mb.spans)-mailboxSpansMost):]
		mb.spanLive = true
	}
	mb.spans[len(mb.spans)-1].to = mb.modSeq
	return mb.modSeq
}

// forgetSpans is for when nothing is known any more of what happened.
func (mb *mailbox) forgetSpans() {
	mb.spans, mb.spanLive = nil, false
}

// takeSpans goes on from what the index had. The last span goes on, too, if this store gave it
// and has given nothing since.
func (mb *mailbox) takeSpans(spans []mailboxSpan, modSeq uint64) {
	mb.spans = spans
	last := len(spans) - 1
	mb.spanLive = last >= 0 && mb.modSeq == modSeq && spans[last].to == modSeq && mailboxInstance(modSeq) == mb.st.instance
	mb.modSeq = max(mb.modSeq, modSeq)
}

func mailboxInstance(modSeq uint64) uint64 { return modSeq & (1<<mailboxInstanceBits - 1) }

// sinceOf gives what a client's mod-sequence is worth: itself, or 0.
func (mb *mailbox) sinceOf(modSeq uint64) uint64 {
	known := slices.ContainsFunc(mb.spans, func(s mailboxSpan) bool {
		return s.from <= modSeq && modSeq <= s.to && mailboxInstance(modSeq) == mailboxInstance(s.from)
	})
	if known {
		return modSeq
	}
	return 0
}

// trimExpunged forgets the oldest half of what was expunged, if it is too much.
func (mb *mailbox) trimExpunged() {
	if len(mb.expunged) <= mailboxExpungedMost {
		return
	}
	slices.SortStableFunc(mb.expunged, func(a, b mailboxExpunged) int { return cmp.Compare(a.modSeq, b.modSeq) })
	kept := mb.expunged[len(mb.expunged)-mailboxExpungedMost/2:]
	mb.expungedSince = mb.expunged[len(mb.expunged)-len(kept)-1].modSeq
	mb.expunged = slices.Clone(kept)
}

// mailboxUIDs is a run of UIDs, ends included.
type mailboxUIDs struct{ from, to uint32 }

// vanished gives the UIDs below UIDNEXT that have vanished since a client's mod-sequence,
// ascending. Where the memory does not reach back far enough, it gives all that have no message
// (RFC 7162, section 3.2.5.2). What this session has not been told of yet is not among them.
func (v *mailboxView) vanished(since uint64) (runs []mailboxUIDs, err error) {
	err = v.peek(func() error {
		mb := v.mb
		if since = mb.sinceOf(since); since == 0 || since < mb.expungedSince {
			runs = mailboxAbsent(v.list, mb.uidNext())
			return nil
		}
		var uids []uint32
		for _, e := range mb.expunged {
			if e.modSeq > since {
				uids = append(uids, e.uid)
			}
		}
		slices.Sort(uids)
		runs = mailboxRuns(slices.Compact(uids), v.list)
		return nil
	})
	return runs, err
}

// mailboxAbsent gives the UIDs below next that are not in list.
func mailboxAbsent(list []uint32, next uint32) (runs []mailboxUIDs) {
	from := uint32(1)
	for _, uid := range list {
		if uid > from {
			runs = append(runs, mailboxUIDs{from, uid - 1})
		}
		from = uid + 1
	}
	if from < next {
		runs = append(runs, mailboxUIDs{from, next - 1})
	}
	return runs
}

// mailboxRuns gives those of uids that are not in list.
func mailboxRuns(uids, list []uint32) (runs []mailboxUIDs) {
	for _, uid := range uids {
		if _, there := slices.BinarySearch(list, uid); there {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].to+1 == uid {
			runs[n-1].to = uid
		} else {
			runs = append(runs, mailboxUIDs{uid, uid})
		}
	}
	return runs
}

// since gives what a client's mod-sequence is worth: itself, or 0.
func (v *mailboxView) since(modSeq uint64) (since uint64) {
	v.peek(func() error { since = v.mb.sinceOf(modSeq); return nil })
	return since
}

// highestModSeq is a mod-sequence that all changes up to it were told to this session
// (RFC 7162, section 3.1.2.1): while expunges are held back, one from before them
// (section 3.2).
func (v *mailboxView) highestModSeq() uint64 { return v.safe }

// holdsBack tells that the session may know a mod-sequence above the highest: sync has not told all
// that was expunged, or a message that was changed since sync was given with its new mod-sequence.
// What else happened in between, sync has yet to tell.
func (v *mailboxView) holdsBack() bool { return v.held || v.seen > v.safe }
