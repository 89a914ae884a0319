package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// deliverTrace is what the header lines that we put before a message tell of its way
// here (RFC 5321, section 4.4).
type deliverTrace struct {
	from     address
	helo     string // as the client called itself
	ip       netip.Addr
	by       string // this host
	protocol string // "ESMTPS", "LMTP", ...
	tls      string // version, or "" in clear
	id       string
	date     time.Time
}

// deliverMaxReceived is how many Received lines a message may have. RFC 5321,
// section 6.3 would rather have 100; what comes to a box at the end of the line has
// less than ten behind it, and each round of a loop costs flash.
const deliverMaxReceived = 50

// header gives the lines for one recipient. Received names the recipient only if
// there is no other: nobody learns of a Bcc (RFC 5321, section 7.2).
func (t *deliverTrace) header(to address, alone bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <%s>\r\n", t.from)
	fmt.Fprintf(&b, "Delivered-To: %s\r\n", to)
	fmt.Fprintf(&b, "Received: from %s", deliverHelo(t.helo))
	if t.ip.Is4() {
		fmt.Fprintf(&b, " ([%s])", t.ip)
	} else if t.ip.IsValid() {
		fmt.Fprintf(&b, " ([IPv6:%s])", t.ip)
	}
	fmt.Fprintf(&b, "\r\n\tby %s with %s", t.by, t.protocol)
	if t.tls != "" {
		fmt.Fprintf(&b, " (%s)", t.tls)
	}
	fmt.Fprintf(&b, " id %s", t.id)
	if alone {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", to)
	}
	fmt.Fprintf(&b, "; %s\r\n", t.date.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	return b.Bytes()
}

// deliverHelo gives the name that a client gave itself, if it is one.
func deliverHelo(helo string) string {
	if a, err := addressParse("a@" + helo); err == nil && a.ascii() {
		return helo
	}
	return "unknown"
}

// deliverHead counts the Received lines of a message as it comes.
type deliverHead struct {
	received int
	line     [len(deliverReceived)]byte // how the line begins
	length   int                        // how much of it is there; more than fits: the rest of the line is skipped
	done     bool                       // the header is over
}

const deliverReceived = "received:"

// scan looks at the next bytes of the message. A header line ends with CRLF or LF.
func (h *deliverHead) scan(p []byte) {
	for len(p) > 0 && !h.done {
		if h.length <= len(h.line) {
			h.begin(p[0])
			p = p[1:]
			continue
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		h.length = 0
		p = p[i+1:]
	}
}

// begin takes one byte of a line's beginning.
func (h *deliverHead) begin(c byte) {
	if c == '\n' {
		h.done = h.length == 0 || h.length == 1 && h.line[0] == '\r'
		h.length = 0
		return
	}
	if h.length < len(h.line) {
		h.line[h.length] = c
	}
	h.length++
	if h.length == len(h.line) && strings.EqualFold(string(h.line[:]), deliverReceived) {
		h.received++
	}
}
