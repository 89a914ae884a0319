package main

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testAuthCA is a CA that signs for clients.
type testAuthCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestAuthCA(name string) *testAuthCA {
	key, err := serverKeyEC()
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &testAuthCA{cert, key}
}

// client makes a certificate; change may alter what it says.
func (ca *testAuthCA) client(name string, change func(*x509.Certificate)) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: ca.cert.NotAfter,
		EmailAddresses: []string{name + "@example.org"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	key, err := serverKeyEC()
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pem is the file of some CAs, and of serial numbers that each has revoked.
func (ca *testAuthCA) pem(revoked ...int64) []byte {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	if len(revoked) == 0 {
		return text
	}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NextUpdate: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		panic(err)
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
}

const testAuthRevoked = 99 // a serial number

// The CA of dialogs, and one that nobody knows.
var (
	testAuthOurCA   = sync.OnceValue(func() *testAuthCA { return newTestAuthCA("our CA") })
	testAuthOtherCA = sync.OnceValue(func() *testAuthCA { return newTestAuthCA("another CA") })
)

// testAuthCertificate is what "! tls" shows.
func testAuthCertificate(user, kind string) tls.Certificate {
	ca := testAuthOurCA()
	if kind == "stranger" {
		ca = testAuthOtherCA()
	}
	return ca.client(user, func(c *x509.Certificate) {
		switch kind {
		case "ended":
			c.NotAfter = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		case "server":
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		case "revoked":
			c.SerialNumber = big.NewInt(testAuthRevoked)
		}
	})
}

// testAuthClients has certificates let in: how is "cn" or "email"; "" changes nothing.
func testAuthClients(t testing.TB, a *auth, how string) {
	t.Helper()
	if how == "" {
		return
	}
	path := filepath.Join(t.TempDir(), "clients.pem")
	must(t, os.WriteFile(path, testAuthOurCA().pem(testAuthRevoked), 0o600))
	clients, err := authOpenCertificates(path, how == "email", slog.New(slog.DiscardHandler))
	must(t, err)
	a.clients = clients
}

// testAuthShown is a client that has shown certificates.
func testAuthShown(certs ...tls.Certificate) authClient {
	c := authClient{remote: netip.MustParseAddr("192.0.2.1"), tls: &tls.ConnectionState{}}
	for _, cert := range certs {
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			panic(err)
		}
		c.tls.PeerCertificates = append(c.tls.PeerCertificates, leaf)
	}
	return c
}

