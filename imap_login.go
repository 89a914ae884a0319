package main

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// What comes before a mailbox: NOOP, LOGOUT, ID, STARTTLS, AUTHENTICATE, LOGIN, ENABLE.

func (s *imapSession) mayStartTLS() bool { return s.door.tls != nil && s.c.tlsState() == nil }

// client is what is known of the client that logs in. Where SCRAM with channel binding is withheld, there is none: a
// client that knows of it and was not told is not misled by others (RFC 5802, section 6).
func (s *imapSession) client() authClient {
	c := authClient{remote: s.c.remoteAddr(), tls: s.c.tlsState(), binding: s.c.channelBinding()}
	if s.door.without["AUTH=SCRAM-SHA-256-PLUS"] {
		c.binding = nil
	}
	return c
}

// imapMay tells whether a SASL mechanism is offered.
func imapMay(mechanism string) func(s *imapSession) bool {
	return func(s *imapSession) bool { return s.mayLogin() && s.door.auth.offers(mechanism, s.client()) }
}

// mayLogin tells whether a password may come over this connection.
func (s *imapSession) mayLogin() bool {
	return s.door.plaintext.allows(s.c.tlsState() != nil, s.c.isLocal())
}

func (s *imapSession) cmdNoop() error { return s.r.readEnd() }

func (s *imapSession) cmdLogout() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.unselect()
	s.state = imapLogout
	s.c.printf("* BYE see you later")
	return nil
}

const (
	imapIDMost      = 30   // pairs; RFC 2971, section 3.3
	imapIDValueMost = 1024 // bytes; likewise. A longer one is cut
)

func (s *imapSession) cmdID() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	var pairs []string
	if s.r.peek() != '(' {
		if word, err := s.r.readWord(); err != nil || word != "NIL" {
			return imapBad("ID takes a list or NIL")
		}
	} else if err := s.r.readList(func() error {
		value, isNil, err := s.r.readNstring()
		if err == nil && isNil && len(pairs)%2 == 0 {
			return imapBad("a field of ID has no name")
		}
		if pairs = append(pairs, value[:min(len(value), imapIDValueMost)]); len(pairs) > 2*imapIDMost {
			return imapBad("too many fields")
		}
		return err
	}); err != nil {
		return err
	}
	if len(pairs)%2 != 0 {
		return imapBad("a field of ID has no value")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	logIMAPClient(s.c.log, s.user, pairs)
	out := append([]byte(nil), `* ID ("name" "Letterbox" "version" `...)
	s.c.Write(append(imapAppendString(out, s.door.version), ")\r\n"...))
	return nil
}

func (s *imapSession) cmdStartTLS() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	if s.door.tls == nil {
		return imapBad("TLS is not set up here")
	}
	if s.c.tlsState() != nil {
		return imapBad("this connection is TLS already")
	}
	s.respond(imap.StatusResponseTypeOK, "", "begin TLS now")
	if err := s.c.startTLS(s.door.tls); err != nil {
		return s.r.fail(err)
	}
	return imapDone
}

func (s *imapSession) cmdLogin() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	user, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	password, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	return s.login(user, password)
}

// login checks a password.
func (s *imapSession) login(user, password string) error {
	if !s.mayLogin() {
		return imapNo{imap.ResponseCodePrivacyRequired, "passwords are taken over TLS only"} // RFC 5530, section 3
	}
	name, app, err := s.door.auth.login(s.c.remoteAddr(), user, password)
	if err != nil {
		return s.loginFailed(user, err)
	}
	return s.loggedIn(name, app)
}

func (s *imapSession) loginFailed(user string, err error) error {
	if errors.Is(err, errAuthFailed) {
		logLoginFailed(s.c.log, user, s.name, err)
		return imapNo{imap.ResponseCodeAuthenticationFailed, authTold(err)}
	}
	logCommandFailed(s.c.log, user, s.name, err)
	return imapNo{imap.ResponseCodeUnavailable, "passwords cannot be checked now, try later"}
}

// loggedIn opens the mail of a user who has proved to be that.
func (s *imapSession) loggedIn(name, app string) error {
	tree, err := s.door.store.access(name, s.door.sharing())
	if err != nil {
		logCommandFailed(s.c.log, name, s.name, err)
		return imapNo{imap.ResponseCodeUnavailable, "your mail cannot be opened now, the log says why"}
	}
	s.user, s.tree, s.state = name, tree, imapAuthenticated
	s.c.timeout = imapAutologout
	s.c.loggedIn(s.door.auth.stays(name, app))
	logLogin(s.c.log, name, s.name, app)
	return imapOK{"CAPABILITY " + s.capabilities(), "logged in"}
}

// sharing says whose mailboxes there are.
func (d *imapDoor) sharing() mailboxSharing {
	return mailboxSharing{word: d.shared, shadows: d.prefix == "", joined: d.separator == '/', users: d.auth.users, exists: d.auth.exists}
}

// shared is the first part of the names of others' folders, "" if the user sees none.
func (s *imapSession) shared() string {
	if s.tree == nil {
		return ""
	}
	return s.tree.sharing.word
}

