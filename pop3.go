package main

import (
	"crypto/tls"
)

// The POP3 door, RFC 1939.

// popDoor is what all POP3 sessions share. Its values do not change while
// sessions use it; a reload makes a new one.
type popDoor struct {
	auth      *auth
	store     *mailboxStore
	hostname  string
	tls       *tls.Config // for STLS; nil: not offered
	plaintext authPlaintext
	uidl      string    // "dovecot", "courier", "cyrus", "filename"
	onDelete  string    // "hide", "trash", "archive", "delete"
	lock      *popLocks // for [pop3] lock = true: made once, kept over reloads; nil: not exclusive
}

// popLocks knows which mailboxes a POP3 session has for itself.
type popLocks struct{}

func newPopLocks() *popLocks { panic("stub") }

// serve speaks with one client until it leaves, and closes the connection. The
// error is why it ended other than by QUIT, already logged.
func (d *popDoor) serve(c *conn) { panic("stub") }