func TestAuthCertificate(t *testing.T) {
	ca := testAuthOurCA()
	a := testAuth(t, "alice", "bob")
	text, err := os.ReadFile(a.settings.path)
	must(t, err)
	must(t, os.WriteFile(a.settings.path, append(text, "carol:!"+testHash("secret")+"\ndave:{SSHA512}x\n"...), 0o600))
	two := func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: authCommonName, Value: "bob"}, {Type: authCommonName, Value: "alice"}}
	}
	addresses := func(list ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.EmailAddresses = list }
	}
	between := newTestAuthCA("between") // signed by our CA
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), Subject: between.cert.Subject, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: ca.cert.NotAfter}, ca.cert, between.key.Public(), ca.key)
	must(t, err)
	for _, c := range []struct {
		what, how string
		shown     []tls.Certificate
		actsFor   string
		user      string // "": nobody
		why       string // what the log says
	}{
		{"her own", "cn", []tls.Certificate{ca.client("alice", nil)}, "", "alice", ""},
		{"and she says so", "cn", []tls.Certificate{ca.client("alice", nil)}, "alice", "alice", ""},
		{"in other words", "cn", []tls.Certificate{ca.client("alice", nil)}, "Alice@Example.org", "alice", ""},
		{"with her domain", "cn", []tls.Certificate{ca.client("alice@example.org", nil)}, "", "alice", ""},
		{"with another domain", "cn", []tls.Certificate{ca.client("alice@example.com", nil)}, "", "", "no such user"},
		{"in capitals", "cn", []tls.Certificate{ca.client("ALICE", nil)}, "", "alice", ""},
		{"for another", "cn", []tls.Certificate{ca.client("alice", nil)}, "bob", "", "may not act for bob"},
		{"for nobody", "cn", []tls.Certificate{ca.client("alice", nil)}, "../alice", "", "may not act for"},
		{"nobody's", "cn", []tls.Certificate{ca.client("eve", nil)}, "", "", "no such user"},
		{"a path", "cn", []tls.Certificate{ca.client("../alice", nil)}, "", "", "no such user"},
		{"without a name", "cn", []tls.Certificate{ca.client("", nil)}, "", "", "0 common names"},
		{"with two names", "cn", []tls.Certificate{ca.client("alice", two)}, "", "", "2 common names"},
		{"of a locked user", "cn", []tls.Certificate{ca.client("carol", nil)}, "", "", "no such user"},
		{"of a user with a password we cannot check", "cn", []tls.Certificate{ca.client("dave", nil)}, "", "dave", ""},
		{"none", "cn", nil, "", "", "none was shown"},
		{"another CA's", "cn", []tls.Certificate{testAuthCertificate("alice", "stranger")}, "", "", "unknown authority"},
		{"that has ended", "cn", []tls.Certificate{testAuthCertificate("alice", "ended")}, "", "", "expired"},
		{"that has not begun", "cn", []tls.Certificate{ca.client("alice", func(c *x509.Certificate) { c.NotBefore = time.Now().AddDate(1, 0, 0) })}, "", "", "not yet valid"},
		{"a server's", "cn", []tls.Certificate{testAuthCertificate("alice", "server")}, "", "", "key usage"},
		{"that is revoked", "cn", []tls.Certificate{testAuthCertificate("alice", "revoked")}, "", "", "it is revoked"},
		{"by a CA between", "cn", []tls.Certificate{between.client("alice", nil), {Certificate: [][]byte{der}}}, "", "alice", ""},
		{"by a CA between that is missing", "cn", []tls.Certificate{between.client("alice", nil)}, "", "", "unknown authority"},
		{"by address", "email", []tls.Certificate{ca.client("x", addresses("alice@example.org"))}, "", "alice", ""},
		{"by an address elsewhere", "email", []tls.Certificate{ca.client("alice", addresses("alice@example.com"))}, "", "", "no such user"},
		{"without an address", "email", []tls.Certificate{ca.client("alice", addresses())}, "", "", "no such user"},
		{"the first address that is a user's", "email", []tls.Certificate{ca.client("x", addresses("info@example.org", "bob@example.org", "alice@example.org"))}, "", "bob", ""},
		{"another address", "email", []tls.Certificate{ca.client("x", addresses("bob@example.org", "alice@example.org"))}, "alice", "alice", ""},
	} {
		testAuthClients(t, a, c.how)
		a.throttle = newAuthThrottle()
		client := testAuthShown(c.shown...)
		x := a.exchange("EXTERNAL", client)
		_, err := x.next([]byte(c.actsFor))
		if x.name != c.user || c.user == "" && (!errors.Is(err, errAuthFailed) || !strings.Contains(err.Error(), c.why) || authTold(err) != authNoCertificate) ||
			c.user != "" && err != nil {
			t.Errorf("%s: %q, %v", c.what, x.name, err)
		}
		if offered := a.offers("EXTERNAL", client); offered != (c.user != "" || strings.Contains(c.why, "may not act")) {
			t.Errorf("%s: offered %v", c.what, offered)
		}
	}

	shown := testAuthShown(ca.client("alice", nil))
	if x := a.exchange("EXTERNAL", shown); true {
		if _, err := x.next([]byte("alice\x00bob")); !errors.Is(err, errAuthMessage) {
			t.Errorf("a NUL: %v", err)
		}
	}
	a.settings.now = func() time.Time { return time.Time{} }
	if _, err := a.exchange("EXTERNAL", shown).next(nil); !errors.Is(err, errAuthUnavailable) || a.offers("EXTERNAL", shown) {
		t.Errorf("while the clock is not believed: %v", err)
	}
	if testAuth(t, "alice").exchange("EXTERNAL", shown) != nil {
		t.Error("without client_ca")
	}
}

