package main

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
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
