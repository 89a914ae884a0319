package main

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
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
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// The example of RFC 7677, section 3.
func TestAuthScramExample(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	must(t, err)
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	x := &authScramExchange{a: testAuth(t), remote: netip.MustParseAddr("192.0.2.1"), name: "user", keys: testScramKeys("pencil", salt),
		channel: []byte("n,,"), nonce: nonce, said: "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"}
	name, answer, err := x.finish([]byte("c=biws,r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if err != nil || name != "user" || string(answer) != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("%q, %q, %v", name, answer, err)
	}
}

func testScramKeys(password string, salt []byte) *authScramKeys {
	salted, _ := pbkdf2.Key(sha256.New, password, salt, 4096, sha256.Size)
	stored := sha256.Sum256(authScramSign(salted, "Client Key"))
	return &authScramKeys{4096, salt, stored[:], authScramSign(salted, "Server Key")}
}

// testScramClient is the client's side, with what it may do wrong.
type testScramClient struct {
	user, password, flag string
	binding              []byte
	salted               []byte
	said, proved         string
}

func (c *testScramClient) Start() (mechanism string, first []byte, err error) {
	mechanism = "SCRAM-SHA-256"
	if strings.HasPrefix(c.flag, "p=") {
		mechanism += "-PLUS"
	}
	c.said = "n=" + c.user + ",r=fyko+d2lbbFgONRv9qkxdawL"
	return mechanism, []byte(c.flag + ",," + c.said), nil
}

func (c *testScramClient) Next(challenge []byte) ([]byte, error) {
	if c.proved != "" {
		if string(challenge) != c.proved {
			return nil, errors.New("the server does not know the password")
		}
		return nil, nil
	}
	var nonce, salt string
	for part := range strings.SplitSeq(string(challenge), ",") {
		switch part[:2] {
		case "r=":
			nonce = part[2:]
		case "s=":
			salt = part[2:]
		}
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return nil, err
	}
	c.salted, _ = pbkdf2.Key(sha256.New, c.password, raw, 4096, sha256.Size)
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.flag+",,"), c.binding...)) + ",r=" + nonce
	message := c.said + "," + string(challenge) + "," + without
	proof := authScramSign(c.salted, "Client Key")
	stored := sha256.Sum256(proof)
	for i, b := range authScramSign(stored[:], message) {
		proof[i] ^= b
	}
	c.proved = "v=" + base64.StdEncoding.EncodeToString(authScramSign(authScramSign(c.salted, "Server Key"), message))
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func TestAuthScram(t *testing.T) {
	door := testImapDoor(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "users")
	must(t, authAdd(path, "alice", "secret"))
	must(t, authAdd(path, "bob", "other"))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	door.auth = a
	connect := func(secure bool) (c *imapclient.Client, binding []byte) {
		theirs, ours := net.Pipe()
		if !secure {
			go door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
			return imapclient.New(theirs, nil), nil
		}
		go door.serve(newConn(tls.Server(ours, dialogTLS()), slog.New(slog.DiscardHandler), time.Minute))
		client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
		must(t, client.Handshake())
		state := client.ConnectionState()
		binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		must(t, err)
		return imapclient.New(client, nil), binding
	}
	for _, c := range []struct {
		name                 string
		secure               bool
		user, password, flag string
		spoiled              bool // what the client says of the connection is not so
		wrong                string
	}{
		{"without TLS", false, "alice", "secret", "n", false, ""},
		{"with TLS", true, "alice", "secret", "n", false, ""},
		{"bound", true, "alice", "secret", "p=tls-exporter", false, ""},
		{"bound, another user", true, "bob", "other", "p=tls-exporter", false, ""},
		{"a client that cannot, and a server that cannot", false, "alice", "secret", "y", false, ""},
		{"wrong password", true, "alice", "other", "n", false, "no such user or wrong password"},
		{"nobody", true, "carol", "secret", "n", false, "no such user or wrong password"},
		{"another connection", true, "alice", "secret", "p=tls-exporter", true, "no such user or wrong password"},
		{"hidden from the client", true, "alice", "secret", "y", false, "no such user or wrong password"},
		{"another binding", true, "alice", "secret", "p=tls-unique", false, "channel binding is tls-exporter here"},
		{"nothing to bind to", false, "alice", "secret", "p=tls-exporter", false, "channel binding is tls-exporter here"},
	} {
		client, binding := connect(c.secure)
		sasl := &testScramClient{user: c.user, password: c.password, flag: c.flag}
		if strings.HasPrefix(c.flag, "p=") {
			sasl.binding = binding
		}
		if c.spoiled {
			sasl.binding[0] ^= 1
		}
		err := client.Authenticate(sasl)
		if c.wrong == "" && (err != nil || sasl.proved == "") || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v", c.name, err)
		}
		client.Close()
	}

	if !a.offersScram() {
		t.Error("not offered, though all can use it")
	}
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(text), "{BLF-CRYPT}$2y$", "{BLF-CRYPT}$2b$", 1)), 0o600)) // as if by another program
	u, err := a.user("alice")
	if must(t, err); a.offersScram() || u.scramKeys() != nil {
		t.Error("the keys of an old password count")
	}
}

