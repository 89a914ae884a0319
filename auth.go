package main

import (
	"errors"
	"net/netip"
)

// auth checks passwords against the users file and slows down guessers. It is
// safe for concurrent use.
type auth struct{}

var (
	errAuthFailed      = errors.New("no such user or wrong password")
	errAuthUnavailable = errors.New("passwords cannot be checked now") // wraps the reason; the client may try later
)

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
