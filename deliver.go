package main

import (
	"errors"
	"log/slog"
)

// The deliver room: whom an address means, and how an accepted envelope becomes
// messages in mailboxes. It knows no protocol.

var (
	errDeliverNotLocal = errors.New("not a domain of this box")
	errDeliverNoUser   = errors.New("no such user here")
)

// deliverSettings is what delivering needs to know.
type deliverSettings struct {
	hostname   string              // mail for it is ours, as that for localhost and that without a domain
	domains    []string            // mail for them is ours
	aliases    map[string][]string // "name", "name@domain" or "*" to users, aliases or addresses of ours
	userExists func(name string) bool
	users      func() ([]string, error) // the first gets postmaster's mail if no alias says otherwise
	store      *mailboxStore
	log        *slog.Logger
}

// deliverer brings mail to users. It is safe for concurrent use.
type deliverer struct {
	deliverSettings
}

// newDeliverer makes a deliverer; a reload makes a new one.
func newDeliverer(settings deliverSettings) *deliverer { return &deliverer{settings} }
