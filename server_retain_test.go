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

// What POP3 has fetched goes each user's own way, and who has not chosen the box's.
func TestServerExpireChoice(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.pop3.expire, c.pop3.onDelete = "7d", "delete"
	ways := map[string]string{"alice": "hide", "bob": "trash", "carol": "archive", "dave": "", "eve": "unknown"}
	for user := range ways {
		must(t, authAdd(c.storage.users, user, "secret"))
	}
	own := filepath.Join(c.storage.path, serverDirectory)
	must(t, os.MkdirAll(own, 0o700))
	must(t, os.WriteFile(filepath.Join(own, serverRetainFile), []byte(testRetainNoted(time.Now().Add(-2*time.Second))), 0o600))
	s, log := serverTest(t, c, nil)
	for user, way := range ways {
		if way == "unknown" {
			must(t, authEditFields(c.storage.users, user, func(_ *authUser, fields []string) ([]string, error) {
				return append(fields, authOnDeleteField+way), nil
			}))
		} else {
			must(t, s.auth.chooseOnDelete(user, way))
		}
		tree, err := s.store.tree(user)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(tree.root, "cur", "1700000000.M1.a:2,S"), []byte("Subject: x\r\n\r\n"), 0o600))
		view, err := tree.view("INBOX", true, nil)
		must(t, err)
		must(t, maildirAddFetched(tree.root, []maildirFetched{{view.uidValidity(), 1, 1, time.Now().Add(-8 * testRetainDay).Unix()}}))
		view.close()
	}
	s.expire()
	for user, want := range map[string]string{"alice": "cur/1700000000.M1.a:2,Sa", "bob": ".Trash/cur/*", "carol": ".Archive/cur/*", "dave": "", "eve": ""} {
		var got []string
		for _, pattern := range []string{"cur/*", ".*/cur/*"} {
			files, err := filepath.Glob(filepath.Join(c.storage.path, user, pattern))
			must(t, err)
			got = append(got, files...)
		}
		if want == "" && len(got) > 0 {
			t.Errorf("%s: %q", user, got)
		} else if ok, _ := filepath.Match(filepath.Join(c.storage.path, user, want), strings.Join(got, ",")); want != "" && !ok {
			t.Errorf("%s: %q, want %q", user, got, want)
		}
	}
	if n := strings.Count(log.String(), "expired for POP3"); n != len(ways) {
		t.Errorf("%d: %s", n, log)
	}
}

// A new INBOX has the keyword of what is hidden whatever the box's way is, since its user may choose to hide.
func TestServerStoreSettings(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	for _, way := range authOnDeleteWays {
		c.pop3.onDelete = way
		if got := serverStoreSettings(c).inbox; len(got) != 1 || got[0] != popHidden {
			t.Errorf("%s: %q", way, got)
		}
	}
	c.listen.pop3, c.listen.pop3s = nil, nil
	if got := serverStoreSettings(c).inbox; len(got) != 0 {
		t.Errorf("without POP3: %q", got)
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
