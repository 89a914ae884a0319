package main

import (
	"errors"
	"slices"
	"sort"
	"strconv"
)

// Sets of message numbers, as a client names them (RFC 9051, section 9,
// sequence-set) and as they are told to it. A set is kept as it was written, so it
// costs what its text cost, whatever it spans; it is resolved against the numbering
// of the session in time proportional to its ranges.

// imapSet is a set of sequence numbers or of UIDs.
type imapSet struct {
	ranges []imapRange
	saved  bool // "$": what the last SEARCH saved (RFC 5182, section 2); no ranges then
}

// imapRange is both ends of "a:b", in the client's order. imapStar is "*".
type imapRange struct{ a, b uint32 }

const imapStar = 0 // no message has the number 0

var errImapSet = errors.New("not a set of message numbers")

// imapParseSet reads a whole set. It allocates at most four bytes for each byte
// of text, and the reader limits that.
func imapParseSet(text []byte) (imapSet, error) {
	if string(text) == "$" {
		return imapSet{saved: true}, nil
	}
	commas := 0
	for _, c := range text {
		if c == ',' {
			commas++
		}
	}
	set := imapSet{ranges: make([]imapRange, 0, commas+1)}
	for {
		var r imapRange
		var ok bool
		if r.a, text, ok = imapSetNumber(text); !ok {
			return imapSet{}, errImapSet
		}
		r.b = r.a
		if len(text) > 0 && text[0] == ':' {
			if r.b, text, ok = imapSetNumber(text[1:]); !ok {
				return imapSet{}, errImapSet
			}
		}
		set.ranges = append(set.ranges, r)
		if len(text) == 0 {
			return set, nil
		}
		if text[0] != ',' {
			return imapSet{}, errImapSet
		}
		text = text[1:]
	}
}

// imapSetNumber reads seq-number: nz-number or "*".
func imapSetNumber(text []byte) (n uint32, rest []byte, ok bool) {
	if len(text) > 0 && text[0] == '*' {
		return imapStar, text[1:], true
	}
	i, value := 0, uint64(0)
	for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
		if value = value*10 + uint64(text[i]-'0'); value > 1<<32-1 {
			return 0, nil, false
		}
	}
	if value == 0 || text[0] == '0' { // RFC 9051, section 9: digit-nz *DIGIT
		return 0, nil, false
	}
	return uint32(value), text[i:], true
}

// imapSpan is messages that follow each other in the session's numbering: those
// at the indexes from..to-1 of its UIDs.
type imapSpan struct{ from, to int }

// imapSpans are spans in ascending order that neither touch nor overlap.
type imapSpans []imapSpan

// bySeq resolves sequence numbers in a mailbox of count messages. ok is false if
// the set names a number that no message has (RFC 9051, section 9, seq-number).
// "*" of an empty mailbox is such a number, as in Dovecot.
func (set imapSet) bySeq(count int) (spans imapSpans, ok bool) {
	spans = make(imapSpans, 0, len(set.ranges))
	for _, r := range set.ranges {
		a, b := int64(r.a), int64(r.b)
		if a == imapStar {
			a = int64(count)
		}
		if b == imapStar {
			b = int64(count)
		}
		a, b = min(a, b), max(a, b)
		if a == 0 || b > int64(count) {
			return nil, false
		}
		spans = append(spans, imapSpan{int(a - 1), int(b)})
	}
	return spans.normal(), true
}

// bySeqLoosely is bySeq for SEARCH, to which a number that no message has is one that
// none matches.
func (set imapSet) bySeqLoosely(count int) imapSpans {
	known := imapSet{ranges: make([]imapRange, 0, len(set.ranges))}
	for _, r := range set.ranges {
		if max(r.a, r.b) != imapStar {
			most := max(r.a, r.b)
			if int64(min(r.a, r.b)) > int64(count) || min(r.a, r.b) == imapStar && int64(most) > int64(count) {
				continue
			}
			r.a, r.b = uint32(min(int64(r.a), int64(count))), uint32(min(int64(r.b), int64(count)))
		}
		known.ranges = append(known.ranges, r)
	}
	spans, _ := known.bySeq(count)
	return spans
}

