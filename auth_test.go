package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// testAuth is an auth whose users all have the password "secret", cheaply hashed.
func testAuth(t testing.TB, users ...string) *auth {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	testUsersFile(t, path, users...)
	a, err := authOpen(authSettings{path: path, domains: []string{"example.org"}, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testUsersFile(t testing.TB, path string, users ...string) {
	t.Helper()
	text := ""
	for _, user := range users {
		text += user + ":" + testHash("secret") + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func testHash(password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
}

func TestAuthLogin(t *testing.T) {
	a := testAuth(t, "alice", "Bob")
	for _, c := range []struct{ user, password, name string }{
		{"alice", "secret", "alice"},
		{"ALICE", "secret", "alice"},
		{"alice@example.org", "secret", "alice"},
		{"alice@EXAMPLE.org", "secret", "alice"},
		{"bob", "secret", "bob"},
		{"alice@example.com", "secret", ""},
		{"alice", "Secret", ""},
		{"alice", "", ""},
		{"alice", strings.Repeat("s", 73), ""},
		{"carol", "secret", ""},
		{"../alice", "secret", ""},
		{"", "secret", ""},
	} {
		name, _, err := a.login(netip.Addr{}, c.user, c.password)
		if name != c.name || (err == nil) != (c.name != "") || err != nil && !errors.Is(err, errAuthFailed) {
			t.Errorf("login %q %q: %q, %v, want %q", c.user, c.password, name, err, c.name)
		}
	}
	if _, _, err := a.login(netip.Addr{}, "alice", strings.Repeat("s", 73)); !strings.Contains(err.Error(), "73 bytes") {
		t.Errorf("the reason is missing: %v", err)
	}
	if !a.exists("bob") || a.exists("carol") {
		t.Error("bob should exist, carol should not")
	}
	if users, err := a.users(); err != nil || !slices.Equal(users, []string{"alice", "bob"}) {
		t.Errorf("users %q, %v", users, err)
	}
}

func TestAuthReload(t *testing.T) {
	a := testAuth(t, "alice")
	login := func(password string) error {
		_, _, err := a.login(netip.Addr{}, "alice", password)
		return err
	}
	if err := login("secret"); err != nil {
		t.Fatal(err)
	}
	// The same size and, on a coarse file system, the same mtime: seen nevertheless.
	line := "alice:" + testHash("terces") + "\n"
	if err := os.WriteFile(a.settings.path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := login("secret"); !errors.Is(err, errAuthFailed) {
		t.Errorf("the old password: %v", err)
	}
	if err := login("terces"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := os.Remove(a.settings.path); err != nil {
		t.Fatal(err)
	}
	if err := login("terces"); !errors.Is(err, errAuthFailed) {
		t.Errorf("without the file: %v", err)
	}
	if err := os.Mkdir(a.settings.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := login("terces"); !errors.Is(err, errAuthUnavailable) {
		t.Errorf("with a directory for a file: %v", err)
	}
}

// A success is remembered: what follows costs no bcrypt, which at this cost would
// take half a minute.
func TestAuthRemembers(t *testing.T) {
	a := testAuth(t, "alice")
	if _, _, err := a.login(netip.Addr{}, "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	for range cap(a.hashing) {
		a.hashing <- struct{}{} // a bcrypt would wait for ever
	}
	if _, _, err := a.login(netip.MustParseAddr("10.0.0.1"), "alice", "secret"); err != nil {
		t.Fatal(err)
	}
}

func TestAuthFirstLogin(t *testing.T) {
	a := testAuth(t, "alice")
	must(t, authAdd(a.settings.path, "bob", "other"))
	a.settings.firstLogin = filepath.Join(t.TempDir(), "first-login.txt")
	a.welcome.Store(false)
	if err := os.WriteFile(a.settings.firstLogin, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.login(netip.Addr{}, "alice", "wrong")
	if _, err := os.Stat(a.settings.firstLogin); err != nil {
		t.Errorf("a failed login removed the file: %v", err)
	}
	if _, _, err := a.login(netip.Addr{}, "bob", "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.settings.firstLogin); err != nil {
		t.Errorf("another user's login removed the file: %v", err)
	}
	a.login(netip.Addr{}, "alice", "secret")
	if _, err := os.Stat(a.settings.firstLogin); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first login left the file: %v", err)
	}
}

func TestAuthThrottle(t *testing.T) {
	guess := func(a *auth, addr, user, password string) (time.Duration, error) {
		start := time.Now()
		_, _, err := a.login(netip.MustParseAddr(addr), user, password)
		return time.Since(start), err
	}
	t.Run("address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := testAuth(t, "alice")
			var waits []time.Duration
			for i := range 12 {
				wait, err := guess(a, "192.0.2.1", fmt.Sprint("user", i), "x")
				if !errors.Is(err, errAuthFailed) {
					t.Fatal(err)
				}
				waits = append(waits, wait)
			}
			want := []time.Duration{0, 0, 0, 0, 0, time.Second / 2, 1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second}
			// One failure a minute is forgotten meanwhile, so a wait may be a step shorter.
			for i := range want {
				if waits[i] > want[i] || i > 4 && waits[i] == 0 || i == 11 && waits[i] < 8*time.Second {
					t.Fatalf("waited %v, want %v", waits, want)
				}
			}
			if wait, err := guess(a, "192.0.2.2", "alice", "secret"); err != nil || wait > 0 {
				t.Errorf("another address waited %v, %v", wait, err)
			}
			if wait, err := guess(a, "192.0.2.1", "alice", "secret"); err != nil || wait == 0 {
				t.Errorf("a remembered success got the guessing address through: %v, %v", wait, err)
			}
			time.Sleep(15 * time.Minute)
			if wait, _ := guess(a, "192.0.2.1", "alice", "x"); wait != 0 {
				t.Errorf("not forgotten after 15 minutes: %v", wait)
			}
		})
	})
	t.Run("user", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := testAuth(t, "alice")
			if _, err := guess(a, "192.0.2.1", "alice", "secret"); err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				guess(a, fmt.Sprint("198.51.100.", i), "alice", fmt.Sprint("x", i))
			}
			if wait, _ := guess(a, "198.51.100.99", "alice", "x"); wait == 0 {
				t.Error("the user's guessers may go on")
			}
			if wait, err := guess(a, "192.0.2.1", "alice", "secret"); wait != 0 || err != nil {
				t.Errorf("the user with the known password waited %v, %v", wait, err)
			}
		})
	})
	t.Run("an old password", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := testAuth(t, "alice", "bob")
			for range 50 {
				if wait, _ := guess(a, "192.0.2.1", "bob", "old"); wait != 0 {
					t.Fatalf("one wrong password, again and again, waited %v", wait)
				}
			}
			if wait, err := guess(a, "192.0.2.1", "alice", "secret"); wait != 0 || err != nil {
				t.Errorf("somebody else behind the address waited %v, %v", wait, err)
			}
		})
	})
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := testAuth(t, "alice")
			var wg sync.WaitGroup
			var mu sync.Mutex
			refused, checked := 0, 0
			for i := range 200 {
				wg.Go(func() {
					_, err := guess(a, "192.0.2.1", "alice", fmt.Sprint(i))
					mu.Lock()
					defer mu.Unlock()
					if errors.Is(err, errAuthThrottled) {
						refused++
					} else if errors.Is(err, errAuthFailed) {
						checked++
					}
				})
			}
			wg.Wait()
			if refused+checked != 200 || checked > authFreeFailures+cap(a.hashing)+8 {
				t.Errorf("%d of 200 guesses were checked, %d refused", checked, refused)
			}
		})
	})
	t.Run("fifty right ones at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := testAuth(t, "alice")
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if wait, err := guess(a, "192.0.2.1", "alice", "secret"); err != nil || wait > 0 {
						t.Errorf("waited %v, %v", wait, err)
					}
				})
			}
			wg.Wait()
		})
	})
}

