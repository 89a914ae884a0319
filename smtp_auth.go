package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// STARTTLS and AUTH.

func (s *smtpSession) mayStarttls() error {
	switch {
	case s.door.tls == nil:
		return smtpRefusal(502, smtp.EnhancedCode{5, 5, 1}, "TLS is not available")
	case s.secure():
		return smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "This connection uses TLS already")
	}
	return nil
}

// cmdStarttls begins TLS. Nothing that was said in clear counts afterwards, neither
// what came before nor what was sent along behind this command (RFC 3207, section 4.2).
func (s *smtpSession) cmdStarttls(arg string) error {
	if arg != "" {
		return smtpNoArgument // RFC 3207, section 4
	}
	if err := s.mayStarttls(); err != nil {
		return err
	}
	s.reset()
	s.greeted, s.esmtp, s.helo, s.user = false, false, "", ""
	s.reply(220, smtp.EnhancedCode{2, 0, 0}, "Begin TLS now")
	if err := s.startTLS(s.door.tls); err != nil {
		return &smtpBroken{err}
	}
	return nil
}

// mayLogin tells why no password may be sent as things are.
func (s *smtpSession) mayLogin() error {
	switch {
	case s.door.kind == smtpLMTP || s.door.auth == nil:
		return smtpRefusal(502, smtp.EnhancedCode{5, 5, 1}, "There is no login here")
	case !s.door.plaintext.allows(s.secure(), s.isLocal()):
		return smtpRefusal(538, smtp.EnhancedCode{5, 7, 11}, "Passwords are not taken in clear: use STARTTLS, or the TLS port") // RFC 4954, section 6
	}
	return nil
}

// cmdAuth is SASL: mechanism [ SP initial response ]. PLAIN is RFC 4616; LOGIN is older
// than any RFC, and all that some programs know.
func (s *smtpSession) cmdAuth(arg string) error {
	if err := s.mayLogin(); err != nil {
		return err
	}
	if s.user != "" {
		return smtpRefusal(503, smtp.EnhancedCode{5, 5, 1}, "You are logged in already") // RFC 4954, section 4
	}
	mechanism, initial, _ := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	switch mechanism {
	case "PLAIN":
		return s.authPlain(initial)
	case "LOGIN":
		return s.authLogin(initial)
	case "":
		return smtpRefusal(501, smtp.EnhancedCode{5, 5, 4}, "Which mechanism?")
	}
	if x := s.door.auth.exchange(mechanism, s.client()); x != nil {
		return s.authenticate(x, "AUTH "+mechanism, initial)
	}
	return smtpRefusal(504, smtp.EnhancedCode{5, 5, 4}, "There is no such mechanism here")
}

// client is what is known of the client that logs in. SCRAM is not bound to the connection here: there are
// clients that choose it where it is, cannot do it, and then try no other.
func (s *smtpSession) client() authClient {
	return authClient{remote: s.remoteAddr(), tls: s.tlsState()}
}

func (s *smtpSession) mechanisms() []string {
	return append(s.door.auth.mechanisms(s.client()), "PLAIN", "LOGIN")
}

// authenticate goes through the other mechanisms, in all of which the client speaks first.
func (s *smtpSession) authenticate(x *authExchange, how, initial string) error {
	response, err := s.response(initial, "")
	for err == nil {
		var challenge []byte
		challenge, err = x.next(response)
		switch {
		case errors.Is(err, errAuthMessage):
			return smtpRefusal(501, smtp.EnhancedCode{5, 5, 2}, "This is "+err.Error())
		case err != nil:
			return s.loginFailed(x.user, how, err)
		case x.name != "":
			s.loggedIn(x.name, how, x.app)
			return nil
		}
		if response, err = s.response("", string(challenge)); err != nil && x.failed != nil {
			s.authFailed++
			logLoginFailed(s.log, x.user, how, x.failed)
		}
	}
	return err
}

func (s *smtpSession) authPlain(initial string) error {
	message, err := s.response(initial, "")
	if err != nil {
		return err
	}
	user, password, err := authParsePlain(message)
	if errors.Is(err, errAuthSyntax) {
		return smtpRefusal(501, smtp.EnhancedCode{5, 5, 2}, "This is not a message of PLAIN")
	} else if err != nil {
		return s.wrongPassword(user, "AUTH PLAIN", err)
	}
	return s.login(user, password, "AUTH PLAIN")
}

func (s *smtpSession) authLogin(initial string) error {
	user, err := s.response(initial, "Username:")
	if err != nil {
		return err
	}
	password, err := s.response("", "Password:")
	if err != nil {
		return err
	}
	return s.login(string(user), string(password), "AUTH LOGIN")
}

// response gives the client's next response, decoded: the initial one if there is one
// ("=" is an empty one), else the answer to a challenge.
func (s *smtpSession) response(initial, challenge string) ([]byte, error) {
	if initial == "" {
		s.reply(334, smtp.NoEnhancedCode, base64.StdEncoding.EncodeToString([]byte(challenge)))
		line, err := s.command()
		if errors.Is(err, errLineTooLong) {
			return nil, smtpRefusal(500, smtp.EnhancedCode{5, 5, 6}, "Line too long") // RFC 4954, section 4
		} else if err != nil {
			return nil, &smtpBroken{err}
		}
		initial = line
	}
	switch initial {
	case "*":
		return nil, smtpRefusal(501, smtp.EnhancedCode{5, 7, 0}, "As you like") // RFC 4954, section 4
	case "=":
		return nil, nil
	}
	message, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		return nil, smtpRefusal(501, smtp.EnhancedCode{5, 5, 2}, "This is not base64") // RFC 4954, section 4
	}
	return message, nil
}

func (s *smtpSession) login(user, password, how string) error {
	name, app, err := s.door.auth.login(s.remoteAddr(), user, password)
	if err != nil {
		return s.loginFailed(user, how, err)
	}
	s.loggedIn(name, how, app)
	return nil
}

func (s *smtpSession) loggedIn(name, how, app string) {
	s.user = name
	s.conn.loggedIn(s.door.auth.stays(name, app))
	logLogin(s.log, name, how, app)
	s.reply(235, smtp.EnhancedCode{2, 7, 0}, "Welcome")
}

func (s *smtpSession) loginFailed(user, how string, err error) error {
	switch {
	case errors.Is(err, errAuthFailed):
		return s.wrongPassword(user, how, err)
	case errors.Is(err, errAuthUnavailable):
		logLoginFailed(s.log, user, how, err)
		return smtpRefusal(454, smtp.EnhancedCode{4, 7, 0}, "Passwords cannot be checked now, try again later") // RFC 4954, section 4
	}
	return fmt.Errorf("login: %w", err)
}

func (s *smtpSession) wrongPassword(user, how string, err error) error {
	s.authFailed++
	logLoginFailed(s.log, user, how, err)
	told := "Wrong user name or password"
	if why := authTold(err); why != errAuthFailed.Error() {
		told = "There is " + why
	}
	return smtpRefusal(535, smtp.EnhancedCode{5, 7, 8}, told) // RFC 4954, section 6
}