// cmdUnauthenticate forgets all about the client but its connection, which is not compressed any more
// (RFC 8437, section 3).
func (s *imapSession) cmdUnauthenticate() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.unselect()
	s.unlisten()
	s.ignoreMetadata()
	*s = imapSession{door: s.door, c: s.c, r: s.r, state: imapNotAuthenticated, tag: s.tag, name: s.name}
	s.c.timeout = imapLoginTime
	s.c.loggedIn(nil)
	s.respond(imap.StatusResponseTypeOK, "", s.name+" completed")
	if err := s.c.endDeflate(); err != nil {
		return s.r.fail(err)
	}
	return imapDone
}

func (s *imapSession) cmdAuthenticate() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	mechanism, err := s.r.readWord()
	if err != nil {
		return err
	}
	initial, hasInitial := "", s.r.take(' ')
	if hasInitial {
		initial = s.r.readWhile(func(c byte) bool { return c > ' ' })
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	if !s.mayLogin() {
		return imapNo{imap.ResponseCodePrivacyRequired, "passwords are taken over TLS only"}
	}
	switch mechanism {
	case "PLAIN":
		return s.authenticatePlain(initial, hasInitial)
	case "LOGIN":
		return s.authenticateLogin(initial, hasInitial)
	}
	if x := s.door.auth.exchange(mechanism, s.client()); x != nil {
		return s.authenticate(x, initial, hasInitial)
	}
	return imapNo{imap.ResponseCodeCannot, "there is no such mechanism here"}
}

// authenticate goes through the other mechanisms, in all of which the client speaks first.
func (s *imapSession) authenticate(x *authExchange, initial string, hasInitial bool) error {
	response, err := s.saslStep("", initial, hasInitial)
	for err == nil {
		var challenge []byte
		challenge, err = x.next(response)
		switch {
		case errors.Is(err, errAuthMessage):
			return imapBad(err.Error())
		case err != nil:
			return s.loginFailed(x.user, err)
		case x.name != "":
			return s.loggedIn(x.name, x.app)
		}
		if response, err = s.saslStep(string(challenge), "", false); err != nil && x.failed != nil {
			logLoginFailed(s.c.log, x.user, s.name, x.failed)
		}
	}
	return err
}

// authenticatePlain is SASL PLAIN (RFC 4616).
func (s *imapSession) authenticatePlain(initial string, hasInitial bool) error {
	message, err := s.saslStep("", initial, hasInitial)
	if err != nil {
		return err
	}
	user, password, err := authParsePlain(message)
	if err != nil {
		return imapNo{imap.ResponseCodeAuthenticationFailed, err.Error()}
	}
	return s.login(user, password)
}

// authenticateLogin is SASL LOGIN, which no RFC has and old clients use.
func (s *imapSession) authenticateLogin(initial string, hasInitial bool) error {
	user, err := s.saslStep("User Name\x00", initial, hasInitial)
	if err != nil {
		return err
	}
	password, err := s.saslStep("Password\x00", "", false)
	if err != nil {
		return err
	}
	return s.login(string(user), string(password))
}

// saslStep sends a challenge and reads the client's answer to it, unless that came
// with the command (RFC 4959: "=" stands for an empty one).
func (s *imapSession) saslStep(challenge, initial string, hasInitial bool) ([]byte, error) {
	answer := initial
	if hasInitial {
		answer = strings.TrimPrefix(answer, "=")
		if initial != "=" && answer != initial {
			return nil, imapBad("the initial response is not base64")
		}
	} else {
		s.c.printf("+ %s", base64.StdEncoding.EncodeToString([]byte(challenge)))
		if err := s.c.flush(); err != nil {
			return nil, s.r.fail(err)
		}
		line, err := s.c.readLine(imapLineMost)
		if err != nil {
			return nil, s.r.fail(err)
		}
		answer = string(line)
	}
	switch answer {
	case "*":
		return nil, imapBad("you cancelled it") // RFC 9051, section 6.2.2
	case "=": // go-imap's client sends it where an empty line is meant
		answer = ""
	}
	message, err := base64.StdEncoding.DecodeString(answer)
	if err != nil {
		return nil, imapBad("the response is not base64")
	}
	return message, nil
}

// cmdEnable: what is not known is ignored (RFC 9051, section 6.3.1).
func (s *imapSession) cmdEnable() error {
	var words []string
	for s.r.take(' ') {
		word, err := s.r.readWord()
		if err != nil {
			return err
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return imapBad("ENABLE what?")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	enabled := ""
	for _, word := range words {
		switch {
		case s.door.withholds(word): // as if it were not known
		case word == "IMAP4REV2" && !s.rev2:
			s.rev2, s.utf8 = true, true
			enabled += " IMAP4rev2"
		case (word == "METADATA" || word == "METADATA-SERVER") && !strings.Contains(enabled+" ", " "+word+" "):
			s.hearMetadata() // RFC 5464, section 4.1
			enabled += " " + word
		case word == "UTF8=ACCEPT" && !strings.Contains(enabled, word):
			s.utf8 = true
			enabled += " UTF8=ACCEPT"
		case word == "CONDSTORE" && !strings.Contains(enabled, word):
			s.condstore = true
			enabled += " CONDSTORE"
		case word == "QRESYNC" && !s.qresync: // RFC 7162, section 3.2.3
			s.condstore, s.qresync = true, true
			enabled += " QRESYNC"
		case word == "UIDONLY" && !s.uidOnly: // RFC 9586, section 3.1
			s.uidOnly = true
			enabled += " UIDONLY"
		}
	}
	s.c.printf("* ENABLED%s", enabled)
	return nil
}