func TestAuthThrottleMemory(t *testing.T) {
	th := newAuthThrottle()
	for i := range 3 * authMaxGuesses {
		th.failed([]string{fmt.Sprint(i)}, uint64(i))
	}
	if len(th.guesses) > authMaxGuesses {
		t.Errorf("%d guessers kept", len(th.guesses))
	}
}

func TestAuthThrottleKeys(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "user alice,192.0.2.1", "::ffff:192.0.2.1": "user alice,192.0.2.1", "2001:db8::1:2": "user alice,2001:db8::/64",
		"192.168.1.2": "192.168.1.2", "fe80::1%eth0": "fe80::/64", "::1": "::/64", "fd00::1:2:3:4:5": "fd00:0:0:1::/64",
	} {
		if got := strings.Join(authThrottleKeys(netip.MustParseAddr(addr), "alice"), ","); got != want {
			t.Errorf("%s: %q", addr, got)
		}
	}
	if got := authThrottleKeys(netip.Addr{}, "alice"); !slices.Equal(got, []string{"user alice"}) {
		t.Errorf("no address: %q", got)
	}
}

func TestAuthUsersFile(t *testing.T) {
	hash := testHash("secret")
	y := "$2y$" + hash[4:]
	for line, want := range map[string]string{ // what a login of alice with "secret" gives; "" for success
		"alice:" + hash:                            "",
		"alice:" + y:                               "",
		"alice:{BLF-CRYPT}" + y:                    "",
		"alice:{blf-crypt}" + y:                    "",
		"alice:{CRYPT}" + y:                        "",
		"Alice:" + y + "\r":                        "",
		"alice:" + y + ":1000:1000::/home/alice::": "",
		"alice:" + y + "::::::app.phone={BLF-CRYPT}" + y + " quota=1": "",
		"alice:" + strings.Replace(y, "$04$", "$31$", 1):              "cost",
		"alice:{PLAIN}secret":   "{PLAIN}",
		"alice:secret":          "not a bcrypt hash",
		"alice:$apr1$x$y":       "not a bcrypt hash",
		"alice:":                "not a bcrypt hash",
		"alice":                 "not a bcrypt hash",
		"alice:$2x$" + hash[4:]: "not a bcrypt hash",
		"#alice:" + y:           "-",
		"al/ice:" + y:           "only letters",
	} {
		users, findings := authParseUsers([]byte("# users\n\n" + line + "\n"))
		u := users["alice"]
		if want == "" {
			if u == nil || bcrypt.CompareHashAndPassword([]byte(u.hash), []byte("secret")) != nil || findings != nil {
				t.Errorf("%s: %v, %v", line, u, findings)
			}
		} else if want == "-" {
			if u != nil || findings != nil {
				t.Errorf("%s: %v, %v", line, u, findings)
			}
		} else if len(findings) != 1 || findings[0].line != 3 || !strings.Contains(findings[0].text, want) {
			t.Errorf("%s: %v, want %s", line, findings, want)
		}
	}
	users, findings := authParseUsers([]byte("alice:" + y + "\nalice:x\n"))
	if len(users) != 1 || users["alice"].hash != y || len(findings) != 1 {
		t.Errorf("the first line should count: %v, %v", users["alice"], findings)
	}
	users, _ = authParseUsers([]byte("alice:" + y + "::::::app.phone={BLF-CRYPT}" + y + " scram={SCRAM-SHA-256}4096,a,b,c"))
	want := []authCredential{{"app.phone", "BLF-CRYPT", y}, {"scram", "SCRAM-SHA-256", "4096,a,b,c"}}
	if !slices.Equal(users["alice"].credentials, want) {
		t.Errorf("credentials %v, want %v", users["alice"].credentials, want)
	}
}

