package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testImapURLAuth gives a session of alice's, with a message, and a URL of it that is authorized for all.
func testImapURLAuth(t testing.TB, rump string) (s *imapSession, url string) {
	dir := t.TempDir()
	d := testImapDoor(t, dir)
	access, err := d.store.access("alice", d.sharing())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "alice", "new", "1.M1P1.pi"), []byte("Subject: x\r\n\r\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	s = &imapSession{door: d, state: imapAuthenticated, user: "alice", tree: access}
	token, err := s.authorize(rump)
	if err != nil {
		t.Fatal(err)
	}
	return s, rump + ":internal:" + token
}

// TestImapURLExpires holds EXPIRE against clocks.
func TestImapURLExpires(t *testing.T) {
	s, url := testImapURLAuth(t, "imap://alice@box/INBOX/;UID=1;EXPIRE=2999-01-02T03:04:05+01:00;URLAUTH=authuser")
	expire := time.Date(2999, 1, 2, 2, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		now   time.Time
		valid bool
	}{
		{expire.Add(-time.Hour), true},
		{expire, true},
		{expire.Add(time.Second), false},
		{time.Time{}, false}, // the clock is not believed
	} {
		s.door.store.now = func() time.Time { return c.now }
		if _, _, _, err := s.verify(url); (err == nil) != c.valid || err != nil && err != errImapURL {
			t.Errorf("at %v: %v", c.now, err)
		}
	}
	s.door.store.now = func() time.Time { return expire.Add(time.Second) }
	if _, err := s.authorize(url[:strings.Index(url, ":internal:")]); err == nil {
		t.Error("a URL that has expired was authorized")
	}
}

// TestImapURLKeys looks at the file of keys: nobody else may read it, and what is damaged in it is worth nothing.
func TestImapURLKeys(t *testing.T) {
	s, url := testImapURLAuth(t, "imap://alice@box/INBOX/;UID=1;URLAUTH=authuser")
	path := filepath.Join(s.tree.own.root, maildirKeysName)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "alice\tINBOX\t\n", "alice\tINBOX\t00\n", strings.Replace(string(kept), "alice", "bob", 1), strings.Replace(string(kept), "INBOX", "Sent", 1)} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := s.verify(url); err != errImapURL {
			t.Errorf("%q: %v", damaged, err)
		}
	}
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.verify(url); err != nil {
		t.Error(err)
	}
	if again := maildirTableText(maildirTableParse(string(kept))); again != string(kept) {
		t.Errorf("%q is read as %q", kept, again)
	}
}

// FuzzIMAPURLAuth changes an authorized URL: nothing else than what was authorized is valid.
func FuzzIMAPURLAuth(f *testing.F) {
	s, url := testImapURLAuth(f, "imap://alice@box/INBOX/;UID=1/;SECTION=TEXT;EXPIRE=2999-01-02T03:04:05Z;URLAUTH=user+alice")
	f.Add(uint(0), uint(0), "")
	f.Add(uint(30), uint(1), "2")
	f.Add(uint(len(url)-1), uint(1), "")
	f.Add(uint(7), uint(5), "bob")
	f.Add(uint(0), uint(1000), "imap://bob@box/INBOX/;UID=1;URLAUTH=anonymous:internal:0100000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, at, length uint, text string) {
		at = min(at, uint(len(url)))
		changed := url[:at] + text + url[min(at+min(length, 1<<20), uint(len(url))):]
		u, _, _, err := s.verify(changed)
		if err != nil {
			if err != errImapURL {
				t.Fatalf("%q: %v", changed, err)
			}
			if changed == url {
				t.Fatal("what was authorized is not valid")
			}
			return
		}
		rump := url[:strings.Index(url, ":internal:")]
		if u.rump != rump || !strings.EqualFold(changed, url) {
			t.Fatalf("%q is valid, and was not authorized", changed)
		}
	})
}
