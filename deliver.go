package main

import "errors"

// The deliver room: whom an address means, and how an accepted envelope becomes
// messages in mailboxes. It knows no protocol.

var (
	errDeliverNotLocal = errors.New("not a domain of this box")
	errDeliverNoUser   = errors.New("no such user here")
)
