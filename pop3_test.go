package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"
)

// servePop is the POP3 door of dialogs. Settings for "! with": uidl, on_delete,
// lock, plaintext, stls ("no": not offered).
func servePop(t *testing.T, dir string, c net.Conn) {
	d := dialogShared(t, dir, func() *popDoor {
		d := &popDoor{auth: testAuth(t, "alice", "bob"), store: testPopStore(t, dir), hostname: "mail.example.org",
			tls: dialogTLS(), plaintext: authPlaintextLoopback,
			uidl: dialogWith(dir, "uidl"), onDelete: dialogWith(dir, "on_delete")}
		if dialogWith(dir, "lock") != "" {
			d.lock = newPopLocks()
		}
		if p := dialogWith(dir, "plaintext"); p != "" {
			d.plaintext = authPlaintext(p)
		}
		if dialogWith(dir, "stls") == "no" {
			d.tls = (*tls.Config)(nil)
		}
		return d
	})
	d.serve(newConn(c, slog.New(slog.DiscardHandler), popTimeout))
}

func testPopStore(t testing.TB, root string) *mailboxStore {
	t.Helper()
	store, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	return store
}

func TestPopDialogs(t *testing.T) { runDialogs(t, "pop3", servePop) }
