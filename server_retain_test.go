package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServerExpires(t *testing.T) {
	for _, test := range []struct {
		toml, all, alice, bob string
	}{
		{"", "0 false", "0 false", "0 false"},
		{"[pop3]\nexpire = '2w'\n", "14 false", "14 false", "14 false"},
		{"[retention]\nTrash = '3d'\ninbox = '9d'\n[pop3]\nexpire = '14d'\n", "9 false", "9 false", "9 false"},
		{"[retention]\nINBOX = '9d'\n[users.alice.retention]\nInbox = ''\n", "9 true", "0 false", "9 false"},
		{"[users.alice.retention]\nINBOX = '5d'\n", "5 true", "5 false", "0 false"},
		{"[pop3]\nexpire = '3d'\n[users.alice.retention]\nINBOX = '5d'\n", "3 false", "3 false", "3 false"},
	} {
		c, findings := configParse(test.toml)
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		expires := serverExpires(c)
		got := []string{fmt.Sprint(expires("")), fmt.Sprint(expires("alice")), fmt.Sprint(expires("bob"))}
		if want := []string{test.all, test.alice, test.bob}; strings.Join(got, ";") != strings.Join(want, ";") {
			t.Errorf("%s: %q, want %q", test.toml, got, want)
		}
	}
}

// A round while an IMAP client looks on: it hears VANISHED. The time is noted at the end.
func TestServerExpire(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.retention = map[string]int{"Trash": 30}
	trash := filepath.Join(c.storage.path, "alice", ".Trash")
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(trash, sub), 0o700))
	}
	for i, days := range []int{40, 31, 1} {
		name := fmt.Sprintf("cur/%d.M%d.a:2,S", time.Now().Add(-time.Duration(days)*testRetainDay).Unix(), i)
		must(t, os.WriteFile(filepath.Join(trash, name), []byte("Subject: x\r\n\r\n"), 0o600))
	}
	own := filepath.Join(c.storage.path, serverDirectory)
	must(t, os.MkdirAll(own, 0o700))
	noted := testRetainNoted(time.Now().Add(-2 * time.Second))
	must(t, os.WriteFile(filepath.Join(own, serverRetainFile), []byte(noted), 0o600))
	s, log := serverTest(t, c, nil)
	imap := serverDial(t, s.address(t, "imap"), nil)
	imap.ask(t, "", "* OK")
	imap.ask(t, "1 LOGIN alice secret", "1 OK")
	imap.ask(t, "2 ENABLE QRESYNC", "2 OK")
	imap.ask(t, "3 SELECT Trash", "3 OK")
	s.expire()
	imap.ask(t, "4 NOOP", "* VANISHED 1:2")
	imap.ask(t, "", "4 OK")
	if got := log.String(); strings.Count(got, "msg=expired") != 2 {
		t.Errorf("%s", got)
	}
}
