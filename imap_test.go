package main

import (
	"bufio"
	"cmp"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testImapShared is what the connections of one dialog share.
type testImapShared struct {
	auth  *auth
	store *mailboxStore
}

func TestImapDialogs(t *testing.T) {
	runDialogs(t, "imap", func(t *testing.T, dir string, nc net.Conn) {
		testImapDoor(t, dir).serve(newConn(nc, slog.New(slog.DiscardHandler), time.Hour))
	})
}

// testImapDoor is a door to the mail below dir, for alice and bob, or the users that a dialog names.
func testImapDoor(t testing.TB, dir string) *imapDoor {
	shared := dialogShared(t, dir, func() *testImapShared {
		users := strings.Fields(cmp.Or(dialogWith(dir, "users"), "alice bob"))
		shared := &testImapShared{testAuth(t, users...), testStore(t, dir)}
		testQuota(t, shared.store, dialogWith(dir, "quota"))
		shared.store.fixQuotas(func(user string) bool { return user == dialogWith(dir, "quota_fixed") })
		testAuthClients(t, shared.auth, dialogWith(dir, "client_ca"))
		testAuthTokens(t, shared.auth, dialogWith(dir, "oauth"))
		return shared
	})
	d := &imapDoor{auth: shared.auth, store: shared.store, hostname: "box.example.org", version: "1.0",
		tls: dialogTLS(), plaintext: authPlaintextLoopback, appendLimit: 1 << 20, separator: '/'}
	d.separator = cmp.Or(dialogWith(dir, "separator"), "/")[0]
	d.prefix = dialogWith(dir, "prefix")
	d.shared = cmp.Or(dialogWith(dir, "shared"), "Shared")
	if d.shared == "no" {
		d.shared = ""
	}
	d.annotations = map[string]string{"/shared/admin": "mailto:postmaster@box.example.org"}
	if filter := dialogWith(dir, "filter"); filter != "" {
		d.annotations["/shared/filters/values/shared"] = filter
	}
	if comment := dialogWith(dir, "comment"); comment != "" {
		d.annotations["/shared/comment"] = comment
	}
	d.plaintext = authPlaintext(cmp.Or(dialogWith(dir, "plaintext"), string(d.plaintext)))
	d.quotaAdmins = strings.Fields(dialogWith(dir, "quota_admins"))
	d.without = imapCapabilitySet(strings.Fields(dialogWith(dir, "without")))
	d.limit, _ = strconv.Atoi(cmp.Or(dialogWith(dir, "message_limit"), "10000000"))
	d.saveLimit, _ = strconv.Atoi(dialogWith(dir, "save_limit"))
	d.submitters = imapSubmitters(strings.Fields(dialogWith(dir, "submit")))
	if slow := dialogWith(dir, "slow"); slow != "" {
		testSlowFiles(t, dir, slow)
	}
	if dialogWith(dir, "tls") == "no" {
		d.tls = nil
	}
	return d
}

// testSlowFiles makes it take time to open a message below dir.
func testSlowFiles(t testing.TB, dir, how string) {
	long, err := time.ParseDuration(how)
	must(t, err)
	fault := func(step, path string) error {
		if step == "open" && strings.HasPrefix(path, dir) && strings.Contains(path, "/cur/") && !strings.HasSuffix(path, "/") {
			time.Sleep(long)
		}
		return nil
	}
	fileFault.Store(&fault)
	t.Cleanup(func() { fileFault.Store(nil) })
}

func TestImapMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b/c", true}, {"%", "a", true}, {"%", "a/b", false}, {"a/%", "a/b", true}, {"a/%", "a/b/c", false},
		{"a*c", "a/b/c", true}, {"%/%", "a/b", true}, {"%/%", "a", false}, {"inbox", "INBOX", true}, {"Inbox/x", "INBOX/x", true},
		{"inbox*", "INBOX/x", true}, {"inboxes", "inboxes", true}, {"sent", "Sent", false}, {"", "", true}, {"", "a", false},
		{"*%*%*%*%*%*%*%*%*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
		{"a%b*c", "axxb/y/c", true}, {"a%b*c", "ax/b/y/c", false}, {"%a", "ba", true}, {"*a%", "x/a", true}, {"*a%", "x/a/b", false},
	} {
		if got := imapMatch(c.pattern, c.name, '/'); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.name, got)
		}
	}
}

func FuzzIMAPMatch(f *testing.F) {
	f.Add("%/*", "a/b")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern)+len(name) > 1000 {
			return
		}
		if got := imapMatch("*"+pattern, name, '/'); !got && imapMatch(pattern, name, '/') {
			t.Errorf("%q matches %q, with * before it it does not", pattern, name)
		}
	})
}

// QUOTASET is told to those who may set limits, and to them alone.
func TestImapQuotaSetTold(t *testing.T) {
	door := testImapDoor(t, t.TempDir())
	door.quotaAdmins = []string{"alice"}
	for user, want := range map[string]bool{"alice": true, "bob": false} {
		theirs, ours := net.Pipe()
		go door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
		l := &serverLines{theirs, bufio.NewReader(theirs)}
		l.ask(t, "", "* OK")
		if told := l.ask(t, "a LOGIN "+user+" secret", "a OK"); strings.Contains(told, " QUOTASET ") != want || !strings.Contains(told, " QUOTA ") {
			t.Errorf("%s is told %s", user, told)
		}
		theirs.Close()
	}
}
