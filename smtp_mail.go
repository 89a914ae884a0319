package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// Greetings, the transaction up to its message, and the small commands.

// smtpTransaction is one envelope and its message on the way. It is replaced whole,
// never reset.
type smtpTransaction struct {
	from     address
	options  smtp.MailOptions
	rcpts    []*deliverRecipient
	delivery *delivery // nil before DATA or BDAT
	id       string    // of the delivery
	size     int64     // of the message so far
}

func (s *smtpSession) greet() {
	protocol := "ESMTP"
	if s.door.kind == smtpLMTP {
		protocol = "LMTP"
	}
	s.reply(220, smtp.NoEnhancedCode, s.door.hostname+" "+protocol+" Letterbox")
}

func (s *smtpSession) cmdHelo(arg string) error { return s.hello(arg, s.door.kind != smtpLMTP, false) }
func (s *smtpSession) cmdEhlo(arg string) error { return s.hello(arg, s.door.kind != smtpLMTP, true) }
func (s *smtpSession) cmdLhlo(arg string) error { return s.hello(arg, s.door.kind == smtpLMTP, true) }

// hello ends a transaction (RFC 5321, section 4.1.4). Each protocol has its own word,
// and the others' are unknown to it (RFC 2033, section 4.1).
func (s *smtpSession) hello(name string, ours, extended bool) error {
	if !ours {
		return smtpUnknown
	}
	name, _, _ = strings.Cut(name, " ") // some printers say a name with spaces
	if name == "" {
		return smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "Say your name, too")
	}
	s.reset()
	s.greeted, s.esmtp, s.helo = true, extended, name
	lines := []string{s.door.hostname}
	if extended {
		lines = append(lines, s.extensions()...)
	}
	s.reply(250, smtp.NoEnhancedCode, lines...)
	return nil
}

func (s *smtpSession) extensions() []string {
	list := []string{
		"PIPELINING",          // RFC 2920
		"8BITMIME",            // RFC 6152
		"SMTPUTF8",            // RFC 6531
		"CHUNKING",            // RFC 3030; no BINARYMIME: IMAP would have to convert it
		"ENHANCEDSTATUSCODES", // RFC 2034
	}
	size := "SIZE" // RFC 1870
	if s.door.maxMessageSize > 0 {
		size += " " + strconv.FormatInt(s.door.maxMessageSize, 10)
	}
	list = append(list, size)
	if s.mayStarttls() == nil {
		list = append(list, "STARTTLS")
	}
	if s.mayLogin() == nil {
		list = append(list, "AUTH "+strings.Join(s.mechanisms(), " "))
	}
	return list
}

// cmdMail begins a transaction: "FROM:" path [ SP parameters ].
func (s *smtpSession) cmdMail(arg string) error {
	from, params, err := smtpPath(arg, "FROM:")
	switch {
	case errors.Is(err, errAddressTooLong):
		return smtpRefusal(501, smtp.EnhancedCode{5, 1, 7}, "The sender's address is too long")
	case err != nil:
		return smtpRefusal(501, smtp.EnhancedCode{5, 1, 7}, "The syntax is MAIL FROM:<address>")
	}
	options, err := s.mailOptions(params)
	if err != nil {
		return err
	}
	switch {
	case s.door.kind == smtpSubmission && s.user == "":
		return s.needLogin()
	case !from.ascii() && !options.UTF8:
		return smtpRefusal(550, smtp.EnhancedCode{5, 6, 7}, "Such an address needs SMTPUTF8") // RFC 6531, section 3.5
	case s.tooLarge(options.Size):
		return smtpTooLarge
	}
	s.tx = &smtpTransaction{from: from, options: options}
	s.reply(250, smtp.EnhancedCode{2, 1, 0}, "Sender is fine")
	return nil
}

func (s *smtpSession) needLogin() error {
	if s.mayLogin() != nil {
		return smtpRefusal(530, smtp.EnhancedCode{5, 7, 0}, "Log in first, after STARTTLS") // RFC 3207, section 4
	}
	return smtpRefusal(530, smtp.EnhancedCode{5, 7, 0}, "Log in first") // RFC 4954, section 6
}

// smtpPath reads the argument of MAIL or RCPT. A space after the colon is taken
// although RFC 5321 has none: many devices send it.
func smtpPath(arg, word string) (a address, params string, err error) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return a, "", errAddressSyntax
	}
	a, rest, err := addressParsePath(strings.TrimLeft(arg[len(word):], " "))
	if err == nil && rest != "" && rest[0] != ' ' {
		err = errAddressSyntax
	}
	return a, rest, err
}

