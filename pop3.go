package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The POP3 door, RFC 1939. It knows POP3 and asks the mailbox room for messages;
// it knows no Maildir file. A session goes through its states once:
//
//	AUTHORIZATION --PASS, AUTH--> TRANSACTION --QUIT--> UPDATE
//	      \--QUIT--> the end
//
// It works on the messages that were there at the login, and does not take them
// from others: IMAP goes on beside it, and new mail stays new. DELE only marks; what
// the mark means is done in UPDATE, and [pop3] on_delete, or what the user had chosen
// by the login, says what that is. A session that ends without QUIT deletes nothing
// (RFC 1939, section 6), but what it fetched is \Seen all the same.
//
// Beyond RFC 1939: CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), response codes
// (RFC 2449, RFC 3206), pipelining, UTF8 (RFC 6856). There is no APOP: it wants the
// password itself on the server, and we keep none.

// popDoor is what all POP3 sessions share. Its values do not change while
// sessions use it; a reload makes a new one.
type popDoor struct {
	auth      *auth
	store     *mailboxStore
	hostname  string
	tls       *tls.Config // for STLS; nil: not offered
	plaintext authPlaintext
	uidl      string    // "dovecot", "courier", "cyrus", "filename"
	onDelete  string    // "hide", "trash", "archive", "delete"; for users who have not chosen themselves
	lock      *popLocks // for [pop3] lock = true: made once, kept over reloads; nil: not exclusive

	expire  time.Duration                             // when what was fetched goes the way of onDelete; 0: never
	expires func(user string) (days int, varies bool) // what CAPA says, "" before the login; 0: never; nil: likewise
	marks   bool                                      // there are rules by which mail expires in folders, which are not for what POP3 has moved there
}

// popSession is one client, from its connection to the end.
type popSession struct {
	*popDoor
	c     *conn
	state popState
	bad   int  // commands refused before the login
	utf8  bool // RFC 6856, section 2.1
	user  string
	drop  *popMaildrop // nil before the login
}

type popState uint8

const (
	popAuthorization popState = 1 << iota
	popTransaction
	popUpdate
)

const (
	// popTimeout is the least an autologout timer may be (RFC 1939, section 3).
	popTimeout = 10 * time.Minute

	popMaxLine     = 1024  // RFC 2449, section 4, says 255; initial responses of AUTH may be longer
	popMaxResponse = 12288 // a line in a SASL exchange: RFC 5034, section 4
	popMaxBad      = 10    // refused commands before the login
)

// popCommands is every command we speak. To add one: a row here, a cmd method, and
// a dialog in testdata/pop3.
var popCommands = map[string]struct {
	states popState // where the command may be given
	run    func(s *popSession, arg string) error
}{
	"CAPA": {popAuthorization | popTransaction, (*popSession).cmdCapa}, // RFC 2449, section 5
	"STLS": {popAuthorization, (*popSession).cmdStls},                  // RFC 2595, section 4
	"UTF8": {popAuthorization, (*popSession).cmdUtf8},                  // RFC 6856, section 2.1
	"AUTH": {popAuthorization, (*popSession).cmdAuth},                  // RFC 5034, section 4
	"USER": {popAuthorization, (*popSession).cmdUser},                  // RFC 1939, section 7
	"PASS": {popAuthorization, (*popSession).cmdPass},                  // RFC 1939, section 7
	"QUIT": {popAuthorization | popTransaction, (*popSession).cmdQuit}, // RFC 1939, sections 4 and 6
	"STAT": {popTransaction, (*popSession).cmdStat},                    // RFC 1939, section 5
	"LIST": {popTransaction, (*popSession).cmdList},                    // RFC 1939, section 5
	"RETR": {popTransaction, (*popSession).cmdRetr},                    // RFC 1939, section 5
	"DELE": {popTransaction, (*popSession).cmdDele},                    // RFC 1939, section 5
	"NOOP": {popTransaction, (*popSession).cmdNoop},                    // RFC 1939, section 5
	"RSET": {popTransaction, (*popSession).cmdRset},                    // RFC 1939, section 5
	"TOP":  {popTransaction, (*popSession).cmdTop},                     // RFC 1939, section 7
	"UIDL": {popTransaction, (*popSession).cmdUidl},                    // RFC 1939, section 7
}

// popErr is a refusal in words meant for the client: "-ERR [code] text".
type popErr struct{ code, text string }

// popEnd is an error after which there is nothing more to say to the client.
type popEnd struct{ error }

func (e popErr) Error() string { return e.text }
func (e popEnd) Unwrap() error { return e.error }

