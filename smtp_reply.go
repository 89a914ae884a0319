package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Replies, in go-smtp's words. A refusal is the error that a command gives; any other
// error is our own trouble and is 451 4.3.0. 421 ends the session.

func smtpRefusal(code int, enhanced smtp.EnhancedCode, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

var (
	smtpTrouble       = smtpRefusal(451, smtp.EnhancedCode{4, 3, 0}, "Something went wrong here, try again later")
	smtpTooManyErrors = smtpRefusal(421, smtp.EnhancedCode{4, 7, 0}, "Too many errors, bye")
	smtpLineTooLong   = smtpRefusal(500, smtp.EnhancedCode{5, 5, 2}, "Line too long") // RFC 5321, section 4.5.3.1.9
	smtpUnknown       = smtpRefusal(500, smtp.EnhancedCode{5, 5, 1}, "Unknown command")
	smtpControls      = smtpRefusal(501, smtp.EnhancedCode{5, 5, 2}, "A command has no control characters")
	smtpSayHello      = smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "Say hello first")
	smtpNeedMail      = smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "MAIL comes first")
	smtpInTransaction = smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "Not while a message is under way")
	smtpNoArgument    = smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "This command has no argument")
	smtpNoRecipients  = smtpRefusal(554, smtp.EnhancedCode{5, 5, 1}, "No valid recipients") // RFC 5321, section 3.3
	smtpNeedRcpt      = smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "No valid recipients") // RFC 2033, section 4.2
	smtpMailboxFull   = smtpRefusal(552, smtp.EnhancedCode{5, 2, 2}, "The mailbox is full") // RFC 1870, section 6
	smtpTooLarge      = smtpRefusal(552, smtp.EnhancedCode{5, 3, 4}, "Message too large")   // RFC 1870, section 6
)

// reply says one line or more, the enhanced code before each (RFC 2034, section 3). A
// zero code is none.
func (s *smtpSession) reply(code int, enhanced smtp.EnhancedCode, lines ...string) {
	prefix := ""
	if enhanced[0] > 0 {
		prefix = fmt.Sprintf("%d.%d.%d ", enhanced[0], enhanced[1], enhanced[2])
	}
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		s.printf("%d%s%s%s", code, sep, prefix, line)
	}
}

func (s *smtpSession) say(reply *smtp.SMTPError) {
	s.reply(reply.Code, reply.EnhancedCode, strings.Split(reply.Message, "\n")...)
}

// smtpDeliverReply is what the client hears when a message could not be stored.
func smtpDeliverReply(err error) *smtp.SMTPError {
	switch {
	case errors.Is(err, errDeliverLoop):
		return smtpRefusal(554, smtp.EnhancedCode{5, 4, 6}, "Too many Received lines: this mail goes round in circles") // RFC 5321, section 6.3
	case errors.Is(err, errDeliverQuota): // of one of several recipients, perhaps: none has the message
		return smtpRefusal(452, smtp.EnhancedCode{4, 2, 2}, "The mailbox is full, try again later")
	case errors.Is(err, errDeliverFull):
		return smtpRefusal(452, smtp.EnhancedCode{4, 3, 1}, "No space left, try again later")
	}
	return smtpTrouble
}
