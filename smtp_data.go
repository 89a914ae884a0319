package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// DATA and BDAT: the message goes from the connection's buffer to the delivery,
// whatever its lines are like.

func (s *smtpSession) cmdData(arg string) error {
	switch {
	case arg != "":
		return smtpNoArgument
	case len(s.tx.rcpts) == 0:
		return s.noRecipients()
	}
	s.begin()
	s.reply(354, smtp.NoEnhancedCode, "Send the message, and a line with a dot")
	s.timeout = smtpDataTimeout
	defer func() { s.timeout = smtpTimeout }()
	var dot smtpDot
	for {
		p, err := s.input()
		if err != nil {
			return err
		}
		text, n, done := dot.next(p)
		s.take(text)
		s.discard(n)
		if done {
			return s.commit()
		}
	}
}

// smtpDot finds the end of a message, which is CRLF.CRLF and nothing else, and takes
// off the dots that the client has put before dots (RFC 5321, section 4.5.2). Any other
// reading of a bare CR or LF would let one message be two (RFC 5321, section 4.1.1.4).
type smtpDot struct{ state smtpDotState }

type smtpDotState uint8

const (
	smtpDotStart smtpDotState = iota // a line begins: the command's CRLF counts
	smtpDotText
	smtpDotCR    // the last byte was CR
	smtpDotDot   // a line's first dot, which is not text
	smtpDotDotCR // and a CR, which is not text yet
)

var smtpCR = []byte("\r")

// next gives the text that p begins with, and how many of p's bytes were used for
// it; done at the end of the message. p has at least a byte.
func (d *smtpDot) next(p []byte) (text []byte, n int, done bool) {
	switch d.state {
	case smtpDotStart:
		if p[0] == '.' {
			d.state = smtpDotDot
			return nil, 1, false
		}
	case smtpDotCR:
		if p[0] == '\n' {
			d.state = smtpDotStart
			return p[:1], 1, false
		}
	case smtpDotDot:
		if p[0] == '\r' {
			d.state = smtpDotDotCR
			return nil, 1, false
		}
	case smtpDotDotCR:
		if p[0] == '\n' {
			return nil, 1, true
		}
		d.state = smtpDotCR
		return smtpCR, 0, false
	}
	if i := bytes.Index(p, []byte("\r\n.")); i >= 0 {
		d.state = smtpDotDot
		return p[:i+2], i + 3, false
	}
	switch {
	case bytes.HasSuffix(p, []byte("\r\n")):
		d.state = smtpDotStart
	case p[len(p)-1] == '\r':
		d.state = smtpDotCR
	default:
		d.state = smtpDotText
	}
	return p, len(p), false
}

// cmdBdat takes a chunk: size [ SP "LAST" ]. The chunk follows the command whatever
// the answer will be, so it is read in any case (RFC 3030, section 2).
func (s *smtpSession) cmdBdat(arg string) error {
	number, word, _ := strings.Cut(arg, " ")
	word = strings.TrimLeft(word, " ") // else the chunk would be taken for commands
	size, err := strconv.ParseUint(number, 10, 63)
	last := strings.EqualFold(word, "LAST")
	if err != nil || number[0] == '+' || word != "" && !last {
		return smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "The syntax is BDAT size [LAST]")
	}
	var refusal error
	switch {
	case s.tx == nil:
		refusal = s.bdatTooEarly()
	case len(s.tx.rcpts) == 0:
		refusal = s.noRecipients()
	case s.tx.delivery == nil:
		s.begin()
	}
	if err := s.chunk(int64(size), refusal == nil); err != nil {
		return err
	}
	switch {
	case refusal != nil:
		return refusal
	case last:
		return s.commit()
	case s.tooLarge(s.tx.size):
		s.reset() // RFC 3030, section 2: all later chunks are out of order
		return smtpTooLarge
	}
	s.reply(250, smtp.EnhancedCode{2, 0, 0}, fmt.Sprintf("%d bytes taken", size))
	return nil
}

func (s *smtpSession) noRecipients() error {
	if s.door.kind == smtpLMTP {
		return smtpNeedRcpt
	}
	return smtpNoRecipients
}