var (
	errPopArgument = popErr{"", "this command takes no argument"}
	errPopMessage  = popErr{"", "no such message"}
	errPopTooMany  = errors.New("too many bad commands")
)

// serve speaks with one client until it leaves, and closes the connection.
func (d *popDoor) serve(c *conn) {
	s := &popSession{popDoor: d, c: c, state: popAuthorization}
	c.timeout = popTimeout
	err := s.talk()
	s.leave()
	if closeErr := c.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		logSessionEnd(c.log, s.user, err)
	}
}

// talk answers commands until QUIT (nil) or until the connection ends otherwise.
func (s *popSession) talk() error {
	// No "<": what looks like a message id would be an offer of APOP.
	s.c.printf("+OK %s Letterbox ready", s.hostname)
	for s.state != popUpdate {
		line, err := s.readLine(popMaxLine)
		verb, arg, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb) // RFC 1939, section 3
		if err == nil {
			err = s.command(verb, arg)
		} else if errors.Is(err, errLineTooLong) {
			err = popErr{"", "the line is too long"}
		} else if errors.Is(err, errConnLogin) {
			s.c.printf("-ERR [AUTH] %v", err) // RFC 3206, section 5
			return errors.Join(err, s.c.flush())
		} else {
			return err
		}
		if err = s.refuse(verb, err); err != nil {
			return err
		}
	}
	return s.c.flush()
}

// readLine gives the client's next line. What was answered so far is sent first,
// unless the next line is already here: answers to pipelined commands go together
// (RFC 2449, section 6.6).
func (s *popSession) readLine(longest int) (string, error) {
	here := false
	if s.c.buffered() > 0 {
		b, err := s.c.peek()
		here = err == nil && bytes.IndexByte(b, '\n') >= 0
	}
	if !here {
		if err := s.c.flush(); err != nil {
			return "", err
		}
	}
	if err := s.c.wait(0); err != nil {
		return "", err
	}
	line, err := s.c.readLine(longest)
	return string(line), err
}

func (s *popSession) command(verb, arg string) error {
	cmd, ok := popCommands[verb]
	if !ok {
		return popErr{"", "unknown command"}
	}
	if verb == "PASS" || verb == "AUTH" {
		logCommand(s.c.log, verb, "...")
	} else {
		logCommand(s.c.log, verb, arg)
	}
	if cmd.states&s.state == 0 {
		if s.state == popAuthorization {
			return popErr{"", "log in first"}
		}
		return popErr{"", "too late: you are logged in"}
	}
	if verb != "PASS" { // a password may end with spaces
		arg = strings.Trim(arg, " ")
	}
	return cmd.run(s, arg)
}

// refuse tells the client of an error; what it gives back ends the session.
func (s *popSession) refuse(verb string, err error) error {
	var refusal popErr
	var end popEnd
	switch {
	case err == nil:
		return nil
	case errors.As(err, &end):
		return end.error
	case errors.As(err, &refusal):
	default:
		refusal = popErr{"SYS/TEMP", "this did not work, try again later"} // RFC 3206, section 4
		logCommandFailed(s.c.log, s.user, verb, err)
	}
	if s.state == popAuthorization {
		if s.bad++; s.bad >= popMaxBad {
			s.c.printf("-ERR %v", errPopTooMany)
			return errors.Join(errPopTooMany, s.c.flush())
		}
	}
	if refusal.code == "" {
		s.c.printf("-ERR %s", refusal.text)
	} else {
		s.c.printf("-ERR [%s] %s", refusal.code, refusal.text)
	}
	return nil
}

// storeSeen marks as \Seen what was fetched. The client need not hear that it failed.
func (s *popSession) storeSeen() {
	if err := s.drop.storeSeen(); err != nil {
		logCommandFailed(s.c.log, s.user, "RETR", fmt.Errorf("marking as seen: %w", err))
	}
}

// leave ends the session's hold on the mailbox, however it ended.
func (s *popSession) leave() {
	if s.drop == nil {
		return
	}
	s.storeSeen()
	s.drop.view.close()
	if s.lock != nil {
		s.lock.release(s.user)
	}
	s.drop = nil
}

// popLocks knows which mailboxes a POP3 session has for itself.
type popLocks struct {
	mu    sync.Mutex
	users map[string]bool
}

func newPopLocks() *popLocks { return &popLocks{users: map[string]bool{}} }

// take gives false if another session has the user's mailbox.
func (l *popLocks) take(user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users[user] {
		return false
	}
	l.users[user] = true
	return true
}

func (l *popLocks) release(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.users, user)
}
