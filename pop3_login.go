package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Commands of the AUTHORIZATION state, and the way into the TRANSACTION state.

// cmdCapa lists what we can do, which differs before and after STLS and the login
// (RFC 2449, section 5).
func (s *popSession) cmdCapa(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	list := []string{"CAPA", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING",
		s.expiry(), "UTF8 USER", "IMPLEMENTATION Letterbox"}
	if s.state == popAuthorization {
		if s.mayLogin() {
			list = append(list, "USER", "SASL "+strings.Join(s.mechanisms(), " "))
		}
		if s.mayStls() == nil {
			list = append(list, "STLS")
		}
	}
	s.c.printf("+OK\r\n%s\r\n.", strings.Join(list, "\r\n"))
	return nil
}

// mayLogin tells whether a password may be sent as the connection is now.
func (s *popSession) mayLogin() bool {
	return s.plaintext.allows(s.c.tlsState() != nil, s.c.isLocal())
}

// client is what is known of the client that logs in. SCRAM is not bound to the connection here: there are
// clients that choose it where it is, cannot do it, and then try no other.
func (s *popSession) client() authClient {
	return authClient{remote: s.c.remoteAddr(), tls: s.c.tlsState()}
}

func (s *popSession) mechanisms() []string { return append(s.auth.mechanisms(s.client()), "PLAIN") }

func (s *popSession) mayStls() error {
	switch {
	case s.tls == nil:
		return popErr{"", "TLS is not available"}
	case s.c.tlsState() != nil:
		return popErr{"", "this connection uses TLS already"}
	case s.utf8: // RFC 6856, section 2.1
		return popErr{"", "STLS must come before UTF8"}
	}
	return nil
}

var errPopPlaintext = popErr{"", "passwords are not taken in clear: use STLS first, or the TLS port"}

// cmdStls begins TLS. All that was said before counts no more (RFC 2595, section 4).
func (s *popSession) cmdStls(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	if err := s.mayStls(); err != nil {
		return err
	}
	s.c.printf("+OK begin TLS now")
	s.user = ""
	if err := s.c.startTLS(s.tls); err != nil {
		return popEnd{err}
	}
	return nil
}

// cmdUtf8 takes note that the client knows UTF-8. We send messages as they are in
// any case: to refuse them to the others, as RFC 6856, section 2.1, wants it, would keep
// old programs from all mail, where one header field is shown badly.
func (s *popSession) cmdUtf8(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	s.utf8 = true
	s.c.printf("+OK UTF-8 it is")
	return nil
}

func (s *popSession) cmdUser(arg string) error {
	s.user = ""
	switch {
	case !s.mayLogin():
		return errPopPlaintext
	case arg == "":
		return popErr{"", "a name is missing"}
	}
	s.user = arg
	s.c.printf("+OK and the password?") // known or not: nobody learns who has mail here
	return nil
}

func (s *popSession) cmdPass(arg string) error {
	user := s.user
	s.user = "" // RFC 1939, section 7: PASS comes right after USER
	switch {
	case !s.mayLogin():
		return errPopPlaintext
	case user == "":
		return popErr{"", "USER comes first"}
	}
	return s.login(user, arg, "PASS")
}