func (s *smtpSession) bdatTooEarly() error {
	if !s.greeted {
		return smtpSayHello
	}
	return smtpNeedMail
}

// chunk reads size bytes.
func (s *smtpSession) chunk(size int64, take bool) error {
	s.timeout = smtpDataTimeout
	defer func() { s.timeout = smtpTimeout }()
	for size > 0 {
		p, err := s.input()
		if err != nil {
			return err
		}
		p = p[:min(int64(len(p)), size)]
		if take {
			s.take(p)
		}
		s.discard(len(p))
		size -= int64(len(p))
	}
	return nil
}

// begin starts the message.
func (s *smtpSession) begin() {
	s.tx.id = strings.ToUpper(strconv.FormatUint(rand.Uint64(), 36))
	trace := deliverTrace{from: s.tx.from, helo: s.helo, ip: s.remoteAddr(), by: s.door.hostname,
		protocol: s.protocol(), id: s.tx.id, date: s.door.now()}
	if trace.date.IsZero() { // not believed
		trace.date = time.Now()
	}
	if state := s.tlsState(); state != nil {
		trace.tls = tls.VersionName(state.Version)
	}
	s.tx.delivery = s.door.deliverer.begin(trace, s.tx.rcpts)
}

// protocol is Received's "with" (RFC 3848; RFC 6531, section 4.3).
func (s *smtpSession) protocol() string {
	name := "SMTP"
	switch {
	case s.door.kind == smtpLMTP:
		name = "LMTP"
	case s.esmtp && !s.tx.options.UTF8:
		name = "ESMTP"
	}
	if s.tx.options.UTF8 {
		name = "UTF8" + name
	}
	if s.secure() && s.esmtp {
		name += "S"
	}
	if s.user != "" && s.esmtp {
		name += "A"
	}
	return name
}

// take adds text to the message. A message that has become too large is read to its
// end and thrown away.
func (s *smtpSession) take(text []byte) {
	s.tx.size += int64(len(text))
	if s.tooLarge(s.tx.size) {
		s.tx.delivery.abort()
		return
	}
	s.tx.delivery.Write(text) // its error comes from commit
}

// commit delivers the message and ends the transaction. LMTP has a reply for each
// recipient (RFC 2033, section 4.2).
func (s *smtpSession) commit() error {
	tx := s.tx
	var errs []error
	if s.tooLarge(tx.size) {
		s.reset()
		for range tx.rcpts {
			errs = append(errs, smtpTooLarge)
		}
	} else {
		s.tx = nil
		errs = tx.delivery.commit(s.door.kind == smtpLMTP)
	}
	refusals := make([]*smtp.SMTPError, len(errs)) // nil for those who have it
	for i, err := range errs {
		refusals[i] = s.delivered(tx, i, err)
	}
	if s.door.kind == smtpLMTP {
		for i, refusal := range refusals {
			to := "<" + tx.rcpts[i].address.String() + "> "
			if refusal == nil {
				refusal = smtpRefusal(250, smtp.EnhancedCode{2, 0, 0}, "Delivered as "+tx.id)
			}
			s.reply(refusal.Code, refusal.EnhancedCode, to+refusal.Message)
		}
		return nil
	}
	for _, refusal := range refusals {
		if refusal != nil {
			return refusal
		}
	}
	s.refused = 0
	s.reply(250, smtp.EnhancedCode{2, 0, 0}, "Delivered as "+tx.id)
	return nil
}

// delivered notes what became of one recipient's copy; nil if it was delivered.
func (s *smtpSession) delivered(tx *smtpTransaction, i int, err error) *smtp.SMTPError {
	from, to := tx.from.String(), tx.rcpts[i].address.String()
	if err == nil {
		logDelivered(s.log, tx.id, from, to, tx.size)
		return nil
	}
	logNotDelivered(s.log, tx.id, from, to, err)
	if refusal, ok := err.(*smtp.SMTPError); ok {
		return refusal
	}
	if s.door.kind == smtpLMTP && errors.Is(err, errDeliverQuota) { // this recipient alone
		return smtpMailboxFull
	}
	return smtpDeliverReply(err)
}
