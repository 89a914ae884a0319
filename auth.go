package main

import (
	"errors"
	"net/netip"
	"time"
)

// auth checks passwords against the users file and slows down guessers. It is
// safe for concurrent use.
type auth struct{}

var (
	errAuthFailed      = errors.New("no such user or wrong password")
	errAuthUnavailable = errors.New("passwords cannot be checked now") // wraps the reason; the client may try later

	errAuthName     = errors.New("not a user name") // wraps the reason
	errAuthPassword = errors.New("not a password")  // wraps the reason
	errAuthExists   = errors.New("the user exists already")
	errAuthNoUser   = errors.New("no such user")
)

// authSettings is what checking passwords needs to know.
type authSettings struct {
	path       string           // the users file; it need not exist yet
	domains    []string         // ours: a login of alice@domain is alice
	firstLogin string           // a file that the first success removes; "" if none
	now        func() time.Time // nil: time.Now
}

// authOpen reads the users file. A file that does not exist has no users.
func authOpen(settings authSettings) (*auth, error) { panic("stub") }

// login checks a user's password and gives the user's canonical name. It takes
// the same time for an unknown user, and waits while the address or the user is
// slowed down for failures.
func (a *auth) login(remote netip.Addr, user, password string) (name string, err error) {
	panic("stub")
}

// exists tells whether a user of this (canonical, lower-case) name may have mail.
func (a *auth) exists(user string) bool { panic("stub") }

// users lists all users, sorted.
func (a *auth) users() ([]string, error) { panic("stub") }

// authAdd adds a user to the users file, which is made if need be; authPassword
// changes a user's password; authDelete removes a user. They are durable when they
// return. errAuthExists, errAuthNoUser, errAuthName, errAuthPassword.
func authAdd(path, user, password string) error      { panic("stub") }
func authPassword(path, user, password string) error { panic("stub") }
func authDelete(path, user string) error             { panic("stub") }

// authList gives the users of a users file, sorted.
func authList(path string) ([]string, error) { panic("stub") }

// authName gives the canonical form of a user's name, or errAuthName with the
// reason.
func authName(user string) (string, error) { panic("stub") }

// authRandomPassword makes a password that is easy to type.
func authRandomPassword() string { panic("stub") }

// authPlaintext says where a password may be sent in clear ([limits]
// plaintext_auth).
type authPlaintext string

const (
	authPlaintextLoopback authPlaintext = "loopback"
	authPlaintextAlways   authPlaintext = "always"
	authPlaintextNever    authPlaintext = "never"
)

// allows tells whether a connection may carry a password: it is TLS, or is on this
// machine, or the policy does not care.
func (p authPlaintext) allows(tls, local bool) bool { panic("stub") }

// authParsePlain reads the decoded message of SASL PLAIN (RFC 4616). An
// authorization identity other than the user is refused.
func authParsePlain(message []byte) (user, password string, err error) { panic("stub") }