// cmdAuth is SASL (RFC 5034, section 4). Without an argument it lists the mechanisms,
// which older clients ask for where newer ones send CAPA.
func (s *popSession) cmdAuth(arg string) error {
	s.user = ""
	if !s.mayLogin() {
		return errPopPlaintext
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	switch mechanism = strings.ToUpper(mechanism); mechanism {
	case "":
		s.c.printf("+OK\r\n%s\r\n.", strings.Join(s.mechanisms(), "\r\n"))
		return nil
	case "PLAIN":
		return s.authPlain(initial, given)
	}
	if x := s.auth.exchange(mechanism, s.client()); x != nil {
		return s.authenticate(x, "AUTH "+mechanism, initial, given)
	}
	return popErr{"", "there is no such mechanism here"}
}

// authPlain is SASL PLAIN (RFC 4616).
func (s *popSession) authPlain(initial string, given bool) error {
	message, err := s.response(nil, initial, given)
	if err != nil {
		return err
	}
	user, password, err := authParsePlain(message)
	if errors.Is(err, errAuthSyntax) {
		return popErr{"", "this is not a message of PLAIN"}
	} else if err != nil {
		logLoginFailed(s.c.log, user, "AUTH PLAIN", err)
		return popErr{"AUTH", err.Error()}
	}
	return s.login(user, password, "AUTH PLAIN")
}

// authenticate goes through the other mechanisms, in all of which the client speaks first.
func (s *popSession) authenticate(x *authExchange, how, initial string, given bool) error {
	response, err := s.response(nil, initial, given)
	for err == nil {
		var challenge []byte
		challenge, err = x.next(response)
		switch {
		case errors.Is(err, errAuthMessage):
			return popErr{"", err.Error()}
		case err != nil:
			return s.loginFailed(x.user, how, err)
		case x.name != "":
			return s.loggedIn(x.name, how, x.app)
		}
		if response, err = s.response(challenge, "", false); err != nil && x.failed != nil {
			logLoginFailed(s.c.log, x.user, how, x.failed)
		}
	}
	return err
}

// response gives the client's next response: the one that came with the command, where one did, else the
// answer to a challenge.
func (s *popSession) response(challenge []byte, initial string, given bool) ([]byte, error) {
	if !given {
		s.c.printf("+ %s", base64.StdEncoding.EncodeToString(challenge))
		line, err := s.readLine(popMaxResponse)
		if errors.Is(err, errLineTooLong) {
			return nil, popErr{"", "the line is too long"}
		} else if err != nil {
			return nil, popEnd{err}
		}
		initial = line
	}
	switch initial {
	case "*":
		return nil, popErr{"", "as you like"}
	case "=": // an empty response
		initial = ""
	}
	message, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		return nil, popErr{"", "this is not base64"}
	}
	return message, nil
}

func (s *popSession) login(user, password, how string) error {
	name, app, err := s.auth.login(s.c.remoteAddr(), user, password)
	if err != nil {
		return s.loginFailed(user, how, err)
	}
	return s.loggedIn(name, how, app)
}

func (s *popSession) loginFailed(user, how string, err error) error {
	logLoginFailed(s.c.log, user, how, err)
	switch {
	case errors.Is(err, errAuthPassword):
		return popErr{"AUTH", err.Error()} // why it can be nobody's password helps, and tells nothing
	case errors.Is(err, errAuthFailed): // RFC 3206, section 5
		return popErr{"AUTH", authTold(err)}
	case errors.Is(err, errAuthThrottled):
		return popErr{"SYS/TEMP", errAuthThrottled.Error()}
	}
	return popErr{"SYS/TEMP", errAuthUnavailable.Error()}
}

// loggedIn opens the maildrop of a user who has proved to be that.
func (s *popSession) loggedIn(name, how, app string) error {
	if s.lock != nil && !s.lock.take(name) { // RFC 2449, section 8.1.2
		return popErr{"IN-USE", "another POP3 session has this mailbox open"}
	}
	drop, err := popOpen(s.store, name, s.auth.onDelete(name, s.onDelete), s.marks)
	if err != nil {
		if s.lock != nil {
			s.lock.release(name)
		}
		if errors.Is(err, fs.ErrPermission) {
			logCommandFailed(s.c.log, name, how, err)
			return popErr{"SYS/PERM", "the server may not read this mailbox; its owner should ask for help"}
		}
		return fmt.Errorf("opening the maildrop of %s: %w", name, err)
	}
	s.user, s.drop, s.state = name, drop, popTransaction
	s.c.loggedIn(s.auth.stays(name, app))
	logLogin(s.c.log, name, how, app)
	s.c.printf("+OK logged in")
	return nil
}
