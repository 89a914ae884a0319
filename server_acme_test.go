package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// serverTestACME is a CA on the Internet that has given certificates before: key and chain, as they are kept.
func serverTestACME(t *testing.T, name string, from, until time.Time) []byte {
	t.Helper()
	key, err := serverKeyEC()
	must(t, err)
	template := &x509.Certificate{SerialNumber: serverSerial(), Subject: pkix.Name{CommonName: "public"}, DNSNames: []string{name},
		NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key.(*ecdsa.PrivateKey))
	must(t, err)
	return serverACMEEncode(keyDER, [][]byte{der})
}

// serverTestShown is which certificate a name is shown: "ours", or "public".
func serverTestShown(t *testing.T, address, name string, protocols ...string) string {
	t.Helper()
	state, err := serverHandshake(t, address, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	must(t, err)
	if state.PeerCertificates[0].Subject.CommonName == "public" {
		return "public"
	}
	return "ours"
}

// A certificate for a public name is kept, and shown to those who ask for that name alone.
func TestServerACME(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	// Nobody listens there, so each try to get one fails.
	c.tls.acme, c.tls.acmeDirectory = []string{"Mail.Example.org", "old.example.org", "new.example.org"}, "https://"+serverTestNobody(t)+"/dir"
	dir := serverACMEPath(filepath.Join(c.storage.path, serverDirectory), c.tls.acmeDirectory)
	must(t, os.MkdirAll(dir, 0o700))
	now := time.Now()
	must(t, os.WriteFile(filepath.Join(dir, "mail.example.org.pem"), serverTestACME(t, "mail.example.org", now.Add(-time.Hour), now.Add(90*serverDay)), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "old.example.org.pem"), serverTestACME(t, "old.example.org", now.Add(-90*serverDay), now.Add(-time.Hour)), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "new.example.org.pem"), serverTestACME(t, "elsewhere.example.org", now, now.Add(90*serverDay)), 0o600))
	s, log := serverTest(t, c, nil)
	for name, want := range map[string]string{"mail.example.org": "public", "MAIL.example.org": "public", "pi.example.org": "ours", "": "ours",
		"old.example.org": "ours", "new.example.org": "ours", "elsewhere.example.org": "ours", "x.mail.example.org": "ours"} {
		for _, service := range []string{"imaps", "https"} {
			if got := serverTestShown(t, s.address(t, service), name); got != want {
				t.Errorf("%s, %q: %s, want %s", service, name, got, want)
			}
		}
	}
	s.certs.acme.runs.Wait()
	if n := strings.Count(log.String(), "no certificate from the CA"); n != 2 {
		t.Errorf("%d failures are logged, want one for each of the two names:\n%s", n, log.String())
	}
	s.refresh() // an hour has not passed
	s.certs.acme.runs.Wait()
	if n := strings.Count(log.String(), "no certificate from the CA"); n != 2 {
		t.Errorf("%d failures are logged after another look", n)
	}
	for name, want := range map[string]string{"mail.example.org": "is good until", "old.example.org": "has ended on", "new.example.org": "there is no certificate"} {
		said, err := serverCheckACME(c, name, now)
		if err != nil {
			said = err.Error()
		}
		if !strings.Contains(said, want) || err != nil && (!strings.Contains(said, "connection refused") || !strings.Contains(said, "hint: is this box on the Internet")) {
			t.Errorf("%s: check says %q, want %q", name, said, want)
		}
	}
	for _, name := range []string{"account.key", "old.example.org.failed"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	serverTestChallenges(t, s)
}

