package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// The SMTP door, RFC 5321, and LMTP, RFC 2033. It takes mail in and knows the
// protocol; the deliver room knows whom an address means and where mail goes.
//
//	START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA or BDAT LAST--> READY
//	                  ^                              \--BDAT--> CHUNKS --BDAT LAST--/
//	                  \---RSET, EHLO, the end of a transaction---/
//
// STARTTLS leads back to START. A connection that breaks delivers nothing.

// smtpDoor is what all SMTP or LMTP sessions of a listener share. Its values do
// not change while sessions use it; a reload makes a new one.
type smtpDoor struct {
	kind           smtpKind
	deliverer      *deliverer
	auth           *auth
	hostname       string
	tls            *tls.Config // for STARTTLS; nil: not offered
	plaintext      authPlaintext
	trusted        []netip.Prefix   // networks that need no login; a client on this machine by unix socket needs none either
	public         bool             // nobody needs a login to send to this box's users
	maxMessageSize int64            // bytes; 0: no limit
	maxRecipients  int              // of one message; fewer than 100 would break RFC 5321, section 4.5.3.1.8
	now            func() time.Time // the clock: Received and a message's date; time.Now will do
}

// smtpKind is what a listener is for.
type smtpKind uint8

const (
	smtpReception  smtpKind = iota // "smtp": mail from the network
	smtpSubmission                 // "submission", "submissions": a login is always needed (RFC 6409)
	smtpLMTP                       // "lmtp": from another mail server on this box or network (RFC 2033); no login is needed
)

// smtpSession is one client.
type smtpSession struct {
	*conn
	door    *smtpDoor
	greeted bool
	esmtp   bool   // by EHLO or LHLO
	helo    string // what the client calls itself
	user    string // logged in as; "" if not
	tx      *smtpTransaction

	refused    int  // commands since the last message
	authFailed int  // wrong passwords
	done       bool // after QUIT
}

const (
	smtpTimeout     = 5 * time.Minute  // RFC 5321, section 4.5.3.2.7
	smtpDataTimeout = 10 * time.Minute // a modem's client may think longer in the middle of a message

	// smtpMaxLine is more than RFC 5321, section 4.5.3.1.4 with all extensions
	// needs: AUTH wants it (RFC 4954, section 4).
	smtpMaxLine = 12288

	// smtpMaxErrors is how many refusals a client may gather without a message
	// that is taken; smtpMaxAuthErrors how many wrong passwords.
	smtpMaxErrors     = 100
	smtpMaxAuthErrors = 10
)

// smtpState is what a command may be given in.
type smtpState uint8

const (
	smtpStart smtpState = 1 << iota
	smtpReady
	smtpMail
	smtpRcpt
	smtpChunks

	smtpAny     = smtpStart | smtpReady | smtpMail | smtpRcpt | smtpChunks
	smtpGreeted = smtpAny &^ smtpStart
)

// smtpCommand is a row of the command table.
type smtpCommand struct {
	states smtpState
	run    func(s *smtpSession, arg string) error
}

// smtpCommands is every command we speak. To add one: a row here, a cmd method, and a
// dialog under testdata/smtp.
var smtpCommands = map[string]smtpCommand{
	"HELO":     {smtpAny, (*smtpSession).cmdHelo},             // RFC 5321, section 4.1.1.1
	"EHLO":     {smtpAny, (*smtpSession).cmdEhlo},             // RFC 5321, section 4.1.1.1
	"LHLO":     {smtpAny, (*smtpSession).cmdLhlo},             // RFC 2033, section 4.1
	"MAIL":     {smtpReady, (*smtpSession).cmdMail},           // RFC 5321, section 4.1.1.2
	"RCPT":     {smtpMail | smtpRcpt, (*smtpSession).cmdRcpt}, // RFC 5321, section 4.1.1.3
	"DATA":     {smtpMail | smtpRcpt, (*smtpSession).cmdData}, // RFC 5321, section 4.1.1.4
	"BDAT":     {smtpAny, (*smtpSession).cmdBdat},             // RFC 3030, section 2; the chunk follows in any state
	"RSET":     {smtpAny, (*smtpSession).cmdRset},             // RFC 5321, section 4.1.1.5
	"VRFY":     {smtpAny, (*smtpSession).cmdVrfy},             // RFC 5321, section 4.1.1.6
	"EXPN":     {smtpAny, (*smtpSession).cmdExpn},             // RFC 5321, section 4.1.1.7
	"HELP":     {smtpAny, (*smtpSession).cmdHelp},             // RFC 5321, section 4.1.1.8
	"NOOP":     {smtpAny, (*smtpSession).cmdNoop},             // RFC 5321, section 4.1.1.9
	"QUIT":     {smtpAny, (*smtpSession).cmdQuit},             // RFC 5321, section 4.1.1.10
	"STARTTLS": {smtpGreeted, (*smtpSession).cmdStarttls},     // RFC 3207, section 4
	"AUTH":     {smtpReady, (*smtpSession).cmdAuth},           // RFC 4954, section 4

	// A web page can have its reader's browser send us whatever it likes behind a line
	// of HTTP, whose header lines are to us but unknown commands.
	"GET":     {smtpAny, (*smtpSession).cmdNotHTTP},
	"POST":    {smtpAny, (*smtpSession).cmdNotHTTP},
	"PUT":     {smtpAny, (*smtpSession).cmdNotHTTP},
	"CONNECT": {smtpAny, (*smtpSession).cmdNotHTTP},
}

