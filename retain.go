package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// The retain room: mail that looks after itself. It removes what has been in a folder for longer than
// [retention] says, has POP3's rule applied to what was fetched long ago, and warns users whose mail is nearly as
// much as allowed. The server calls it each hour. It knows no protocol and no file.
//
//	unknown --first look--> waiting --a day in which the server runs--> counting
//
// What it removes nobody brings back, so it does not believe the clock as others do. It has a time of its own, at,
// which is never after the clock's and never goes forward more than retainPace times as fast as the server runs. A
// clock that jumps ahead by years makes it a little faster at most: whatever the clock does, nothing is removed
// before half of its time has passed with the server running. A box that is off for half of the day keeps up.
//
//	retain.go        the time, and the rounds
//	retain_folder.go which messages of a folder have expired
//	retain_quota.go  warnings

const (
	retainPace = 2
	retainWait = 24 * time.Hour // with no time noted yet: what is removed at once cannot be corrected
	retainNote = 6 * time.Hour  // how often the time is written: flash wears
	retainLook = 24 * time.Hour // how often a folder is looked at in which nothing seems to be due
)

// retainSettings is what the room needs to know of the process.
type retainSettings struct {
	store   *mailboxStore
	now     func() time.Time        // zero while it is not believed
	running func() time.Time        // a clock that does not jump; only differences count
	noted   string                  // what was noted the last time; "" if nothing was
	note    func(text string) error // keeps it, durably
	stopped func() bool             // the process is about to end
	log     *slog.Logger
}

// retainPlan is what one round is to do.
type retainPlan struct {
	users []string
	rules func(user string) map[string]int // days by folder; see retainDays

	// expire has POP3's rule applied to what was fetched before a time; nil: there is none.
	expire func(user string, before, now time.Time) error

	from    string                   // the sender of warnings
	address func(user string) string // whom they are for
}

// retainer is the room's memory. One goroutine at a time uses it.
type retainer struct {
	retainSettings
	at      time.Time     // its time; zero: it has none yet
	wait    time.Duration // how long the server has to run before anything is removed
	last    time.Time     // the round before, by running; zero: none
	written time.Time     // at, as noted
	behind  bool          // it was said that at is behind

	looks  map[retainPlace]time.Time // when a folder has to be looked at again, by at
	warned map[string]int            // the level that each user was warned of; not there: the mailbox knows
	failed map[string]bool           // whom a warning could not be delivered to, and it was said
}

// retainPlace is a folder with its rule: another rule makes it another place.
type retainPlace struct {
	user, folder string
	days         int
}

func newRetainer(settings retainSettings) *retainer {
	r := &retainer{retainSettings: settings, looks: map[retainPlace]time.Time{}, warned: map[string]int{}, failed: map[string]bool{}}
	r.at, r.wait = retainParseNote(settings.noted)
	r.written = r.at
	return r
}

// retainParseNote reads the time and how long there is still to wait. What was torn is as good as nothing.
func retainParseNote(text string) (at time.Time, wait time.Duration) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return time.Time{}, 0
	}
	at, err := time.Parse(time.RFC3339, fields[0])
	if err != nil {
		return time.Time{}, 0
	}
	if wait, err = time.ParseDuration(fields[1]); err != nil || wait < 0 || wait > retainWait {
		return time.Time{}, 0
	}
	return at, wait
}

// run does one round.
func (r *retainer) run(plan retainPlan) {
	now := r.now()
	ran := r.sinceLast()
	if now.IsZero() {
		return
	}
	removes := plan.expire != nil || slices.ContainsFunc(plan.users, func(user string) bool { return len(plan.rules(user)) > 0 })
	ready := removes && r.advance(now, ran)
	for _, user := range plan.users {
		if r.stopped() {
			return
		}
		if !r.store.hasMail(user) {
			continue
		}
		if ready {
			r.expire(plan, user, now)
		}
		if err := r.warn(plan, user, now); err != nil {
			logMailboxTrouble(r.log, user, "", fmt.Errorf("warning of the quota: %w", err))
		}
	}
	r.forgetOthers(plan.users)
}

// sinceLast gives how long the server has run since the last round.
func (r *retainer) sinceLast() (ran time.Duration) {
	running := r.running()
	if !r.last.IsZero() {
		ran = max(0, running.Sub(r.last))
	}
	r.last = running
	return ran
}

// advance moves at, and tells whether anything may be removed by it.
func (r *retainer) advance(now time.Time, ran time.Duration) (ready bool) {
	switch limit := r.at.Add(retainPace * ran); {
	case r.at.IsZero():
		r.at, r.wait = now, retainWait
	case limit.Before(now):
		r.at = limit
	default: // or the clock has gone back
		r.at = now
	}
	r.wait = max(0, r.wait-ran)
	if behind := now.Sub(r.at) > 2*retainWait; behind && !r.behind {
		logRetainBehind(r.log, now, r.at)
		r.behind = true
	} else if !behind {
		r.behind = false
	}
	if moved := r.at.Sub(r.written); moved >= retainNote || moved < 0 || r.written.IsZero() {
		r.keep()
	}
	return r.wait == 0
}

// keep notes the time. The server does so at its end, too.
func (r *retainer) keep() {
	if r.at.IsZero() || r.at.Equal(r.written) {
		return
	}
	if err := r.note(r.at.UTC().Format(time.RFC3339) + " " + r.wait.String() + "\n"); err != nil {
		logRetainNote(r.log, err)
		return
	}
	r.written = r.at
}

// expire removes what has expired of one user's mail.
func (r *retainer) expire(plan retainPlan, user string, now time.Time) {
	if rules := plan.rules(user); len(rules) > 0 {
		if err := r.folders(user, rules, now); err != nil {
			logMailboxTrouble(r.log, user, "", fmt.Errorf("looking for expired mail: %w", err))
		}
	}
	if plan.expire != nil && !r.stopped() {
		if err := plan.expire(user, r.at, now); err != nil {
			logMailboxTrouble(r.log, user, "INBOX", fmt.Errorf("looking for mail that POP3 has fetched: %w", err))
		}
	}
}

// forgetOthers forgets users who are no more.
func (r *retainer) forgetOthers(users []string) {
	for place := range r.looks {
		if !slices.Contains(users, place.user) {
			delete(r.looks, place)
		}
	}
	for user := range r.warned {
		if !slices.Contains(users, user) {
			delete(r.warned, user)
		}
	}
}
