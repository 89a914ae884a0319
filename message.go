package main

import (
	"io"
	"time"
)

// The message room reads a message as offsets: header, MIME parts, charsets. It
// never holds a whole body in memory and does not know where a message is stored.
//
// The wire form of a message is what IMAP and POP3 clients get: each bare LF is
// CRLF, and a NUL is 0x80 (so that a literal may hold it). All sizes, line counts
// and partial ranges are those of the wire form; offsets are those of the file.

// messagePart is one node of the MIME tree (RFC 2045, RFC 2046).
type messagePart struct {
	headerStart, bodyStart, bodyEnd int64 // offsets in the file
	headerSize, bodySize            int64 // in wire form; headerSize includes the empty line
	bodyLines                       int64
	mediaType, mediaSubtype         string // lower case, defaults applied
	params                          []messageParam
	encoding                        string         // lower case, "7bit" if absent
	children                        []*messagePart // of multipart; of message/rfc822 the one message in it
	// further fields as the room needs them
}

type messageParam struct{ name, value string }

// messageParse reads a message and gives its MIME tree. Broken MIME gives the
// tree that Dovecot gives; only a failing reader is an error. Depth and number of
// parts are limited (what exceeds is body text of the part around it).
func messageParse(r io.ReaderAt, size int64) (*messagePart, error) { panic("stub") }

// messageSummary is what is dear to compute and small to keep.
type messageSummary struct {
	wireSize      int64
	headerSize    int64 // of the file, the empty line included
	hasNUL        bool
	envelope      []byte    // the ENVELOPE in IMAP's words, parentheses included (RFC 9051, section 7.5.2)
	bodyStructure []byte    // the BODYSTRUCTURE likewise
	header        []byte    // the usual header fields, raw, in wire form, in the message's order
	sent          time.Time // of Date:, zero if it does not parse
	sentZone      int       // seconds east of UTC
}

// messageSummarize reads a message once, from start to end.
func messageSummarize(r io.Reader) (*messageSummary, error) { panic("stub") }

// messageUsualField tells whether messageSummary.header holds the fields of this
// name (any case). For these, "not in header" means "not in the message".
func messageUsualField(name string) bool { panic("stub") }

// messageAppendEnvelope appends the ENVELOPE made from a raw header block.
func messageAppendEnvelope(dst, header []byte) []byte { panic("stub") }

// messageAppendStructure appends BODYSTRUCTURE (extended) or BODY.
func messageAppendStructure(dst []byte, r io.ReaderAt, p *messagePart, extended bool) ([]byte, error) {
	panic("stub")
}

// part gives the part of a section number such as 2.1.3 (RFC 9051, section
// 6.4.5.1), nil if there is none. An empty path is the message itself.
func (p *messagePart) part(path []int) *messagePart { panic("stub") }

// messageReadHeader gives a part's raw header block, the empty line included, in
// wire form. What is longer than the room's limit is cut at a line's end.
func messageReadHeader(r io.ReaderAt, p *messagePart) ([]byte, error) { panic("stub") }

// messageFields appends those fields of a wire-form header block whose names are
// (or, with not, are not) among names, then the empty line: BODY[HEADER.FIELDS].
func messageFields(dst, header []byte, names []string, not bool) []byte { panic("stub") }

// messageField gives the unfolded raw value of the first field of that name.
func messageField(header []byte, name string) (value []byte, ok bool) { panic("stub") }

// messageDecodeHeader gives a raw header value with its encoded words decoded to
// UTF-8 (RFC 2047) and folding undone.
func messageDecodeHeader(raw []byte) string { panic("stub") }

// messageWire gives size bytes of a file from offset off in wire form.
func messageWire(r io.ReaderAt, off, size int64) io.Reader { panic("stub") }

// messageDecode gives a part's body with its content transfer encoding undone
// (RFC 3516 BINARY). known is false for an encoding nobody knows.
func messageDecode(r io.ReaderAt, p *messagePart) (body io.Reader, known bool) { panic("stub") }

// messageText looks for strings in a message as SEARCH does: header values and
// text parts decoded to UTF-8, compared without regard to case. One value serves
// many messages; it is not safe for concurrent use.
type messageText struct{}

func newMessageText(needle string) *messageText { panic("stub") }

// inHeader looks in all (name "") or the named fields of a raw header block. An
// empty needle is found if a field of the name is there.
func (t *messageText) inHeader(header []byte, name string) bool { panic("stub") }

// inBody looks in the text parts below p: SEARCH BODY; with headers also in all
// header blocks: SEARCH TEXT.
func (t *messageText) inBody(r io.ReaderAt, p *messagePart, headers bool) (bool, error) {
	panic("stub")
}

// messageParseDate reads RFC 5322's date-time, obsolete forms included.
func messageParseDate(s string) (t time.Time, ok bool) { panic("stub") }
