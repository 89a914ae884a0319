package main

import (
	"errors"
	"fmt"

	"github.com/emersion/go-imap/v2"
)

// MESSAGELIMIT and SAVELIMIT (RFC 9738): how many messages one command deals with. Of more, it takes those with the
// highest UIDs, from the last one downwards, and says where it stopped; COPY and APPEND, which are all or nothing,
// take none. EXPUNGE, CLOSE and STATUS know no limit.

// mostMessages is how many messages one command deals with, 0: any number. A limit of which clients are not told
// would make them believe that a part is all.
func (s *imapSession) mostMessages() int {
	if s.door.withholds("MESSAGELIMIT") {
		return 0
	}
	return s.door.limit
}

// mostSaved is likewise for COPY and APPEND.
func (s *imapSession) mostSaved() int {
	if most := s.mostMessages(); most > 0 || s.door.withholds("SAVELIMIT") {
		return most
	}
	return s.door.saveLimit
}

// limit cuts the messages that a command names. lowest is the first one's UID that is left, 0 if all are.
func (s *imapSession) limit(spans imapSpans) (some imapSpans, lowest uint32) {
	most := s.mostMessages()
	if most == 0 {
		return spans, 0
	}
	n := spans.count()
	if n <= most {
		return spans, 0
	}
	some = spans.part(n-most, n)
	return some, s.selected.view.uids()[some[0].from]
}

// limitRefusal refuses a command that named too many messages; lowest is the UID that it could have gone down to, if
// there is one.
func (s *imapSession) limitRefusal(most int, lowest uint32) error {
	code := fmt.Sprintf("MESSAGELIMIT %d", most)
	if lowest > 0 {
		code += fmt.Sprintf(" %d", lowest)
	}
	return imapNo{imap.ResponseCode(code), fmt.Sprintf("%s takes at most %d messages", s.name, most)}
}

// limitPart refuses a PARTIAL of FETCH that is too large, whatever is there (RFC 9738, section 3.1).
func (s *imapSession) limitPart(part imapPart) error {
	if most := s.mostMessages(); most > 0 && int64(part.last)-int64(part.first) >= int64(most) {
		return s.limitRefusal(most, 0)
	}
	return nil
}

// limitCopy refuses a COPY of too many messages.
func (s *imapSession) limitCopy(spans imapSpans) error {
	most, n := s.mostSaved(), spans.count()
	if most == 0 || n <= most {
		return nil
	}
	return s.limitRefusal(most, s.selected.view.uids()[spans.part(n-most, n)[0].from])
}

// limitAppend refuses an APPEND of n messages if these are too many.
func (s *imapSession) limitAppend(n int) error {
	switch most := s.mostSaved(); {
	case most > 0 && n > most:
		return s.limitRefusal(most, 0)
	case n > imapAppendMost:
		return imapNo{imap.ResponseCodeLimit, fmt.Sprintf("one APPEND takes at most %d messages", imapAppendMost)}
	}
	return nil
}

// tellLimit tells in a command's outcome where it stopped. Where there is another response code, it comes before
// that (RFC 9738, section 3.1).
func (s *imapSession) tellLimit(outcome error) error {
	if s.lowest == 0 || s.state == imapLogout { // the mailbox is gone, and BYE was said
		return outcome
	}
	code := fmt.Sprintf("MESSAGELIMIT %d %d", s.door.limit, s.lowest)
	text := fmt.Sprintf("these were the last %d of more messages", s.door.limit)
	var ok imapOK
	if outcome == nil || errors.As(outcome, &ok) && ok.code == "" {
		return imapOK{code, text}
	}
	s.c.printf("* NO [%s] %s", code, text)
	return outcome
}

// imapDownwards turns the numbers of EXPUNGE responses, from the first message to the last, into those from the last
// to the first.
func imapDownwards(numbers []uint32) []uint32 {
	down := make([]uint32, len(numbers))
	for i, number := range numbers {
		down[len(numbers)-1-i] = number + uint32(i) // none before it is gone yet
	}
	return down
}