// serverTestNobody is an address on which nobody listens.
func serverTestNobody(t *testing.T) string {
	t.Helper()
	needLoopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// What a CA looks for is there while it looks, and for nobody who asks for something else.
func serverTestChallenges(t *testing.T, s *server) {
	a := s.certs.acme
	text := serverTestACME(t, "mail.example.org", time.Now(), time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(text, text)
	must(t, err)
	a.mu.Lock()
	a.tokens["token-1"] = "token-1.thumbprint"
	a.shown["pi.example.org"] = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"acme-tls/1"}}
	a.mu.Unlock()
	for _, test := range []struct {
		name      string
		protocols []string
		want      string
	}{
		{"pi.example.org", []string{"acme-tls/1"}, "public"},
		{"pi.example.org", nil, "ours"},
		{"pi.example.org", []string{"acme-tls/1", "http/1.1"}, "ours"},
		{"pi.example.org", []string{"imap"}, "ours"},
		{"other.example.org", []string{"acme-tls/1"}, "ours"},
	} {
		if got := serverTestShown(t, s.address(t, "imaps"), test.name, test.protocols...); got != test.want {
			t.Errorf("%s, %v: %s, want %s", test.name, test.protocols, got, test.want)
		}
	}
	nc, err := tls.Dial("tcp", s.address(t, "imaps"), &tls.Config{ServerName: "pi.example.org", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}})
	must(t, err)
	defer nc.Close()
	if text, err := io.ReadAll(nc); len(text) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the CA's look, it says %q, %v", text, err)
	}
	for path, want := range map[string]string{"token-1": "token-1.thumbprint", "token-2": "", "": "", "token-1/": "", "../acme-challenge/token-2": ""} {
		response, err := http.Get("http://" + s.address(t, "http") + "/.well-known/acme-challenge/" + path)
		must(t, err)
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		must(t, err)
		if (want != "") != (response.StatusCode == 200) || want != "" && string(body) != want {
			t.Errorf("%q: %d %q, want %q", path, response.StatusCode, body, want)
		}
	}
}

// When a certificate is got: in time, by the challenge that promises most, and with a believed clock.
func TestServerACMENeeds(t *testing.T) {
	for _, test := range []struct {
		http, https []string
		want        string
	}{
		{[]string{":80"}, []string{":443"}, "http-01 tls-alpn-01"},
		{[]string{":2080"}, []string{":2443"}, "http-01 tls-alpn-01"},
		{[]string{":2080"}, []string{":443"}, "tls-alpn-01 http-01"},
		{nil, []string{":443"}, "tls-alpn-01"},
		{[]string{":80"}, nil, "http-01"},
	} {
		if got := strings.Join(serverACMESettings(&config{listen: configListen{http: test.http, https: test.https}}).challenges, " "); got != test.want {
			t.Errorf("%v: %q, want %q", test, got, test.want)
		}
	}
	if got := serverACMESettings(&config{tls: configTLS{acme: []string{"A.example.org", "b.example.org", "a.example.org"}}}).names; !slices.Equal(got, []string{"a.example.org", "b.example.org"}) {
		t.Errorf("a name that stands there twice: %q", got)
	}
	began := time.Now().Truncate(time.Second)
	for days, want := range map[int]int{90: 60, 365: 335, 6: 4} {
		leaf := &x509.Certificate{NotBefore: began, NotAfter: began.AddDate(0, 0, days)}
		if got := serverACMEEnds(leaf).Sub(began); (got - time.Duration(want)*serverDay).Abs() > 2*time.Hour { // summer time
			t.Errorf("one for %d days is renewed after %v, want %d days", days, got, want)
		}
	}
	now := began
	a := serverOpenACME(t.TempDir(), serverTestClock(t, &now, t.TempDir()), logNew(io.Discard, 0))
	must(t, a.use(serverACMENeeds{names: []string{"a.example.org", "b.example.org"}, directory: "https://127.0.0.1:1/"}))
	a.failed["b.example.org"] = serverACMEFailure{again: time.Now().Add(time.Hour)}
	if got := a.missing(); !slices.Equal(got, []string{"a.example.org"}) {
		t.Errorf("missing: %v", got)
	}
	now = time.Unix(0, 0)
	if got := a.missing(); got != nil {
		t.Errorf("with a clock that is not set: %v", got)
	}
	a.end()
	a.begin() // after the end, nothing begins
	if a.running {
		t.Error("it runs after its end")
	}
}
