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
		"EXPIRE NEVER", "UTF8 USER", "IMPLEMENTATION Letterbox"}
	if s.state == popAuthorization {
		if s.mayLogin() {
			list = append(list, "USER", "SASL PLAIN")
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
	switch {
	case mechanism == "":
		s.c.printf("+OK\r\nPLAIN\r\n.")
		return nil
	case !strings.EqualFold(mechanism, "PLAIN"):
		return popErr{"", "only PLAIN is known here"}
	}
	if !given {
		s.c.printf("+ ")
		line, err := s.readLine(popMaxResponse)
		if errors.Is(err, errLineTooLong) {
			return popErr{"", "the line is too long"}
		} else if err != nil {
			return popEnd{err}
		}
		initial = line
	}
	switch initial {
	case "*":
		return popErr{"", "as you like"}
	case "=": // an empty response
		initial = ""
	}
	message, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		return popErr{"", "this is not base64"}
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

// login checks the password and opens the maildrop.
func (s *popSession) login(user, password, how string) error {
	name, err := s.auth.login(s.c.remoteAddr(), user, password)
	if err != nil {
		logLoginFailed(s.c.log, user, how, err)
	}
	switch {
	case errors.Is(err, errAuthPassword):
		return popErr{"AUTH", err.Error()} // why it can be nobody's password helps, and tells nothing
	case errors.Is(err, errAuthFailed): // RFC 3206, section 4
		return popErr{"AUTH", errAuthFailed.Error()}
	case errors.Is(err, errAuthThrottled):
		return popErr{"SYS/TEMP", errAuthThrottled.Error()}
	case err != nil:
		return popErr{"SYS/TEMP", errAuthUnavailable.Error()}
	}
	if s.lock != nil && !s.lock.take(name) { // RFC 2449, section 8.1.2
		return popErr{"IN-USE", "another POP3 session has this mailbox open"}
	}
	drop, err := popOpen(s.store, name, s.onDelete)
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
	logLogin(s.c.log, name, how)
	s.c.printf("+OK logged in")
	return nil
}