func (s *smtpSession) state() smtpState {
	switch {
	case !s.greeted:
		return smtpStart
	case s.tx == nil:
		return smtpReady
	case s.tx.delivery != nil:
		return smtpChunks
	case len(s.tx.rcpts) > 0:
		return smtpRcpt
	}
	return smtpMail
}

// serve speaks with one client until it leaves, and closes the connection.
func (d *smtpDoor) serve(c *conn) {
	defer c.Close()
	c.timeout = smtpTimeout
	s := &smtpSession{conn: c, door: d}
	defer s.reset()
	s.greet()
	err := s.loop()
	var reply *smtp.SMTPError
	switch {
	case errors.Is(err, errShutdown):
		reply = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: d.hostname + " is shutting down"} // RFC 5321, section 3.8
	case errors.Is(err, errConnLogin):
		reply = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Goodbye: " + err.Error()} // RFC 5321, section 3.8
	case errors.Is(err, os.ErrDeadlineExceeded):
		reply = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: d.hostname + " has waited too long"}
	}
	if reply != nil {
		s.say(reply)
		s.flush() // the client may be gone
	}
	if err != nil {
		logSessionEnd(c.log, s.user, err)
	}
}

// loop runs until QUIT (nil) or until the connection fails.
func (s *smtpSession) loop() error {
	for !s.done {
		line, err := s.command()
		if err == nil {
			err = s.run(line)
		}
		var reply *smtp.SMTPError
		switch {
		case errors.Is(err, errLineTooLong):
			s.refuse(smtpLineTooLong)
		case errors.As(err, &reply):
			s.refuse(reply)
		case err != nil:
			return err
		}
	}
	return s.flush()
}

// command reads the next command line. What we have to say is sent only when the
// client has nothing more for us (RFC 2920, section 3.2).
func (s *smtpSession) command() (string, error) {
	if s.buffered() == 0 {
		if err := s.flush(); err != nil {
			return "", err
		}
	}
	// Asked although there may be input: a client that pipelines hears of a shutdown, too.
	if err := s.wait(0); err != nil {
		return "", err
	}
	if p, err := s.peek(); err != nil {
		return "", err
	} else if bytes.IndexByte(p, '\n') < 0 { // we shall wait for the rest
		if err := s.flush(); err != nil {
			return "", err
		}
	}
	line, err := s.readLine(smtpMaxLine)
	return string(line), err
}

// run does what one line says. Its error is a reply, or ends the session.
func (s *smtpSession) run(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb) // RFC 5321, section 2.4
	cmd, ok := smtpCommands[verb]
	switch {
	case !ok:
	case verb == "AUTH":
		logCommand(s.log, verb, "...")
	default:
		logCommand(s.log, verb, arg)
	}
	switch {
	case !ok:
		return smtpUnknown
	case cmd.states&s.state() == 0:
		return s.outOfOrder()
	case strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return smtpControls
	}
	err := cmd.run(s, strings.Trim(arg, " ")) // RFC 5321, section 4.1.1: trailing spaces are tolerated
	var reply *smtp.SMTPError
	var broken *smtpBroken
	switch {
	case errors.As(err, &reply):
		if verb == "MAIL" || verb == "RCPT" { // else whoever set up a printer never finds out
			logRefused(s.log, verb, arg, reply.Code, reply.Message)
		}
		return err
	case err == nil || errors.As(err, &broken):
		return err
	}
	logCommandFailed(s.log, s.user, verb, err)
	return smtpTrouble
}

// outOfOrder tells what is missing before the command that came.
func (s *smtpSession) outOfOrder() error {
	switch s.state() {
	case smtpStart:
		return smtpSayHello
	case smtpReady:
		return smtpNeedMail
	}
	return smtpInTransaction
}

// refuse answers with an error, and ends a session that only gathers them.
func (s *smtpSession) refuse(reply *smtp.SMTPError) {
	if s.door.kind != smtpLMTP { // another server may have any number of recipients whom we don't know
		s.refused++
	}
	if reply.Code != 421 && s.refused > smtpMaxErrors || s.authFailed > smtpMaxAuthErrors {
		reply = smtpTooManyErrors
	}
	s.say(reply)
	s.done = s.done || reply.Code == 421 // RFC 5321, section 3.8
}

// smtpBroken is a connection that can be read no further.
type smtpBroken struct{ err error }

func (e *smtpBroken) Error() string { return "connection broken: " + e.err.Error() }
func (e *smtpBroken) Unwrap() error { return e.err }

// input gives what the client has sent, at least a byte, after telling it what there
// is to tell.
func (s *smtpSession) input() ([]byte, error) {
	if s.buffered() == 0 {
		if err := s.flush(); err != nil {
			return nil, &smtpBroken{err}
		}
	}
	p, err := s.peek()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, &smtpBroken{err}
	}
	return p, nil
}

// reset ends the transaction, if there is one; nothing of it is left.
func (s *smtpSession) reset() {
	if s.tx != nil && s.tx.delivery != nil {
		s.tx.delivery.abort()
	}
	s.tx = nil
}

// secure tells whether the connection is TLS.
func (s *smtpSession) secure() bool { return s.tlsState() != nil }

// trusted tells whether the client may send to our users without a login.
func (s *smtpSession) trusted() bool {
	if s.user != "" || s.door.public || s.door.kind == smtpLMTP {
		return true
	}
	addr := s.remoteAddr()
	if !addr.IsValid() {
		return true // a unix socket
	}
	for _, prefix := range s.door.trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