// Forms that are nobody's, and those that only look odd.
func TestAuthScramForms(t *testing.T) {
	a := testAuth(t, "alice")
	const rest = ",r=fyko"
	for first, want := range map[string]error{
		"n,,n=alice,r=fyko":                        nil,
		"n,a=alice,n=alice,r=fyko":                 nil,
		"n,a=Alice@example.org,n=alice" + rest:     nil,
		"n,a=bob,n=alice" + rest:                   errAuthFailed,
		"n,,n=alice,r=fyko,x=what of it":           nil, // extensions that are not mandatory
		"n,,n=al=2Cice" + rest:                     nil,
		"n,,n==3D=2C" + rest:                       nil,
		"n,,n=" + strings.Repeat("é", 5000) + rest: nil,
		"y,,n=alice" + rest:                        errAuthFailed,
		"n,,n=al=2cice" + rest:                     errAuthScram,
		"n,,n=al=ice" + rest:                       errAuthScram,
		"n,,n=alice=" + rest:                       errAuthScram,
		"n,,n=" + rest:                             errAuthScram,
		"n,,n=ali\x00ce" + rest:                    errAuthScram,
		"n,,n=ali\xffce" + rest:                    errAuthScram,
		"n,a=,n=alice" + rest:                      errAuthScram,
		"n,b=alice,n=alice" + rest:                 errAuthScram,
		"n,alice,n=alice" + rest:                   errAuthScram,
		"n,,m=x,n=alice" + rest:                    errAuthScram,
		"n,,n=alice,m=x" + rest:                    errAuthScram,
		"n,,n=alice,r=":                            errAuthScram,
		"n,,n=alice,r=a b":                         errAuthScram,
		"n,,n=alice,r=a\nb":                        errAuthScram,
		"n,,n=alice,r=\u00e9":                      errAuthScram,
		"n,,r=fyko,n=alice":                        errAuthScram,
		"F,n,,n=alice" + rest:                      errAuthScram,
		"N,,n=alice" + rest:                        errAuthScram,
		"p=tls-exporter,,n=alice" + rest:           errAuthScram, // without PLUS
		"p=,,n=alice" + rest:                       errAuthScram,
		",,":                                       errAuthScram,
		"":                                         errAuthScram,
	} {
		_, _, err := a.scram(netip.Addr{}, []byte(first), []byte("b"), false)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%.60q: %v, want %v", first, err, want)
		}
	}
	for final, want := range map[string]error{
		"c=biws,r=N,p=P":     errAuthFailed,
		"c=biws,r=N,x=y,p=P": errAuthFailed,
		"c=eSws,r=N,p=P":     errAuthFailed, // "y,,": not what it said first
		"c=biws\n,r=N,p=P":   errAuthScram,
		"c=biwt,r=N,p=P\n":   errAuthScram,
		"c=biws,r=N,p=" + strings.Repeat("A", 42) + "B=": errAuthScram, // bits that mean nothing
		"c=biws,r=N,p=":      errAuthScram,
		"c=biws,r=N":         errAuthScram,
		"c=biws,r=fyko,p=P":  errAuthScram, // the server's part of the nonce is missing
		"c=biws,r=Nx,p=P":    errAuthScram,
		"r=N,c=biws,p=P":     errAuthScram,
		"c=biws,p=P":         errAuthScram,
		"c=biws,r=N,p=P,x=y": errAuthScram, // the proof is the last
		"":                   errAuthScram,
	} {
		x, _, err := a.scram(netip.Addr{}, []byte("n,,n=alice,r=fyko"), nil, false)
		must(t, err)
		said := strings.NewReplacer("N", x.nonce, "P", strings.Repeat("A", 43)+"=").Replace(final)
		if name, _, err := x.finish([]byte(said)); !errors.Is(err, want) || name != "" {
			t.Errorf("%q: %q, %v, want %v", final, name, err, want)
		}
	}
}