// The same certificate again is no further guess; others' names are.
func TestAuthCertificateThrottle(t *testing.T) {
	a := testAuth(t, "alice")
	testAuthClients(t, a, "cn")
	stranger := testAuthShown(testAuthCertificate("alice", "stranger"))
	keys := authThrottleKeys(stranger.remote)
	for range 3 * authFreeFailures {
		a.exchange("EXTERNAL", stranger).next(nil)
	}
	if !a.throttle.free(keys) {
		t.Error("one certificate has slowed down its address")
	}
	for i := range authFreeFailures {
		a.exchange("EXTERNAL", stranger).next(fmt.Appendf(nil, "user%d", i))
	}
	if a.throttle.free(keys) {
		t.Error("whoever tries names is not slowed down")
	}
}

// What is wrong in the file is said at the start; later, the old one counts on.
func TestAuthClientCAFile(t *testing.T) {
	ca, other := testAuthOurCA(), testAuthOtherCA()
	leaf := ca.client("alice", nil)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	must(t, err)
	foreign := other.pem(1)
	foreign = foreign[strings.Index(string(foreign), "-----BEGIN X509"):]
	path := filepath.Join(t.TempDir(), "clients.pem")
	for what, text := range map[string][]byte{
		"no certificate in it":          []byte("not PEM\n"),
		"is no CA's":                    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		"a PRIVATE KEY in it":           append(ca.pem(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...),
		"a certificate in it: x":        pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"which is no CA in it":          append(ca.pem(), foreign...),
		"revoked certificates in it: x": append(ca.pem(), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")})...),
	} {
		must(t, os.WriteFile(path, text, 0o600))
		if _, err := authReadCAs(path); !errors.Is(err, errAuthClientCA) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.WriteFile(path, append([]byte("our CA:\n"), ca.pem()...), 0o600))
	log := &serverLog{}
	k, err := authOpenCertificates(path, false, logNew(log, slog.LevelInfo))
	must(t, err)
	later := func() *authCAs {
		k.file.looked = time.Time{}
		return k.file.current()
	}
	must(t, os.WriteFile(path, []byte("half"), 0o600))
	if cas := later(); len(cas.certs) != 1 || !strings.Contains(log.String(), "no certificate in it") {
		t.Errorf("%v, %s", cas.certs, log)
	}
	must(t, os.WriteFile(path, append(ca.pem(2), other.pem()...), 0o600))
	if cas := later(); len(cas.certs) != 2 || len(cas.revoked) != 1 || !strings.Contains(log.String(), "took the changed file") {
		t.Errorf("%v, %s", cas.certs, log)
	}
}

// testAuthLogin logs in by lines: greeting and commands in turn, each answered by a line that begins so.
func testAuthLogin(t *testing.T, nc net.Conn, lines ...string) {
	t.Helper()
	r := bufio.NewReader(nc)
	for i := 0; i+1 < len(lines); i += 2 {
		if lines[i] != "" {
			if _, err := io.WriteString(nc, lines[i]+"\r\n"); err != nil {
				t.Fatalf("%q: %v", lines[i], err)
			}
		}
		for {
			got, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v, want %q", lines[i], err, lines[i+1])
			}
			if strings.HasPrefix(got, lines[i+1]) {
				break
			}
			if strings.HasPrefix(got, "-ERR") || strings.HasPrefix(got, "5") || strings.Contains(got, " NO ") {
				t.Fatalf("after %q: %q, want %q", lines[i], got, lines[i+1])
			}
		}
	}
}

// A whole server: all doors, a certificate that nobody knows, a CA that is changed.
func TestServerClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, other := newTestAuthCA("first"), newTestAuthCA("second")
	c := serverTestConfig(dir)
	c.tls.clientCA = filepath.Join(dir, "clients.pem")
	must(t, os.WriteFile(c.tls.clientCA, ca.pem(), 0o600))
	next, loadErr := *c, error(nil)
	s, log := serverTest(t, c, func(settings *serverSettings) {
		settings.load = func() (*config, error) { c := next; return &c, loadErr }
	})
	pool, cache := serverPool(t, s), tls.NewLRUClientSessionCache(0)
	connect := func(service string, own ...tls.Certificate) *serverLines {
		return serverDial(t, s.address(t, service), &tls.Config{RootCAs: pool, ServerName: "pi.example.org", Certificates: own})
	}
	alice, foreign := ca.client("alice", nil), other.client("alice", nil)
	testAuthLogin(t, connect("imaps", alice), "", "* OK [CAPABILITY", "a AUTHENTICATE EXTERNAL =", "a OK")
	testAuthLogin(t, connect("pop3s", alice), "", "+OK", "CAPA", "SASL EXTERNAL ", "AUTH EXTERNAL =", "+OK")
	testAuthLogin(t, connect("submissions", alice), "", "220", "EHLO x", "250 AUTH EXTERNAL ", "AUTH EXTERNAL "+base64.StdEncoding.EncodeToString([]byte("alice")), "235")
	stubborn := &tls.Config{RootCAs: pool, ServerName: "pi.example.org", // shows what was not asked for
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }}
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), stubborn), "", "* OK", "a AUTHENTICATE EXTERNAL =", "a NO [AUTHENTICATIONFAILED] no client certificate", "b LOGIN alice secret", "b OK")
	if !strings.Contains(log.String(), `by=AUTHENTICATE err="no client certificate that lets you in: that of`) || !strings.Contains(log.String(), "unknown authority") {
		t.Error(log)
	}
	// TLS names the CAs, so a client with several certificates shows the right one, or none.
	asked := false
	cfg := &tls.Config{RootCAs: pool, ServerName: "pi.example.org", ClientSessionCache: cache, GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if asked = true; info.SupportsCertificate(&foreign) == nil || info.SupportsCertificate(&alice) != nil {
			t.Errorf("the CAs are %q", info.AcceptableCAs)
		}
		return &alice, nil
	}}
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK", "a AUTHENTICATE EXTERNAL =", "a OK")
	if !asked {
		t.Error("nobody was asked")
	}
	smtp, err := net.Dial("tcp", s.address(t, "smtp"))
	must(t, err)
	defer smtp.Close()
	testAuthLogin(t, smtp, "", "220", "EHLO x", "250 ", "STARTTLS", "220")
	asked = false
	must(t, tls.Client(smtp, cfg).Handshake())
	if asked {
		t.Error("other mail servers are asked for a certificate")
	}

	// Another CA: a session that is resumed has the old certificate, and does not let in any longer.
	next.tls.clientCA = filepath.Join(dir, "others.pem")
	if err := s.reload(); err == nil || !strings.Contains(err.Error(), "hint: it holds the certificates of the CAs") {
		t.Errorf("a CA that is not there: %v", err)
	}
	must(t, os.WriteFile(next.tls.clientCA, other.pem(), 0o600))
	must(t, s.reload())
	l := serverDial(t, s.address(t, "imaps"), testAuthAgain(cfg))
	testAuthLogin(t, l, "", "* OK", "a AUTHENTICATE EXTERNAL =", "a NO")
	if !l.Conn.(*tls.Conn).ConnectionState().DidResume {
		t.Error("not resumed")
	}
	testAuthLogin(t, connect("imaps", foreign), "", "* OK", "a AUTHENTICATE EXTERNAL =", "a OK")
	next.tls.clientCA = ""
	must(t, s.reload())
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), stubborn), "", "* OK", "a AUTHENTICATE EXTERNAL =", "a NO [CANNOT]", "b LOGIN alice secret", "b OK")
}

// testAuthAgain is a client that resumes its session and asks no more.
func testAuthAgain(cfg *tls.Config) *tls.Config {
	again := cfg.Clone()
	again.GetClientCertificate = nil
	return again
}