// mailOptions reads MAIL's parameters.
func (s *smtpSession) mailOptions(params string) (options smtp.MailOptions, err error) {
	seen := map[string]bool{}
	for param := range strings.FieldsSeq(params) {
		name, value, _ := strings.Cut(param, "=")
		name = strings.ToUpper(name)
		wrong := smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "Not a value of "+name)
		if seen[name] {
			return options, wrong
		}
		seen[name] = true
		switch name {
		case "SIZE": // RFC 1870, section 3
			size, err := strconv.ParseUint(value, 10, 64)
			if err != nil && !errors.Is(err, strconv.ErrRange) || len(value) > 20 {
				return options, wrong
			}
			options.Size = int64(min(size, 1<<62))
		case "BODY": // RFC 6152, section 2
			options.Body = smtp.BodyType(strings.ToUpper(value))
			if options.Body != smtp.Body7Bit && options.Body != smtp.Body8BitMIME {
				return options, wrong
			}
		case "SMTPUTF8": // RFC 6531, section 3.4
			if param != name && !strings.EqualFold(param, name) {
				return options, wrong
			}
			options.UTF8 = true
		case "AUTH": // RFC 4954, section 5; we tell nobody of it
			if value == "" || s.door.kind == smtpLMTP {
				return options, wrong
			}
			options.Auth = &value
		default:
			return options, smtpRefusal(555, smtp.EnhancedCode{5, 5, 4}, "Unknown parameter of MAIL") // RFC 5321, section 4.1.1.11
		}
	}
	return options, nil
}

func (s *smtpSession) tooLarge(size int64) bool {
	return s.door.maxMessageSize > 0 && size > s.door.maxMessageSize
}

// cmdRcpt adds a recipient: "TO:" path.
func (s *smtpSession) cmdRcpt(arg string) error {
	to, params, err := smtpPath(arg, "TO:")
	switch {
	case errors.Is(err, errAddressTooLong) || err == nil && to.localTooLong():
		return smtpRefusal(501, smtp.EnhancedCode{5, 1, 3}, "The recipient's address is too long")
	case err != nil || to.isNull():
		return smtpRefusal(501, smtp.EnhancedCode{5, 1, 3}, "The syntax is RCPT TO:<address>")
	case params != "":
		return smtpRefusal(555, smtp.EnhancedCode{5, 5, 4}, "Unknown parameter of RCPT") // RFC 5321, section 4.1.1.11
	case !to.ascii() && !s.tx.options.UTF8:
		return smtpRefusal(553, smtp.EnhancedCode{5, 6, 7}, "Such an address needs SMTPUTF8") // RFC 6531, section 3.5
	case len(s.tx.rcpts) >= s.door.maxRecipients:
		return smtpRefusal(452, smtp.EnhancedCode{4, 5, 3}, "Too many recipients") // RFC 5321, section 4.5.3.1.10
	case !s.trusted():
		return smtpRefusal(550, smtp.EnhancedCode{5, 7, 1}, "Not from your network without a login")
	}
	rcpt, err := s.door.deliverer.recipient(to)
	switch {
	case errors.Is(err, errDeliverNotLocal) && s.user != "":
		return smtpRefusal(550, smtp.EnhancedCode{5, 7, 1}, "This box delivers to its own users only.\n"+
			"For mail to others, set your provider's outgoing (SMTP) server in your mail program")
	case errors.Is(err, errDeliverNotLocal):
		return smtpRefusal(550, smtp.EnhancedCode{5, 7, 1}, "This box delivers to its own users only")
	case errors.Is(err, errDeliverNoUser):
		return smtpRefusal(550, smtp.EnhancedCode{5, 1, 1}, "No such user here")
	case err != nil:
		return fmt.Errorf("recipient: %w", err)
	}
	if s.door.deliverer.room(rcpt, s.tx.options.Size) != nil {
		return smtpMailboxFull
	}
	s.tx.rcpts = append(s.tx.rcpts, rcpt)
	s.reply(250, smtp.EnhancedCode{2, 1, 5}, "Recipient is fine")
	return nil
}

func (s *smtpSession) cmdRset(arg string) error {
	if arg != "" {
		return smtpNoArgument
	}
	s.reset()
	s.reply(250, smtp.EnhancedCode{2, 0, 0}, "Forgotten")
	return nil
}

func (s *smtpSession) cmdNoop(string) error {
	s.reply(250, smtp.EnhancedCode{2, 0, 0}, "Fine")
	return nil
}

// cmdVrfy tells nobody who has mail here (RFC 5321, section 7.3).
func (s *smtpSession) cmdVrfy(arg string) error {
	if arg == "" {
		return smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "Whom?")
	}
	s.reply(252, smtp.EnhancedCode{2, 5, 0}, "Send your mail, and see") // RFC 5321, section 3.5.3
	return nil
}

func (s *smtpSession) cmdExpn(string) error {
	return smtpRefusal(502, smtp.EnhancedCode{5, 5, 1}, "Lists are not told")
}

func (s *smtpSession) cmdHelp(string) error {
	s.reply(214, smtp.EnhancedCode{2, 0, 0}, "This is Letterbox, which takes mail for the users of "+s.door.hostname)
	return nil
}

func (s *smtpSession) cmdQuit(arg string) error {
	if arg != "" {
		return smtpNoArgument
	}
	s.reset()
	s.done = true
	s.reply(221, smtp.EnhancedCode{2, 0, 0}, "Bye")
	return nil
}

func (s *smtpSession) cmdNotHTTP(string) error {
	return smtpRefusal(421, smtp.EnhancedCode{4, 7, 0}, "This is no web server")
}
