package main

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// authThrottle slows down whoever fails to log in, by address and by user. The
// first few failures cost nothing; each further one makes the next attempt wait
// longer. Attempts are put one behind the other, and those in the queue count as if
// they had failed, so many connections at once guess no faster than one. Failures are
// forgotten one a minute. The same wrong password again is no further guess: a phone
// that still has the old one must not lock out those who share its address.
//
// All times are differences of the monotonic clock: a clock that jumps frees nobody
// and locks nobody out.
type authThrottle struct {
	mu      sync.Mutex // guards all below
	guesses map[string]*authGuesses
	waiting int
}

// authGuesses is what is known of one address or one user.
type authGuesses struct {
	failures float64
	at       time.Time // when failures was right
	next     time.Time // before this no attempt that has to wait may be made
	queued   int       // attempts that wait now
	tried    [4]uint64 // what failed last, by a keyed hash
}

const (
	authFreeFailures = 5                // a mistyped password is not an attack
	authFirstPause   = time.Second / 2  // after that, and then twice as long each time
	authMaxPause     = 15 * time.Second // mail programs give up at 30 s and more
	authMaxWait      = 20 * time.Second // whoever would wait longer is sent away at once
	authForgetAfter  = time.Minute      // one failure
	authMaxWaiting   = 64               // connections that are held at a time
	authMaxGuesses   = 4096             // addresses and users kept in memory
)

var errAuthThrottled = errors.New("too many failed logins, try again later")

func newAuthThrottle() *authThrottle { return &authThrottle{guesses: map[string]*authGuesses{}} }

// authThrottleKeys is what an attempt counts for: the address, and users if given.
// From the home network it counts for the address alone, so that strangers who guess
// at a user's password from all over the world do not keep the user out.
func authThrottleKeys(remote netip.Addr, users ...string) (keys []string) {
	remote = remote.Unmap()
	if !remote.IsPrivate() && !remote.IsLoopback() && !remote.IsLinkLocalUnicast() {
		for _, user := range users {
			keys = append(keys, "user "+user)
		}
	}
	if remote.Is6() {
		// An IPv6 client has a whole /64 to choose from.
		if prefix, err := remote.WithZone("").Prefix(64); err == nil {
			return append(keys, prefix.String())
		}
	} else if remote.IsValid() {
		keys = append(keys, remote.String())
	}
	return keys
}

// free tells whether an attempt may be made without a wait.
func (th *authThrottle) free(keys []string) bool {
	th.mu.Lock()
	defer th.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		if g := th.guesses[key]; g != nil && g.count(now) >= authFreeFailures {
			return false
		}
	}
	return true
}

// wait blocks until the next attempt may be made, and puts the one after that
// behind it. errAuthThrottled: it would wait too long.
func (th *authThrottle) wait(keys []string) error {
	th.mu.Lock()
	now := time.Now()
	start := now
	for _, key := range keys {
		if g := th.guesses[key]; g != nil && g.next.After(start) {
			start = g.next
		}
	}
	pause := start.Sub(now)
	if pause > authMaxWait || th.waiting >= authMaxWaiting {
		th.mu.Unlock()
		return errAuthThrottled
	}
	var queues []*authGuesses
	for _, key := range keys {
		if g := th.guesses[key]; g != nil {
			g.queued++
			g.next = start.Add(authPause(g.count(now) + float64(g.queued)))
			queues = append(queues, g)
		}
	}
	th.waiting++
	th.mu.Unlock()
	time.Sleep(pause)
	th.mu.Lock()
	defer th.mu.Unlock()
	th.waiting--
	for _, g := range queues {
		g.queued--
	}
	return nil
}

// failed counts a failure; what is a keyed hash of user and password.
func (th *authThrottle) failed(keys []string, what uint64) {
	th.mu.Lock()
	defer th.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		g := th.get(key, now)
		if slices.Contains(g.tried[:], what) {
			continue
		}
		copy(g.tried[1:], g.tried[:])
		g.tried[0] = what
		g.failures, g.at = g.count(now)+1, now
		if next := now.Add(authPause(g.failures)); next.After(g.next) {
			g.next = next
		}
	}
}

// get makes room when there are too many: those who have been forgotten go first,
// then any.
func (th *authThrottle) get(key string, now time.Time) *authGuesses {
	if g := th.guesses[key]; g != nil {
		return g
	}
	if len(th.guesses) >= authMaxGuesses {
		for k, g := range th.guesses {
			if g.count(now) == 0 && !g.next.After(now) {
				delete(th.guesses, k)
			}
		}
	}
	for k := range th.guesses {
		if len(th.guesses) < authMaxGuesses {
			break
		}
		delete(th.guesses, k)
	}
	g := &authGuesses{at: now}
	th.guesses[key] = g
	return g
}

// count is how many failures are still held against them.
func (g *authGuesses) count(now time.Time) float64 {
	return max(0, g.failures-float64(now.Sub(g.at))/float64(authForgetAfter))
}

// authPause is how long the attempt after so many failures waits.
func authPause(failures float64) time.Duration {
	if failures < authFreeFailures {
		return 0
	}
	pause := authFirstPause
	for n := authFreeFailures + 1; float64(n) <= failures && pause < authMaxPause; n++ {
		pause *= 2
	}
	return min(pause, authMaxPause)
}
