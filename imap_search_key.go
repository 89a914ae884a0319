package main

import (
	"time"
)

// Search keys (RFC 9051, section 6.4.4): a tree, and how a message is held against
// it. What is cheap to know is asked first: a message whose file need not be opened
// to decide is decided without opening it.

// imapSearchKey is a node of the tree.
type imapSearchKey struct {
	kind imapSearchKind
	not  bool
	keys []imapSearchKey // of imapSearchAnd and imapSearchOr

	set    imapSet      // numbers
	spans  imapSpans    // the same, resolved
	flags  mailboxFlags // flags: the message has all of them
	words  []string     // keywords: likewise; resolved they are flags
	never  bool         // no message here can have the keyword
	from   int64        // dates: from <= date < to, sizes: from < size < to
	to     int64
	name   string // header fields
	text   string // what is looked for, in UTF-8
	needle int    // its number, to find what a worker has prepared for it
	fuzzy  bool   // it is looked for fuzzily
}

type imapSearchKind uint8

const (
	imapSearchAnd imapSearchKind = iota // of no keys: ALL
	imapSearchOr
	imapSearchSeqs
	imapSearchUIDs
	imapSearchFlags
	imapSearchRecent
	imapSearchModSeq // from is the lowest mod-sequence
	imapSearchSaved  // from and to are seconds since 1970
	imapSearchEmailID
	imapSearchThreadID
	imapSearchDate // from and to are seconds since 1970
	imapSearchSize
	imapSearchSent   // from and to are days since 1970
	imapSearchHeader // a field that the summaries hold
	imapSearchOtherHeader
	imapSearchBody
	imapSearchText
)

// imapSearchCost is how dear it is to know something of a message.
type imapSearchCost uint8

const (
	imapCostRecord  imapSearchCost = iota // it is in memory
	imapCostStat                          // the file's time or size may have to be found out
	imapCostSummary                       // the file may have to be read, once
	imapCostHeader                        // the header has to be read
	imapCostText                          // all of it has to be read
)

func (kind imapSearchKind) cost() imapSearchCost {
	switch kind {
	case imapSearchDate, imapSearchSize:
		return imapCostStat
	case imapSearchSent, imapSearchHeader, imapSearchThreadID:
		return imapCostSummary
	case imapSearchOtherHeader:
		return imapCostHeader
	case imapSearchBody, imapSearchText:
		return imapCostText
	}
	return imapCostRecord
}

// imapMaybe is an answer that may not be known yet.
type imapMaybe uint8

const (
	imapNever imapMaybe = iota
	imapSurely
	imapUnknown
)

func imapSay(yes bool) imapMaybe {
	if yes {
		return imapSurely
	}
	return imapNever
}

// match holds m against the key as far as m's facts reach.
func (k *imapSearchKey) match(m *imapSearchMessage) imapMaybe {
	said := k.matchPlain(m)
	if k.not && said != imapUnknown {
		said ^= 1
	}
	return said
}

func (k *imapSearchKey) matchPlain(m *imapSearchMessage) imapMaybe {
	switch k.kind {
	case imapSearchAnd:
		return k.matchAll(m, imapNever)
	case imapSearchOr:
		return k.matchAll(m, imapSurely)
	case imapSearchSeqs, imapSearchUIDs:
		return imapSay(k.spans.contains(m.index))
	case imapSearchFlags:
		return imapSay(!k.never && m.flags&k.flags == k.flags)
	case imapSearchRecent:
		return imapSay(m.recent)
	case imapSearchModSeq:
		return imapSay(m.modSeq >= uint64(k.from))
	case imapSearchEmailID:
		return m.hasObjectID(k)
	case imapSearchSaved:
		date, err := m.search.view.saved(m.uid)
		return imapSay(err == nil && k.from <= date.Unix() && date.Unix() < k.to) // else it is gone
	}
	if !m.knows(k) {
		if (k.kind == imapSearchBody || k.kind == imapSearchText) && m.words != nil && !m.needle(k).mayBeIn(m.words) {
			return imapNever
		}
		return imapUnknown
	}
	switch k.kind {
	case imapSearchDate:
		return imapSay(k.from <= m.date && m.date < k.to)
	case imapSearchSize:
		return imapSay(k.from < m.size && m.size < k.to)
	case imapSearchThreadID:
		return m.hasObjectID(k)
	case imapSearchSent:
		day := imapSentDay(m.summary)
		return imapSay(k.from <= day && day < k.to)
	case imapSearchHeader:
		return imapSay(m.needle(k).inHeader(m.summary.header, k.name))
	case imapSearchOtherHeader:
		return imapSay(m.needle(k).inHeader(m.header, k.name))
	}
	return m.inText(k)
}

