package main

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
)

// SASL (RFC 4422): what a login is that takes more than a name and a password, the same
// for all doors. A door hands each response to next and sends what it gives as a challenge,
// until the exchange has a name, which is the user's, or there is an error:
//
//	errAuthMessage      what the client said is no message of the mechanism
//	errAuthFailed       nobody is let in by that
//	errAuthUnavailable  it cannot be told now
//
// PLAIN and LOGIN are a name and a password, so the doors read them themselves.

// authClient is what is known of a client before it logs in.
type authClient struct {
	remote  netip.Addr
	tls     *tls.ConnectionState // nil: the connection is in clear
	binding []byte               // what names the connection (RFC 9266), nil where it cannot be had
}

// authExchange is a login under way.
type authExchange struct {
	user string // what the client calls itself, for the log; "" before it has said so
	name string // the user's canonical name once it is done; "" until then
	app  string // the app password that it was; "": none
	// failed is why nobody is let in, where the client is told so by a challenge. The login has failed whatever it
	// answers, and if it does not.
	failed error
	step   func(response []byte) (challenge []byte, err error)
}

func (x *authExchange) next(response []byte) (challenge []byte, err error) { return x.step(response) }

// errAuthMessage is a response that its mechanism does not have.
var errAuthMessage = errors.New("not a message")

// authRefusal is an errAuthFailed that is not about a password: told is what the client may know.
type authRefusal struct {
	told string
	why  string // for the log
}

func (e authRefusal) Error() string        { return e.told + ": " + e.why }
func (e authRefusal) Is(target error) bool { return target == errAuthFailed }

// authTold is what a client is told of an errAuthFailed.
func authTold(err error) string {
	var refusal authRefusal
	var token authBadToken
	switch {
	case errors.As(err, &refusal):
		return refusal.told
	case errors.As(err, &token):
		return authNoToken
	}
	return errAuthFailed.Error()
}

// authMechanism is a row of the mechanism table.
type authMechanism struct {
	name    string
	offered func(a *auth, c authClient) bool
	begin   func(a *auth, c authClient) *authExchange // nil: nobody can log in by it here
}

// authMechanisms are in the order in which they are offered.
var authMechanisms = []authMechanism{
	{"EXTERNAL", (*auth).offersExternal, (*auth).beginExternal}, // RFC 4422, appendix A
	{"OAUTHBEARER", (*auth).offersOAuth, (*auth).beginOAuth},    // RFC 7628
	{"SCRAM-SHA-256-PLUS", // RFC 7677
		func(a *auth, c authClient) bool { return a.offersScram() && c.binding != nil },
		func(a *auth, c authClient) *authExchange { return a.beginScram(c, true) }},
	{"SCRAM-SHA-256",
		func(a *auth, _ authClient) bool { return a.offersScram() },
		func(a *auth, c authClient) *authExchange { return a.beginScram(c, false) }},
}

// mechanisms are those that a client is offered.
func (a *auth) mechanisms(c authClient) (names []string) {
	for _, m := range authMechanisms {
		if m.offered(a, c) {
			names = append(names, m.name)
		}
	}
	return names
}

// offers tells whether a client is offered a mechanism.
func (a *auth) offers(mechanism string, c authClient) bool {
	i := slices.IndexFunc(authMechanisms, func(m authMechanism) bool { return m.name == mechanism })
	return i >= 0 && authMechanisms[i].offered(a, c)
}

// exchange begins a login by a mechanism, whose name is in capitals; nil if there is none.
func (a *auth) exchange(mechanism string, c authClient) *authExchange {
	i := slices.IndexFunc(authMechanisms, func(m authMechanism) bool { return m.name == mechanism })
	if i < 0 {
		return nil
	}
	return authMechanisms[i].begin(a, c)
}
