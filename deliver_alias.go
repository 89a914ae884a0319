package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Whom an address means. The local part is looked up without regard to case:
//
//	1. as an alias, with the domain or without, with "+detail" or without
//	2. as a user, whose mail goes into the folder "detail" if there is one
//	3. as postmaster, who is the first user where no alias says otherwise
//	4. as whatever the catch-all "*" says
//	5. as root, to whom cron and the like write, who is the first user, too
//
// An alias' names are looked up in the same way, except that an alias that is being
// looked up is not looked up again: alice = ["alice", "bob"] means the user alice and
// bob, and a loop ends.

// deliverInbox is where mail goes that asks for no folder.
const deliverInbox = "INBOX"

// deliverRecipient is what one RCPT means.
type deliverRecipient struct {
	address address // as it was given
	boxes   []deliverBox
}

// deliverBox is a user, and the folder that the address asks for.
type deliverBox struct{ user, detail string }

// recipient tells whom an address means: errDeliverNotLocal, errDeliverNoUser, or
// another error when that cannot be told now.
func (d *deliverer) recipient(a address) (*deliverRecipient, error) {
	if !d.isOurs(a.domain) {
		return nil, errDeliverNotLocal
	}
	search := deliverSearch{d: d, seen: map[string]bool{}}
	if err := search.expand(a, ""); err != nil {
		return nil, fmt.Errorf("looking for %s: %w", a, err)
	}
	if len(search.boxes) == 0 {
		return nil, errDeliverNoUser
	}
	return &deliverRecipient{address: a, boxes: search.boxes}, nil
}

// readDomains takes in which domains are ours: those of the settings, and what a
// machine of this name is called by others near it.
func (d *deliverer) readDomains() {
	host := addressDomain(d.hostname)
	label, _, _ := strings.Cut(host, ".")
	for _, domain := range append([]string{"", host, label, label + ".local", "localhost", "localhost.localdomain"}, d.domains...) {
		d.ours[addressDomain(domain)] = true
	}
}

func (d *deliverer) isOurs(domain string) bool {
	if d.ours[addressDomain(domain)] {
		return true
	}
	ip, ok := addressLiteral(domain) // RFC 5321, section 4.1.3: a device that knows no name for us
	if !ok || ip.IsLoopback() {
		return ok
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.IP(ip.AsSlice()))
	})
}

func (d *deliverer) readAliases() {
	for name, targets := range d.aliases {
		local, domain, at := strings.Cut(name, "@")
		if a, err := addressParse(name); err == nil { // which may be quoted
			local, domain = a.local, a.domain
		}
		key := deliverFold(local)
		if at {
			key += "@" + addressDomain(domain)
		}
		d.names[key] = append(d.names[key], targets...)
	}
}

// deliverFold gives a local part as names are compared by.
func deliverFold(local string) string { return norm.NFC.String(strings.ToLower(local)) }

// deliverSearch is one search for an address' users.
type deliverSearch struct {
	d     *deliverer
	seen  map[string]bool // aliases that have been looked up
	boxes []deliverBox
}

// expand adds the users that an address means. detail is that of the alias that led
// here.
func (s *deliverSearch) expand(a address, detail string) error {
	whole := deliverFold(a.local)
	if done, err := s.alias(whole, a.domain, detail); done {
		return err
	}
	name := whole
	if base, own, ok := strings.Cut(a.local, "+"); ok && base != "" {
		name = deliverFold(base)
		if own != "" {
			detail = own
		}
		if done, err := s.alias(name, a.domain, detail); done {
			return err
		}
	}
	switch {
	case s.d.userExists(name):
		s.add(name, detail)
		return nil
	case name == "postmaster": // RFC 5321, section 4.5.1
		return s.first()
	}
	done, err := s.alias("*", a.domain, "")
	if !done && name == "root" {
		return s.first()
	}
	return err
}

// first adds the first user.
func (s *deliverSearch) first() error {
	users, err := s.d.users()
	if err == nil && len(users) == 0 {
		err = errors.New("there is no user yet")
	}
	if err != nil {
		return err
	}
	s.add(users[0], "")
	return nil
}

// alias adds the users of an alias; done if there is one of this name.
func (s *deliverSearch) alias(name, domain, detail string) (done bool, err error) {
	for _, key := range []string{name + "@" + addressDomain(domain), name} {
		targets, ok := s.d.names[key]
		if !ok || s.seen[key] {
			continue
		}
		s.seen[key] = true
		for _, target := range targets {
			to, err := addressParse(target)
			if err != nil || !s.d.isOurs(to.domain) {
				logDeliverAlias(s.d.log, name, target)
				continue
			}
			if err := s.expand(to, detail); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

func (s *deliverSearch) add(user, detail string) {
	if box := (deliverBox{user, detail}); !slices.Contains(s.boxes, box) {
		s.boxes = append(s.boxes, box)
	}
}

// deliverFolder gives the folder that an address' detail asks for, INBOX if there is
// none.
func deliverFolder(tree *mailboxTree, detail string) string {
	switch {
	case detail == "":
		return deliverInbox
	case tree.exists(detail):
		return detail
	}
	folders, err := tree.folders()
	if err != nil {
		return deliverInbox // and the mail is delivered
	}
	for _, f := range folders {
		if f.selectable && deliverFold(f.name) == deliverFold(detail) {
			return f.name
		}
	}
	return deliverInbox
}
