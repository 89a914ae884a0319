package main

import (
	"fmt"
	"strconv"
)

// UIDONLY (RFC 9586): after ENABLE UIDONLY the client names messages by their UIDs alone, and is told of them by
// UIDFETCH and VANISHED. What else changes stands where it happens: grep for uidOnly.

// errImapUIDRequired refuses message numbers (RFC 9586, section 3).
const errImapUIDRequired = imapBad("[UIDREQUIRED] after ENABLE UIDONLY messages have no numbers but UIDs")

// imapTakesNumbers tells whether a command takes message numbers, or answers with them: those that have a twin by
// UID (RFC 9586, sections 3.2 and 3.8), but for two. EXPUNGE names no messages, and ESEARCH answers with UIDs.
func imapTakesNumbers(name string) bool {
	_, twin := imapCommands["UID "+name]
	return twin && name != "EXPUNGE" && name != "ESEARCH"
}

// imapAppendFetch begins a FETCH response, or a UIDFETCH response, in which the UID is not told once more unless that
// was asked for (RFC 9586, section 3.3).
func imapAppendFetch(dst []byte, seq int, uid uint32, uidOnly bool) []byte {
	dst = append(dst, "* "...)
	if uidOnly {
		return append(strconv.AppendUint(dst, uint64(uid), 10), " UIDFETCH ("...)
	}
	return append(strconv.AppendInt(dst, int64(seq), 10), " FETCH ("...)
}

// imapBatchLeast is how many messages a batch has at least: by smaller ones a client could find out message numbers
// (RFC 10022, section 3.1.3).
const imapBatchLeast = 500

// cmdUIDBatches is UIDBATCHES (RFC 10022, which was draft-ietf-mailmaint-imap-uidbatches). There is no upper limit: an
// answer for a million messages has 30 KB.
func (s *imapSession) cmdUIDBatches() error {
	size, first, last, err := s.r.readBatches()
	switch {
	case err != nil:
		return err
	case size < imapBatchLeast:
		return imapNo{"TOOFEW", fmt.Sprintf("a batch has at least %d messages", imapBatchLeast)}
	}
	out := append(append([]byte(`* UIDBATCHES (TAG "`), s.tag...), `")`...)
	s.c.Write(append(imapAppendBatches(out, s.selected.view.uids(), size, first, last), "\r\n"...))
	return nil
}

// readBatches reads the size of batches, and which of them are wanted: all, unless that is said.
func (r *imapReader) readBatches() (size, first, last uint32, err error) {
	number := func() (n uint32) {
		if err == nil {
			if n, err = r.readNumber(); err == nil && n == 0 {
				err = imapBad("batches, and the messages in one, are counted from 1")
			}
		}
		return n
	}
	if err = r.readSpace(); err == nil {
		size = number()
	}
	if err == nil && r.take(' ') {
		first = number()
		if err == nil && !r.take(':') {
			err = imapBad("batches are named as in 1:10")
		}
		if last = number(); err == nil && first > last {
			err = imapBad("[CLIENTBUG] the batches are named the wrong way round")
		}
	}
	if err == nil {
		err = r.readEnd()
	}
	return size, first, last, err
}

// imapAppendBatches appends the UIDs that part messages into batches of a size, from the newest to the oldest: those
// numbered from first to last, or all if first is 0. Together they are all UIDs up to the newest message's, so the
// last one ends at 1.
func imapAppendBatches(dst []byte, uids []uint32, size, first, last uint32) []byte {
	if first == 0 {
		first, last = 1, uint32(len(uids)) // there are not more
	}
	sep := byte(' ')
	for n := int64(first) - 1; n < int64(last); n++ {
		from, to := int64(len(uids))-(n+1)*int64(size), int64(len(uids))-n*int64(size)
		if to <= 0 {
			break
		}
		newest, oldest := uids[to-1], uint32(1)
		if n > 0 {
			newest = uids[to] - 1 // next to the batch before
		}
		if from > 0 {
			oldest = uids[from]
		}
		dst = strconv.AppendUint(append(dst, sep), uint64(newest), 10)
		dst = strconv.AppendUint(append(dst, ':'), uint64(oldest), 10)
		sep = ','
	}
	return dst
}