// Nobody is told apart from a user: by the salt, however the name is written, or before and after a restart, or
// by how the keys of others look.
func TestAuthScramNobody(t *testing.T) {
	dir := t.TempDir()
	settings := authSettings{path: filepath.Join(dir, "users"), secret: filepath.Join(dir, "secret"), domains: []string{"example.org"}, log: slog.New(slog.DiscardHandler)}
	must(t, authAdd(settings.path, "alice", "secret"))
	open := func() *auth {
		a, err := authOpen(settings)
		must(t, err)
		return a
	}
	a := open()
	answer := func(a *auth, user string) string {
		_, server, err := a.scram(netip.Addr{}, []byte("n,,n="+user+",r=x"), nil, false)
		must(t, err)
		_, said, _ := strings.Cut(string(server), ",")
		return said
	}
	for _, user := range []string{"alice", "nobody"} {
		said := answer(a, user)
		for _, other := range []string{strings.ToUpper(user), user + "@example.org", user + "@EXAMPLE.ORG"} {
			if got := answer(a, other); got != said {
				t.Errorf("%s: %s, and %s: %s", user, said, other, got)
			}
		}
		if got := answer(open(), user); got != said {
			t.Errorf("%s after a restart: %s, was %s", user, got, said)
		}
	}
	if answer(a, "nobody") == answer(a, "nobody2") {
		t.Error("two names have one salt")
	}
	info, err := os.Stat(settings.secret)
	if must(t, err); info.Mode().Perm() != 0o600 {
		t.Errorf("the secret is for all: %v", info.Mode())
	}

	// Another program writes keys with a longer salt, and more iterations.
	text, err := os.ReadFile(settings.path)
	must(t, err)
	salt := answer(a, "alice")
	salt = strings.TrimSuffix(strings.TrimPrefix(salt, "s="), ",i=4096")
	longer := base64.StdEncoding.EncodeToString(make([]byte, 40))
	must(t, os.WriteFile(settings.path, []byte(strings.Replace(string(text), "4096,"+salt, "10000,"+longer, 1)), 0o600))
	said := answer(open(), "nobody")
	salt, ok := strings.CutSuffix(strings.TrimPrefix(said, "s="), ",i=10000")
	if raw, err := base64.StdEncoding.DecodeString(salt); !ok || err != nil || len(raw) != 40 {
		t.Errorf("nobody's keys are %s, %v", said, err)
	}
	must(t, os.WriteFile(settings.path, []byte(strings.Replace(string(text), "4096,", "1024,", 1)), 0o600))
	if open().offersScram() { // RFC 7677, section 4
		t.Error("too few iterations are offered")
	}
	must(t, os.WriteFile(settings.secret, []byte("torn"), 0o600))
	once := answer(open(), "nobody")
	if answer(open(), "nobody") != once {
		t.Error("a torn secret is not replaced")
	}
}

// testScramFinish gives a client's final message for a server's first.
func testScramFinish(t *testing.T, a *auth, user, password string) (*authScramExchange, []byte) {
	t.Helper()
	client := &testScramClient{user: user, password: password, flag: "n"}
	_, first, _ := client.Start()
	x, server, err := a.scram(netip.MustParseAddr("192.0.2.1"), first, nil, false)
	must(t, err)
	final, err := client.Next(server)
	must(t, err)
	return x, final
}

// Who is deleted, or gets another password, while a login goes on is not let in by the old one.
func TestAuthScramChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	must(t, authAdd(path, "alice", "secret"))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	x, final := testScramFinish(t, a, "alice", "secret")
	if name, _, err := x.finish(final); name != "alice" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	x, final = testScramFinish(t, a, "alice", "secret")
	must(t, authPassword(path, "alice", "other"))
	if name, _, err := x.finish(final); name != "" || !errors.Is(err, errAuthFailed) {
		t.Errorf("another password: %q, %v", name, err)
	}
	x, final = testScramFinish(t, a, "alice", "other")
	must(t, authDelete(path, "alice"))
	if name, _, err := x.finish(final); name != "" || !errors.Is(err, errAuthFailed) {
		t.Errorf("deleted: %q, %v", name, err)
	}
}

// Guesses that come at once are no more than those that come one by one: those after the first few are sent away
// when there is no room to wait.
func TestAuthScramTogether(t *testing.T) {
	a := testAuth(t, "alice")
	a.throttle.waiting = authMaxWaiting
	results := make(chan error)
	const guesses = 40
	for i := range guesses {
		x, final := testScramFinish(t, a, "alice", fmt.Sprint(i))
		go func() {
			_, _, err := x.finish(final)
			results <- err
		}()
	}
	tried := 0
	for range guesses {
		if err := <-results; errors.Is(err, errAuthFailed) {
			tried++
		} else if !errors.Is(err, errAuthThrottled) {
			t.Error(err)
		}
	}
	if tried > authFreeFailures+1 { // which are forgotten by and by
		t.Errorf("%d were tried", tried)
	}
}