func TestAuthEdit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	step := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	read := func() string {
		b, err := os.ReadFile(path)
		step(err, nil)
		return string(b)
	}
	step(authAdd(path, "Alice", "secret"), nil)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if text := read(); !strings.HasPrefix(text, "alice:{BLF-CRYPT}$2y$08$") || !strings.Contains(text, "::::::scram={SCRAM-SHA-256}4096,") {
		t.Errorf("the file is %q", text)
	}
	step(authAdd(path, "alice", "secret"), errAuthExists)
	step(authAdd(path, "a/b", "secret"), errAuthName)
	step(authAdd(path, "carol", strings.Repeat("x", 73)), errAuthPassword)
	step(authPassword(path, "carol", "secret"), errAuthNoUser)
	step(authDelete(path, "carol"), errAuthNoUser)

	other := "# comment\n\nnobody knows this\nbob:{PLAIN}x:1:2:g:/h:/s:app.tv={BLF-CRYPT}y scram={SCRAM-SHA-256}old quota=5\ndave:{PLAIN}y"
	step(os.WriteFile(path, []byte(other), 0o640), nil)
	step(os.Chmod(path, 0o640), nil)
	step(authPassword(path, "bob", "secret"), nil)
	lines := strings.Split(read(), "\n")
	if !slices.Equal(lines[:3], []string{"# comment", "", "nobody knows this"}) || lines[4] != "dave:{PLAIN}y" {
		t.Errorf("other lines changed: %q", lines)
	}
	if l := lines[3]; !strings.HasPrefix(l, "bob:{BLF-CRYPT}$2y$08$") || !strings.Contains(l, ":1:2:g:/h:/s:app.tv={BLF-CRYPT}y quota=5 scram={SCRAM-SHA-256}4096,") {
		t.Errorf("bob's line is %q", l)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	step(authDelete(path, "bob"), nil)
	if users, err := authList(path); err != nil || !slices.Equal(users, []string{"dave"}) {
		t.Errorf("left %q, %v", users, err)
	}
}

