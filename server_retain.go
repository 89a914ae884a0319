package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What mail that looks after itself is told.

// serverRetainFile has the time up to which mail has expired, by its own count.
const serverRetainFile = "retention"

// openRetain reads what was noted the last time.
func (s *server) openRetain(dir string) error {
	path := filepath.Join(dir, serverRetainFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return serverPathError("reading", path, err)
	}
	s.retain = newRetainer(retainSettings{store: s.store, now: s.clk.now, running: time.Now, noted: string(text),
		note:    func(text string) error { return fileReplace(path, []byte(text), 0o600) },
		stopped: s.isStopping, log: s.log})
	return nil
}

func (s *server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// expire does a round, by the configuration as it is now.
func (s *server) expire() {
	s.reloading.Lock()
	c := s.config
	s.reloading.Unlock()
	s.mu.Lock()
	a := s.auth
	s.mu.Unlock()
	users, err := a.users()
	if err != nil {
		logServerExpire(s.log, err)
		return
	}
	domain := serverPageHost(c)
	if len(c.domains) > 0 {
		domain = c.domains[0]
	}
	plan := retainPlan{users: users, rules: c.retentionOf, from: "postmaster@" + c.hostname,
		address: func(user string) string { return user + "@" + domain }}
	if days := c.pop3.expireDays(); days > 0 {
		var lock *popLocks
		if c.pop3.lock {
			lock = s.locks
		}
		plan.expire = func(user string, before, now time.Time) error {
			return popExpiry{store: s.store, user: user, onDelete: a.onDelete(user, c.pop3.onDelete), marks: c.retains(), lock: lock,
				before: before.Add(-retainTime(days)), now: now, log: s.log}.run()
		}
	}
	s.retainMu.Lock()
	defer s.retainMu.Unlock()
	s.retain.run(plan)
}

// serverExpires says in how many days mail may leave the INBOX by itself, as POP3's CAPA has it: for a user, or for "" the least of
// all users'.
func serverExpires(c *config) func(user string) (days int, varies bool) {
	of := func(user string) int {
		days := c.pop3.expireDays()
		if inbox := c.retentionOf(user)["INBOX"]; inbox > 0 && (days == 0 || inbox < days) {
			days = inbox
		}
		return days
	}
	return func(user string) (days int, varies bool) {
		if days = of(user); user != "" {
			return days, false
		}
		for name := range c.users {
			own := of(name)
			varies = varies || own != of("")
			if own > 0 && (days == 0 || own < days) {
				days = own
			}
		}
		return days, varies
	}
}