// matchAll is AND if a key that says imapNever decides, OR if one that says
// imapSurely does.
func (k *imapSearchKey) matchAll(m *imapSearchMessage, decides imapMaybe) imapMaybe {
	all := decides ^ 1
	for i := range k.keys {
		switch k.keys[i].match(m) {
		case decides:
			return decides
		case imapUnknown:
			all = imapUnknown
		}
	}
	return all
}

// imapSentDay is the day of the Date: field as it is written there, whatever the
// zone. A message without one is from the first day, as for Dovecot.
func imapSentDay(s *messageSummary) int64 {
	if s.sent.IsZero() {
		return 0
	}
	return imapDay(s.sent.Unix() + int64(s.sentZone))
}

func imapDay(seconds int64) int64 {
	day := seconds / 86400
	if seconds%86400 < 0 {
		day--
	}
	return day
}

// resolve holds the keys that name messages or keywords against a mailbox as the
// session sees it. saved is what "$" stands for.
func (k *imapSearchKey) resolve(v *mailboxView, saved []uint32) {
	switch k.kind {
	case imapSearchSeqs, imapSearchUIDs:
		switch {
		case k.set.saved:
			k.spans = imapSpansOf(v.uids(), saved)
		case k.kind == imapSearchSeqs:
			k.spans = k.set.bySeqLoosely(len(v.uids()))
		default:
			k.spans = k.set.byUID(v.uids())
		}
	case imapSearchFlags:
		if len(k.words) > 0 {
			k.flags = v.knownKeywordFlags(k.words)
			k.never = k.flags == 0
		}
	case imapSearchModSeq: // what is of no worth excludes nothing; clients ask for what is above a number they know
		if n := uint64(k.from); v.since(n) == 0 && (n == 0 || v.since(n-1) == 0) {
			k.from = 0
		}
	}
	for i := range k.keys {
		k.keys[i].resolve(v, saved)
	}
}

// candidates narrows the messages that have to be looked at to those that keys
// which name messages allow.
func (k *imapSearchKey) candidates(count int) imapSpans {
	all := imapSpans{{0, count}}
	if count == 0 {
		return nil
	}
	switch {
	case k.not || k.kind != imapSearchAnd && k.kind != imapSearchSeqs && k.kind != imapSearchUIDs:
		return all
	case k.kind == imapSearchAnd:
		for i := range k.keys {
			all = imapIntersect(all, k.keys[i].candidates(count))
		}
		return all
	}
	return k.spans
}

func imapIntersect(a, b imapSpans) (both imapSpans) {
	for len(a) > 0 && len(b) > 0 {
		from, to := max(a[0].from, b[0].from), min(a[0].to, b[0].to)
		if from < to {
			both = append(both, imapSpan{from, to})
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// each calls f for a key and all below it.
func (k *imapSearchKey) each(f func(k *imapSearchKey)) {
	f(k)
	for i := range k.keys {
		k.keys[i].each(f)
	}
}

// imapSearchDays are the seconds since 1970 at which a day begins, in this
// machine's zone, and those at which the next does.
func imapSearchDays(year int, month time.Month, day int) (from, to int64) {
	return time.Date(year, month, day, 0, 0, 0, 0, time.Local).Unix(),
		time.Date(year, month, day+1, 0, 0, 0, 0, time.Local).Unix()
}
