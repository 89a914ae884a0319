package main

import (
	"log/slog"
	"time"
)

// serverOpenStore opens the mail for a command that works beside a running server, or
// without one.
func serverOpenStore(c *config, log *slog.Logger) (*mailboxStore, error) {
	now := func() time.Time {
		if now := time.Now(); serverCheckClock(c, now) == nil {
			return now
		}
		return time.Time{}
	}
	settings := serverStoreSettings(c)
	settings.now, settings.log = now, log
	st, err := newMailboxStore(settings)
	if err != nil {
		return nil, err
	}
	st.limitMemory(serverMemoryLeast)
	serverLimit(st, c)
	return st, nil
}

// serverStoreSettings is what the configuration says of the store.
func serverStoreSettings(c *config) mailboxSettings {
	settings := mailboxSettings{root: c.storage.path}
	if len(c.listen.pop3)+len(c.listen.pop3s) > 0 { // whatever on_delete is: each user may choose "hide"
		settings.inbox = []string{popHidden}
	}
	return settings
}

// serverLimit says what each user may have, and for whom nothing else can be set.
func serverLimit(st *mailboxStore, c *config) {
	st.limitQuotas(serverQuotas(c))
	st.fixQuotas(c.fixesQuota)
}

// serverQuotas says what each user may have.
func serverQuotas(c *config) func(user string) mailboxQuota {
	return func(user string) mailboxQuota {
		bytes, messages := c.quota(user)
		return mailboxQuota{bytes, int64(messages)}
	}
}

// makeSpool begins to take the mail that programs have left while there was no server.
func (s *server) makeSpool(c *config) *spool {
	return newSpool(spoolSettings{path: c.spool(), now: s.clk.now, log: s.log,
		deliverer: func() *deliverer { return s.doors.Load().smtp.deliverer },
		maxSize:   func() int64 { return s.doors.Load().smtp.maxMessageSize }})
}
