package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The life of app passwords: made, used for mail and not for the page, kept when the own password changes, removed.
// A wrong password is answered late, by the bubble's clock.
func TestAuthApp(t *testing.T) { synctest.Test(t, testAuthApp) }

func testAuthApp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	must(t, authAdd(path, "alice", "the own one"))
	must(t, authAdd(path, "bob", "secret"))
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(text), "scram=", "userdb_mail=x app.odd=1 app.%zz={SCRAM-SHA-256}1,a,b,c scram=", 1)), 0o600))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	passwords := map[string]string{}
	names := []string{"Phone", "Anna's old PC. 2=ü{x}%", "tablet"}
	for _, name := range names {
		if passwords[name], err = a.addApp("alice", name, now); err != nil {
			t.Fatal(err)
		}
	}
	check := func(password, app string, want error) {
		t.Helper()
		for range 2 { // the second time from memory
			name, got, err := a.login(netip.MustParseAddr("192.168.1.7"), "alice", password)
			if !errors.Is(err, want) || want == nil && (name != "alice" || got != app) {
				t.Errorf("%q, %q, %v; want %q, %v", name, got, err, app, want)
			}
		}
	}
	scram := func(password string, want error) (app string) {
		t.Helper()
		c := testScramClient{user: "alice", password: password, flag: "n"}
		_, first, _ := c.Start()
		x, answer, err := a.scram(netip.MustParseAddr("192.168.1.7"), first, nil, false)
		must(t, err)
		final, err := c.Next(answer)
		must(t, err)
		name, answer, err := x.finish(final)
		if !errors.Is(err, want) || want == nil && (name != "alice" || string(answer) != c.proved) {
			t.Errorf("SCRAM: %q %v, want %v", name, err, want)
		}
		return x.app
	}
	check("the own one", "", nil)
	for name, password := range passwords {
		check(password, name, nil)
		if app := scram(password, nil); app != name {
			t.Errorf("SCRAM says %q, not %q", app, name)
		}
		if _, err := a.loginOwn(netip.MustParseAddr("192.168.1.7"), "alice", password); !errors.Is(err, errAuthFailed) {
			t.Errorf("the page lets an app password in: %v", err)
		}
		if _, _, err := a.login(netip.MustParseAddr("192.168.1.7"), "bob", password); !errors.Is(err, errAuthFailed) {
			t.Errorf("it is bob's as well: %v", err)
		}
	}
	if app := scram("the own one", nil); app != "" {
		t.Errorf("the own password is the app %q", app)
	}
	if name, err := a.loginOwn(netip.MustParseAddr("192.168.1.7"), "alice", "the own one"); err != nil || name != "alice" {
		t.Errorf("the page: %q, %v", name, err)
	}
	apps, err := a.apps("alice")
	if err != nil || len(apps) != 3 || apps[1].name != names[1] || apps[1].made != "2026-11-25" {
		t.Errorf("%+v, %v", apps, err)
	}

	must(t, a.setPassword("alice", "another one"))
	check("the own one", "", errAuthFailed)
	scram("the own one", errAuthFailed)
	check("another one", "", nil)
	scram("another one", nil)
	check(passwords["Phone"], "Phone", nil)
	scram(passwords["Phone"], nil)

	must(t, a.dropApp("alice", "Phone"))
	a.throttle = newAuthThrottle()
	check(passwords["Phone"], "", errAuthFailed)
	scram(passwords["Phone"], errAuthFailed)
	check(passwords["tablet"], "tablet", nil)
	if text, err = os.ReadFile(path); err != nil || !strings.Contains(string(text), "userdb_mail=x app.odd=1 app.%zz={SCRAM-SHA-256}1,a,b,c ") ||
		strings.Contains(string(text), "app.Phone") || strings.Contains(string(text), passwords["tablet"]) {
		t.Errorf("%v:\n%s", err, text)
	}
	if findings, err := authFindings(path); err != nil || len(findings) > 0 {
		t.Errorf("%v, %v", findings, err)
	}
}

func TestAuthAppRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	must(t, os.WriteFile(path, []byte("alice:"+testHash("secret")+"\r\n"), 0o600)) // as htpasswd has it
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	for _, name := range []string{"", "  ", "a\x01b", "a\u202eb", strings.Repeat("x", 41)} {
		if _, err := a.addApp("alice", name, time.Time{}); !errors.Is(err, errAuthAppName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, err = a.addApp("alice", "Phone", time.Time{})
	must(t, err)
	for _, name := range []string{"pHONE", " Phone "} {
		if _, err := a.addApp("alice", name, time.Time{}); !errors.Is(err, errAuthAppExists) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := a.addApp("alice", "x\n\nbob:x", time.Time{}); err != nil {
		t.Errorf("white space: %v", err)
	}
	if names, err := a.users(); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	for i := 2; i < authAppMost; i++ {
		if _, err := a.addApp("alice", strings.Repeat("x", i), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.addApp("alice", "one more", time.Time{}); !errors.Is(err, errAuthAppMost) {
		t.Errorf("one more: %v", err)
	}
	if err := a.dropApp("alice", "none"); !errors.Is(err, errAuthAppNone) {
		t.Error(err)
	}
	if _, err := a.addApp("carol", "Phone", time.Time{}); !errors.Is(err, errAuthNoUser) {
		t.Error(err)
	}
	if a.offersScram() {
		t.Error("SCRAM is offered although alice's own password has no keys")
	}
}

// A connection that is open ends when its login does not count any more, and no other does. Silence tells nothing, and
// is not ended.
func TestLoginTakenBack(t *testing.T) {
	doors := map[string]struct {
		serve       func(t *testing.T, dir string, a *auth, c *conn)
		login, noop string
		well, bye   string // how the answers to noop begin
	}{
		"imap": {func(t *testing.T, dir string, a *auth, c *conn) {
			d := testImapDoor(t, dir)
			d.auth = a
			d.serve(c)
		}, "a LOGIN alice %s\r\n", "b NOOP\r\n", "b OK", "* BYE [EXPIRED] "},
		"idle": {func(t *testing.T, dir string, a *auth, c *conn) {
			d := testImapDoor(t, dir)
			d.auth = a
			d.serve(c)
		}, "a LOGIN alice %s\r\nb SELECT INBOX\r\nc IDLE\r\n", "DONE\r\nd NOOP\r\n", "d OK", "* BYE [EXPIRED] "},
		"pop3": {func(t *testing.T, dir string, a *auth, c *conn) {
			d := testPopDoor(t, dir)
			d.auth = a
			d.serve(c)
		}, "USER alice\r\nPASS %s\r\n", "NOOP\r\n", "+OK", "-ERR [AUTH] "},
		"submission": {func(t *testing.T, dir string, a *auth, c *conn) {
			d := testSmtpDoor(t, dir, map[string][]string{}, "")
			d.auth, d.kind = a, smtpSubmission
			d.serve(c)
		}, "EHLO phone\r\nAUTH LOGIN YWxpY2U=\r\n%s\r\n", "NOOP\r\n", "250", "421 4.7.0 "},
	}
	for _, test := range []struct {
		what   string
		app    string // which the client logs in with; "": alice's own password
		change func(a *auth) error
		stays  bool
	}{
		{"nothing", "", func(*auth) error { return nil }, true},
		{"the app password is removed", "phone", func(a *auth) error { return a.dropApp("alice", "phone") }, false},
		{"another app password is removed", "phone", func(a *auth) error { return a.dropApp("alice", "desk") }, true},
		{"an app password is removed", "", func(a *auth) error { return a.dropApp("alice", "desk") }, true},
		{"the password is changed", "", func(a *auth) error { return a.setPassword("alice", "another one") }, false},
		{"the own password is changed", "phone", func(a *auth) error { return a.setPassword("alice", "another one") }, true},
		{"the user is removed", "", func(a *auth) error { return a.deleteUser("alice") }, false},
		{"the user of an app password is removed", "phone", func(a *auth) error { return a.deleteUser("alice") }, false},
		{"another user is removed", "", func(a *auth) error { return a.deleteUser("bob") }, true},
		{"the user is locked", "phone", func(a *auth) error {
			text, err := os.ReadFile(a.settings.path)
			return cmp.Or(err, os.WriteFile(a.settings.path, bytes.Replace(text, []byte("alice:"), []byte("alice:!"), 1), 0o600))
		}, false},
		{"the users file cannot be read", "", func(a *auth) error {
			return cmp.Or(os.Remove(a.settings.path), os.Mkdir(a.settings.path, 0o700))
		}, true},
	} {
		for name, door := range doors {
			t.Run(test.what+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := testAuth(t, "alice", "bob")
					password := "secret"
					for _, app := range []string{"phone", "desk"} {
						made, err := a.addApp("alice", app, time.Now())
						must(t, err)
						if app == test.app {
							password = made
						}
					}
					if name == "submission" {
						password = base64.StdEncoding.EncodeToString([]byte(password))
					}
					here, there := net.Pipe()
					said := &bytes.Buffer{} // read when all is quiet
					read, served := make(chan error, 1), make(chan struct{})
					go func() {
						_, err := io.Copy(said, here)
						read <- err
					}()
					go func() {
						door.serve(t, t.TempDir(), a, newConn(there, slog.New(slog.DiscardHandler), time.Minute))
						close(served)
					}()
					say := func(text string) string {
						synctest.Wait()
						said.Reset()
						_, err := io.WriteString(here, text)
						must(t, err)
						synctest.Wait()
						return said.String()
					}
					for line := range strings.Lines(fmt.Sprintf(door.login, password)) {
						say(line)
					}
					must(t, test.change(a))
					time.Sleep(connLook)
					answer := say(door.noop)
					if want := map[bool]string{true: door.well, false: door.bye}[test.stays]; !strings.Contains("\r\n"+answer, "\r\n"+want) {
						t.Errorf("%q, want %q", answer, want)
					}
					select {
					case <-served:
						if test.stays {
							t.Error("the connection has ended")
						}
					default:
						if !test.stays {
							t.Error("the connection goes on")
						}
					}
					here.Close()
					<-served
					<-read
				})
			})
		}
	}
}

// A login that was under way when the password changed is none: one that had to wait, and one of SCRAM whose client lets
// time pass before its last word.
func TestLoginOvertaken(t *testing.T) {
	remote := netip.MustParseAddr("192.168.1.7")
	synctest.Test(t, func(t *testing.T) {
		a := testAuth(t, "alice")
		for i := range authFreeFailures + 4 {
			if _, _, err := a.login(remote, "alice", fmt.Sprint("guess ", i)); !errors.Is(err, errAuthFailed) {
				t.Fatal(err)
			}
		}
		told := make(chan error)
		go func() {
			_, _, err := a.login(remote, "alice", "secret")
			told <- err
		}()
		synctest.Wait() // it has to
		must(t, a.setPassword("alice", "another one"))
		if err := <-told; !errors.Is(err, errAuthFailed) {
			t.Errorf("the old password, when its turn came: %v", err)
		}
	})
	for _, change := range []func(a *auth) error{func(*auth) error { return nil },
		func(a *auth) error { return a.setPassword("alice", "a third one") }} {
		a := testAuth(t, "alice")
		must(t, a.setPassword("alice", "another one"))
		c := testScramClient{user: "alice", password: "another one", flag: "n"}
		_, message, _ := c.Start()
		x := a.exchange("SCRAM-SHA-256", authClient{remote: remote})
		for range 2 {
			challenge, err := x.next(message)
			must(t, err)
			message, err = c.Next(challenge)
			must(t, err)
		}
		before, _ := a.user("alice")
		must(t, change(a))
		after, err := a.user("alice")
		must(t, err)
		stays := before.hash == after.hash
		if _, err := x.next(message); stays != (err == nil) || !stays && !errors.Is(err, errAuthFailed) || stays != (x.name == "alice") {
			t.Errorf("%q, %v, and the password is the same: %v", x.name, err, stays)
		}
	}
}
