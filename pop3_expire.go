package main

import (
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"time"
)

// [pop3] expire: what a POP3 client has fetched whole goes the way of on_delete after a time, as if the client had deleted
// it then. A message counts as fetched once its session has ended with QUIT: a client that breaks off may not have it.

// expiry is the capability EXPIRE (RFC 2449, section 6.7).
func (s *popSession) expiry() string {
	days, varies := 0, false
	if s.expires != nil {
		user := ""
		if s.state == popTransaction {
			user = s.user
		}
		days, varies = s.expires(user)
	}
	switch {
	case days == 0:
		return "EXPIRE NEVER"
	case varies && s.state == popAuthorization:
		return fmt.Sprintf("EXPIRE %d USER", days) // the least of all users'
	}
	return fmt.Sprintf("EXPIRE %d", days)
}

// noteFetched keeps which messages were fetched. The client need not hear that it failed: they stay longer.
func (s *popSession) noteFetched() {
	if s.expire == 0 {
		return
	}
	uids := s.drop.take(func(m *popMessage) bool { return m.fetched && m.listed() })
	if err := s.drop.tree.noteFetched(s.drop.validity, uids, s.store.now()); err != nil {
		logCommandFailed(s.c.log, s.user, "RETR", fmt.Errorf("noting what was fetched: %w", err))
	}
}

// popExpiry is a round of [pop3] expire for one user.
type popExpiry struct {
	store       *mailboxStore
	user        string
	onDelete    string
	marks       bool
	lock        *popLocks // nil: sessions are not exclusive
	before, now time.Time // what was fetched up to before goes; now is the clock
	log         *slog.Logger
}

// run lets go what was fetched long enough ago.
func (e popExpiry) run() error {
	tree, err := e.store.tree(e.user)
	if err != nil {
		return err
	}
	fetched, err := tree.fetched(e.now)
	if err != nil || !slices.ContainsFunc(fetched.list, func(f mailboxFetchedRange) bool { return !f.at.After(e.before) }) && !fetched.stale {
		return err
	}
	if e.lock != nil {
		if !e.lock.take(e.user) {
			return nil // in an hour
		}
		defer e.lock.release(e.user)
	}
	drop, err := popOpen(e.store, e.user, e.onDelete, e.marks)
	if err != nil {
		return err
	}
	defer drop.view.close()
	times := drop.expire(fetched.list, e.before)
	way := map[string]string{"hide": "hidden", "delete": "deleted"}[e.onDelete]
	moved, folder, err := drop.update()
	if err != nil {
		return fmt.Errorf("deleting: %w", err) // all is tried again
	}
	if moved > 0 {
		logPopNotHidden(e.log, e.user, folder, moved)
	}
	if folder != "" {
		way = "moved to " + folder
	}
	var rest []mailboxFetchedRange
	for i := range drop.msgs {
		m := &drop.msgs[i]
		switch {
		case m.deleted:
			logPopExpired(e.log, e.user, m.uid, times[i], way)
		case !times[i].IsZero():
			rest = append(rest, mailboxFetchedRange{drop.validity, m.uid, m.uid, times[i]})
		}
	}
	return tree.keepFetched(fetched, rest)
}

// expire marks the messages that were fetched up to a time as DELE does, and gives when each was fetched the first
// time; zero: not yet.
func (b *popMaildrop) expire(fetched []mailboxFetchedRange, before time.Time) []time.Time {
	times := make([]time.Time, len(b.msgs))
	for _, f := range fetched {
		if f.validity != b.validity {
			continue
		}
		for i := sort.Search(len(b.msgs), func(i int) bool { return b.msgs[i].uid >= f.first }); i < len(b.msgs) && b.msgs[i].uid <= f.last; i++ {
			if times[i].IsZero() || f.at.Before(times[i]) {
				times[i] = f.at
			}
		}
	}
	for i, at := range times {
		b.msgs[i].deleted = !at.IsZero() && !at.After(before)
	}
	return times
}
