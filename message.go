package main

import (
	"bytes"
	"io"
	"strings"
	"time"
)

// The message room reads a message as offsets: header, MIME parts, charsets. It
// never holds a whole body in memory and does not know where a message is stored.
//
// The wire form of a message is what IMAP and POP3 clients get: each bare LF is
// CRLF, and a NUL is 0x80 (so that a literal may hold it). All sizes, line counts
// and partial ranges are those of the wire form; offsets are those of the file.
//
// Broken MIME gives the answers that Dovecot gives, so that a client sees the same
// message whichever server it asks.
//
//	message_parse.go      the MIME tree, in one pass over the bytes
//	message_header.go     header fields, encoded words
//	message_params.go     Content-Type and its parameters
//	message_address.go    address lists
//	message_structure.go  ENVELOPE, BODYSTRUCTURE and BODY
//	message_wire.go       the wire form, transfer encodings
//	message_text.go       looking for words
//	message_words.go      knowing of most words that they are not there
//	message_preview.go    how its text begins

// messagePart is one node of the MIME tree (RFC 2045, RFC 2046).
type messagePart struct {
	headerStart, bodyStart, bodyEnd int64 // offsets in the file
	headerSize, bodySize            int64 // in wire form; headerSize includes the empty line
	bodyLines                       int64
	mediaType, mediaSubtype         string // lower case, defaults applied
	params                          []messageParam
	encoding                        string         // lower case, "7bit" if absent
	children                        []*messagePart // of multipart; of message/rfc822 the one message in it

	multipart   bool // it has a boundary, and children between them
	tooDeep     bool // it has parts that are not taken apart: its body is text
	embedded    bool // message/rfc822, or what stands for it
	typed       bool // it has a Content-Type
	typeName    string
	subtypeName string // as they are written
	fields      messagePartFields
	envelope    []byte // of the message in an embedded part: this part's own, as a message's root
}

// messagePartFields are the header fields that BODYSTRUCTURE tells; nil where absent.
type messagePartFields struct {
	id, description, encoding, md5, location *string
	disposition                              *string
	dispositionParams                        []messageParam
	language                                 []string
}

type messageParam struct{ name, value string }

// messageSummary is what is dear to compute and small to keep.
type messageSummary struct {
	wireSize      int64
	headerSize    int64 // of the file, the empty line included
	hasNUL        bool
	headerOnly    bool      // the message ends in its header: there is no empty line
	envelope      []byte    // the ENVELOPE in IMAP's words, parentheses included (RFC 9051, section 7.5.2)
	bodyStructure []byte    // the BODYSTRUCTURE likewise
	header        []byte    // the usual header fields, raw, in wire form, in the message's order
	sent          time.Time // of Date:, zero if it does not parse
	sentZone      int       // seconds east of UTC
	preview       []byte    // the beginning of its text, if previewed
	previewed     bool
}

// Limits of one message. What exceeds the first two is body text of the part
// around it; Dovecot has the same.
const (
	messageNestedMost = 100
	messagePartsMost  = 10000
	messageHeaderMost = 512 << 10 // bytes of a part's header that are looked at
)

// messageParse reads a message and gives its MIME tree. Broken MIME gives the
// tree that Dovecot gives; only a failing reader is an error. Depth and number of
// parts are limited (what exceeds is body text of the part around it).
func messageParse(r io.ReaderAt, size int64) (*messagePart, error) {
	p := newMessageParser(io.NewSectionReader(r, 0, size))
	defer p.release()
	root := &messagePart{}
	p.parse(root, false, 0)
	return root, p.err
}

// messageSummarize reads a message once, from start to end.
func messageSummarize(r io.Reader) (*messageSummary, error) {
	s, _, err := messageSummarizeTree(r)
	return s, err
}

// messageSummarizeTree is messageSummarize, and gives the MIME tree, too.
func messageSummarizeTree(r io.Reader) (*messageSummary, *messagePart, error) {
	p := newMessageParser(r)
	defer p.release()
	root := &messagePart{}
	s := &messageSummary{}
	p.summary = s
	p.parse(root, false, 0)
	if p.err != nil {
		return nil, nil, p.err
	}
	s.wireSize = p.wire
	s.headerSize = root.bodyStart
	s.hasNUL = p.nul
	p.scratch = messageAppendPart(p.scratch[:0], root, true)
	s.bodyStructure = bytes.Clone(p.scratch)
	return s, root, nil
}

// messageUsualNames are the fields that mail clients ask for when they list messages.
var messageUsualNames = map[string]bool{
	"date": true, "subject": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"in-reply-to": true, "message-id": true, "references": true,
	"content-type": true, "content-transfer-encoding": true, "mime-version": true,
	"priority": true, "x-priority": true, "importance": true, "x-mailer": true, "user-agent": true,
	"list-id": true, "list-post": true, "list-unsubscribe": true, "newsgroups": true,
	"delivered-to": true, "return-path": true, "x-spam-status": true, "x-spam-flag": true,
}

// messageUsualField tells whether messageSummary.header holds the fields of this
// name (any case). For these, "not in header" means "not in the message".
func messageUsualField(name string) bool {
	if messageUsualNames[name] {
		return true
	}
	return messageUsualNames[strings.ToLower(name)]
}

// part gives the part of a section number such as 2.1.3 (RFC 9051, section
// 6.4.5.1), nil if there is none. An empty path is the message itself.
func (p *messagePart) part(path []int) *messagePart {
	self := false // p was named twice: as a part, and as part 1 of itself
	for i, n := range path {
		inner := p
		if p.embedded && i > 0 && len(p.children) == 1 {
			inner = p.children[0] // "2.1" of a message/rfc822 is part 1 of the message in it
		}
		switch {
		case inner.multipart || inner.mediaType == "multipart": // one without a boundary has no parts
			if n < 1 || n > len(inner.children) {
				return nil
			}
			p, self = inner.children[n-1], false
		case n == 1 && (!self || inner != p):
			// The one part of a message that is not multipart; and, in no RFC but in Dovecot,
			// "2.1" of a part 2 that has no parts.
			p, self = inner, true
		default:
			return nil
		}
	}
	return p
}
