package main

import (
	"crypto/tls"
	"net/netip"
	"time"
)

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

// serve speaks with one client until it leaves, and closes the connection.
func (d *smtpDoor) serve(c *conn) { panic("stub") }