func TestAuthName(t *testing.T) {
	for in, want := range map[string]string{
		"alice": "alice", "Alice.B-c_d9": "alice.b-c_d9", "jürgen": "jürgen", "ju\u0308rgen": "jürgen",
		"": "", ".alice": "", "..": "", "a..b": "", "a.": "", "a/b": "", "a\x00": "", "~a": "", "-a": "", "a b": "", "a:b": "",
		"a@b": "", "a+b": "", "a\\b": "", "a%b": "", "\xff": "", strings.Repeat("a", 65): "",
	} {
		if got, err := authName(in); got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, errAuthName) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestAuthPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"secret": "secret", "I\u00adX": "IX", "\u00aa": "a", "\u2168": "IX", "a\u00a0b": "a b", // RFC 4013, section 3
		"": "", "a\x00b": "", "\u0007": "", strings.Repeat("x", 72): strings.Repeat("x", 72), strings.Repeat("x", 73): "",
	} {
		if got, err := authPrepare(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if a, b := authRandomPassword(), authRandomPassword(); a == b || len(a) != 19 {
		t.Errorf("random passwords %q, %q", a, b)
	}
}

func TestAuthPlaintext(t *testing.T) {
	for _, c := range []struct {
		policy            authPlaintext
		tls, local, allow bool
	}{
		{"loopback", false, false, false}, {"loopback", false, true, true}, {"loopback", true, false, true},
		{"always", false, false, true}, {"never", false, true, false}, {"never", true, false, true}, {"", false, false, false},
	} {
		if got := c.policy.allows(c.tls, c.local); got != c.allow {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestAuthParsePlain(t *testing.T) {
	for message, want := range map[string]error{
		"\x00alice\x00secret": nil, "alice\x00alice\x00secret": nil, "bob\x00alice\x00secret": errAuthFailed,
		"": errAuthSyntax, "\x00alice": errAuthSyntax, "\x00\x00x": errAuthSyntax, "\x00alice\x00": errAuthSyntax,
		"\x00alice\x00secret\x00": errAuthSyntax,
	} {
		user, password, err := authParsePlain([]byte(message))
		if !errors.Is(err, want) || err == nil && (user != "alice" || password != "secret") {
			t.Errorf("%q: %q, %q, %v", message, user, password, err)
		}
	}
}

func FuzzAuthUsers(f *testing.F) {
	f.Add("# users\nalice:{BLF-CRYPT}$2y$08$......................................................:1:2:g:/h:/s:scram={SCRAM-SHA-256}4096,a,b,c\n\nbob:$2y$")
	f.Add("alice:::::::::\r\n:\n{}\nx:{}\nx:{=")
	f.Fuzz(func(t *testing.T, text string) {
		users, _ := authParseUsers([]byte(text))
		for name, u := range users {
			if again, err := authName(name); err != nil || again != name || u.name != name {
				t.Errorf("user %q is not canonical: %v", name, err)
			}
			if u.hash != "" && len(u.hash) != 60 {
				t.Errorf("hash %q", u.hash)
			}
		}
	})
}
