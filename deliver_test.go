package main

import (
	"log/slog"
	"testing"
	"time"
)

func testDeliverer(t testing.TB, root string, aliases map[string][]string, a *auth) *deliverer {
	t.Helper()
	store, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	return newDeliverer(deliverSettings{hostname: "pi.lan", domains: []string{"example.org", "xn--bcher-kva.example"}, aliases: aliases,
		userExists: a.exists, users: a.users, store: store, log: slog.New(slog.DiscardHandler)})
}
