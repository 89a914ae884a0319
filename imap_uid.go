package main

import (
	"strconv"
)

// UIDONLY (RFC 9586): after ENABLE UIDONLY the client names messages by their UIDs alone, and is told of them by
// UIDFETCH and VANISHED. What else changes stands where it happens: grep for uidOnly.

// errImapUIDRequired refuses message numbers (RFC 9586, section 3).
const errImapUIDRequired = imapBad("[UIDREQUIRED] after ENABLE UIDONLY messages have no numbers but UIDs")

// imapTakesNumbers tells whether a command takes message numbers, or answers with them: those that have a twin by
// UID. EXPUNGE names no messages (RFC 9586, sections 3.2 and 3.8).
func imapTakesNumbers(name string) bool {
	_, twin := imapCommands["UID "+name]
	return twin && name != "EXPUNGE"
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