// byUID resolves UIDs. Those that no message has are left out (RFC 9051, section
// 6.4.9); "*" is the last message's, whatever it is joined with.
func (set imapSet) byUID(uids []uint32) imapSpans {
	if len(uids) == 0 {
		return nil
	}
	last := uids[len(uids)-1]
	spans := make(imapSpans, 0, len(set.ranges))
	for _, r := range set.ranges {
		a, b := r.a, r.b
		if a == imapStar {
			a = last
		}
		if b == imapStar {
			b = last
		}
		a, b = min(a, b), max(a, b)
		from := imapUIDIndex(uids, a)
		to := from + sort.Search(len(uids)-from, func(i int) bool { return uids[from+i] > b })
		if from < to {
			spans = append(spans, imapSpan{from, to})
		}
	}
	return spans.normal()
}

// imapUIDIndex is the index of the first of uids that is uid or above.
func imapUIDIndex(uids []uint32, uid uint32) int {
	return sort.Search(len(uids), func(i int) bool { return uids[i] >= uid })
}

// normal sorts spans and joins those that touch.
func (spans imapSpans) normal() imapSpans {
	slices.SortFunc(spans, func(a, b imapSpan) int { return a.from - b.from })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// imapSpansOf gives the spans of those of some (ascending UIDs) that are in uids.
func imapSpansOf(uids, some []uint32) (spans imapSpans) {
	at := 0
	for _, uid := range some {
		at += imapUIDIndex(uids[at:], uid)
		if at == len(uids) {
			break
		} else if uids[at] != uid {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].to == at {
			spans[n-1].to++
		} else {
			spans = append(spans, imapSpan{at, at + 1})
		}
	}
	return spans
}

func (spans imapSpans) count() (n int) {
	for _, s := range spans {
		n += s.to - s.from
	}
	return n
}

// contains tells whether the message at index i is in one of the spans.
func (spans imapSpans) contains(i int) bool {
	at := sort.Search(len(spans), func(n int) bool { return spans[n].to > i })
	return at < len(spans) && spans[at].from <= i
}

// pick gives the UIDs of the spans. They may share uids' memory and are not to
// be changed.
func (spans imapSpans) pick(uids []uint32) []uint32 {
	switch len(spans) {
	case 0:
		return nil
	case 1:
		return uids[spans[0].from:spans[0].to:spans[0].to]
	}
	list := make([]uint32, 0, spans.count())
	for _, s := range spans {
		list = append(list, uids[s.from:s.to]...)
	}
	return list
}

// imapAppendSet appends numbers as a set in their order, runs of rising numbers
// as a:b.
func imapAppendSet(dst []byte, numbers []uint32) []byte {
	for i := 0; i < len(numbers); {
		j := i + 1
		for j < len(numbers) && numbers[j] == numbers[j-1]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(numbers[i]), 10)
		if j-i > 1 {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(numbers[j-1]), 10)
		}
		i = j
	}
	return dst
}

// resolve gives the UIDs of the messages that a command names.
func (sel *imapSelected) resolve(set imapSet, byUID bool) ([]uint32, error) {
	spans, err := sel.spans(set, byUID)
	return spans.pick(sel.view.uids()), err
}

func (sel *imapSelected) spans(set imapSet, byUID bool) (imapSpans, error) {
	uids := sel.view.uids()
	switch {
	case set.saved:
		return imapSpansOf(uids, sel.saved), nil
	case byUID:
		return set.byUID(uids), nil
	}
	spans, ok := set.bySeq(len(uids))
	if !ok {
		return nil, imapBad("no message has such a number")
	}
	return spans, nil
}
