package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A user's choice is kept through all that changes the user's line, ends no login, and counts as it stands in the file.
func TestAuthOnDelete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	must(t, os.WriteFile(path, []byte("# ours\nalice:"+testHash("secret")+":1000:1000::/home/alice:/bin/sh:userdb_mail=maildir:~/m\r\nbob:"+testHash("secret")+"\n"), 0o600))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	want := func(user, want string) {
		t.Helper()
		if got := a.onDelete(user, "delete"); got != want {
			t.Errorf("%s: %q, want %q", user, got, want)
		}
	}
	phone, err := a.addApp("alice", "Phone", time.Time{})
	must(t, err)
	own, app, stamp := a.stays("alice", ""), a.stays("alice", "Phone"), a.passwordStamp("alice")
	want("alice", "delete")
	want("nobody", "delete")
	for _, way := range []string{"trash", "hide", "hide", "archive"} {
		must(t, a.chooseOnDelete("alice", way))
		want("alice", way)
	}
	want("bob", "delete")
	if !own() || !app() || a.passwordStamp("alice") != stamp {
		t.Error("the choice has ended a login")
	}
	for _, way := range []string{"box", "Trash", "trash app.x=y", "trash\nmallory:x"} {
		if err := a.chooseOnDelete("alice", way); !errors.Is(err, errAuthOnDelete) {
			t.Errorf("%q: %v", way, err)
		}
	}
	if err := a.chooseOnDelete("carol", "trash"); !errors.Is(err, errAuthNoUser) {
		t.Errorf("carol: %v", err)
	}
	must(t, a.setPassword("alice", "another one"))
	tablet, err := a.addApp("alice", "tablet", time.Time{})
	must(t, err)
	must(t, a.dropApp("alice", "Phone"))
	want("alice", "archive")
	text, err := os.ReadFile(path)
	must(t, err)
	for _, kept := range []string{"# ours\n", ":1000:1000::/home/alice:/bin/sh:userdb_mail=maildir:~/m ", " pop3_on_delete=archive ", " app.tablet={SCRAM-SHA-256}"} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("%q is not in\n%s", kept, text)
		}
	}
	if strings.Contains(string(text), phone) || strings.Contains(string(text), tablet) || strings.Count(string(text), "pop3_on_delete") != 1 {
		t.Errorf("%s", text)
	}
	must(t, a.chooseOnDelete("alice", ""))
	want("alice", "delete")
	if text, err = os.ReadFile(path); err != nil || strings.Contains(string(text), "pop3_on_delete") {
		t.Errorf("%v:\n%s", err, text)
	}
	if findings, err := authFindings(path); err != nil || len(findings) > 0 {
		t.Errorf("%v, %v", findings, err)
	}
}

// What somebody else has written into the file: unknown words count as none, and are told; the last of several counts, as with Dovecot.
func TestAuthOnDeleteByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	hash := testHash("secret")
	for fields, test := range map[string]struct {
		way      string
		findings int
	}{
		"":                                        {"archive", 0},
		"pop3_on_delete":                          {"archive", 0},
		"pop3_on_delete=":                         {"archive", 0},
		"pop3_on_delete=hide":                     {"hide", 0},
		"x=y  pop3_on_delete=trash a":             {"trash", 0},
		"pop3_on_delete=hidden":                   {"archive", 1},
		"pop3_on_delete=Trash":                    {"archive", 1},
		"pop3_on_delete={PLAIN}trash":             {"archive", 1},
		"userdb_pop3_on_delete=trash":             {"archive", 0},
		"pop3_on_delete=x \tpop3_on_delete=trash": {"trash", 0},
		"pop3_on_delete=trash pop3_on_delete=x":   {"archive", 1},
	} {
		must(t, os.WriteFile(path, []byte("alice:"+hash+"::::::"+fields+"\n"), 0o600))
		a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
		must(t, err)
		findings, err := authFindings(path)
		if got := a.onDelete("alice", "archive"); got != test.way || err != nil || len(findings) != test.findings {
			t.Errorf("%q: %q, %+v, %v", fields, got, findings, err)
		}
		if len(findings) > 0 && (findings[0].line != 1 || !strings.Contains(findings[0].text, "hide, trash, archive, delete") || !strings.Contains(findings[0].hint, "Your mail")) {
			t.Errorf("%q: %+v", fields, findings[0])
		}
		if a.passwordStamp("alice") == "" {
			t.Errorf("%q: alice cannot log in", fields)
		}
		must(t, a.chooseOnDelete("alice", "hide"))
		if got := a.onDelete("alice", "archive"); got != "hide" {
			t.Errorf("%q, chosen anew: %q", fields, got)
		}
	}
}

// While the users file cannot be read, what was read last counts: mail that is to be kept is not deleted meanwhile.
func TestAuthOnDeleteUnreadable(t *testing.T) {
	a := testAuth(t, "alice")
	must(t, a.chooseOnDelete("alice", "hide"))
	if got := a.onDelete("alice", "delete"); got != "hide" {
		t.Fatal(got)
	}
	must(t, os.Remove(a.settings.path))
	must(t, os.Mkdir(a.settings.path, 0o700))
	if got := a.onDelete("alice", "delete"); got != "hide" {
		t.Errorf("unreadable: %q", got)
	}
}

func testConfigOnDelete(way string) *config {
	c := configDefault()
	c.hostname, c.pop3.onDelete = "pi.example.org", way
	return c
}

// A user may choose what the configuration may say, and nothing else.
func TestAuthOnDeleteWays(t *testing.T) {
	for _, way := range authOnDeleteWays {
		if findings := configCheck(testConfigOnDelete(way), nil, nil); len(findings) > 0 {
			t.Errorf("%s: %v", way, findings)
		}
	}
	findings := configCheck(testConfigOnDelete("x"), nil, nil)
	if len(findings) != 1 || !strings.Contains(findings[0].what, `"hide", "trash", "archive" or "delete"`) || len(authOnDeleteWays) != 4 {
		t.Errorf("%v", findings)
	}
	if len(webWays) != 1+len(authOnDeleteWays) {
		t.Errorf("%v", webWays)
	}
	for i, way := range authOnDeleteWays {
		if webWays[i+1].Word != way {
			t.Errorf("the page has %q for %q", webWays[i+1].Word, way)
		}
	}
}