// All doors have it. Where PLUS is withheld from IMAP's clients, those that know of it say "y" and are let in.
func TestAuthScramDoors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	must(t, authAdd(path, "alice", "secret"))
	a, err := authOpen(authSettings{path: path, log: slog.New(slog.DiscardHandler)})
	must(t, err)
	imapDoor, without, popDoor, smtpDoor := testImapDoor(t, t.TempDir()), testImapDoor(t, t.TempDir()), testPopDoor(t, t.TempDir()), testSmtpDoor(t, t.TempDir(), nil, "")
	imapDoor.auth, without.auth, popDoor.auth, smtpDoor.auth = a, a, a, a
	without.without = imapCapabilitySet([]string{"auth=scram-sha-256-plus"})
	for _, c := range []struct {
		what, flag string
		serve      func(*conn)
		lines      []string // before, and what offers it
		auth, more string
		in         string
		wrong      bool
	}{
		{"IMAP", "p=tls-exporter", imapDoor.serve, []string{"", "* OK [CAPABILITY"}, "a AUTHENTICATE ", "+ ", "a OK", false},
		{"IMAP, y", "y", imapDoor.serve, []string{"", "* OK [CAPABILITY"}, "a AUTHENTICATE ", "+ ", "a NO", true},
		{"IMAP without PLUS", "y", without.serve, []string{"", "* OK [CAPABILITY"}, "a AUTHENTICATE ", "+ ", "a OK", false},
		{"IMAP without PLUS, PLUS", "p=tls-exporter", without.serve, []string{"", "* OK [CAPABILITY"}, "a AUTHENTICATE ", "+ ", "a BAD", true},
		{"POP3", "n", popDoor.serve, []string{"", "+OK", "CAPA", "SASL SCRAM-SHA-256 PLAIN"}, "AUTH ", "+ ", "+OK", false},
		{"POP3, y", "y", popDoor.serve, []string{"", "+OK"}, "AUTH ", "+ ", "+OK", false},
		{"POP3, PLUS", "p=tls-exporter", popDoor.serve, []string{"", "+OK"}, "AUTH ", "+ ", "-ERR", true},
		{"SMTP", "n", smtpDoor.serve, []string{"", "220", "EHLO x", "250 AUTH SCRAM-SHA-256 PLAIN LOGIN"}, "AUTH ", "334 ", "235", false},
		{"SMTP, y", "y", smtpDoor.serve, []string{"", "220", "EHLO x", "250 AUTH"}, "AUTH ", "334 ", "235", false},
		{"SMTP, PLUS", "p=tls-exporter", smtpDoor.serve, []string{"", "220", "EHLO x", "250 AUTH"}, "AUTH ", "334 ", "501", true},
	} {
		theirs, ours := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.serve(newConn(tls.Server(ours, dialogTLS()), slog.New(slog.DiscardHandler), time.Minute))
		}()
		secure := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
		must(t, secure.Handshake())
		state := secure.ConnectionState()
		client := &testScramClient{user: "alice", password: "secret", flag: c.flag}
		if client.binding, err = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); !strings.HasPrefix(c.flag, "p=") {
			client.binding = nil
		}
		must(t, err)
		l := &serverLines{secure, bufio.NewReader(secure)}
		for i := 0; i < len(c.lines); i += 2 {
			l.ask(t, c.lines[i], c.lines[i+1])
		}
		mechanism, first, _ := client.Start()
		b64 := base64.StdEncoding.EncodeToString
		l.r.Discard(l.r.Buffered())
		line := c.auth + mechanism + " " + b64(first)
		for {
			must(t, secure.SetDeadline(time.Now().Add(time.Minute)))
			if _, err := io.WriteString(secure, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
			got, err := l.r.ReadString('\n')
			must(t, err)
			challenge, ok := strings.CutPrefix(strings.TrimSpace(got), c.more)
			if !ok {
				if !strings.HasPrefix(got, c.in) || (client.proved == "") != c.wrong {
					t.Errorf("%s: %q", c.what, got)
				}
				break
			}
			raw, err := base64.StdEncoding.DecodeString(challenge)
			must(t, err)
			answer, err := client.Next(raw)
			must(t, err)
			line = b64(answer)
		}
		theirs.Close()
		<-done
	}
}

func FuzzAuthScram(f *testing.F) {
	f.Add("n,,n=alice,r=x", "c=biws,r=x,p=AAAA")
	f.Add("p=tls-exporter,a=alice,n=al=2Cice,r=x", "c=,r=,p=")
	a := testAuth(f, "alice")
	f.Fuzz(func(t *testing.T, first, final string) {
		x, _, err := a.scram(netip.Addr{}, []byte(first), []byte("b"), strings.HasPrefix(first, "p="))
		if err != nil {
			return
		}
		if name, _, err := x.finish(fmt.Appendf(nil, "%s", strings.ReplaceAll(final, "r=x", "r="+x.nonce))); err == nil {
			t.Errorf("%q is in", name)
		}
	})
}
