package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
)

// serverTestClock is a clock at a time that tests change.
func serverTestClock(t *testing.T, now *time.Time, dir string) *serverClock {
	t.Helper()
	clk, err := serverOpenClock(filepath.Join(dir, "clock"), func() time.Time { return *now }, serverBuilt(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return clk
}

func serverHandshake(t *testing.T, address string, cfg *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	nc, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	state := nc.ConnectionState()
	return &state, nil
}

// A printer that knows TLS 1.0 and nothing newer gets in by the legacy listener only.
func TestServerLegacy(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	port := []string{"127.0.0.1:0"}
	c.legacy = configListen{smtp: port, submission: port, submissions: port}
	s, _ := serverTest(t, c, nil)
	for name, suites := range map[string][]uint16{
		"RSA key exchange": {tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		"triple DES":       {tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA},
		"RC4":              {tls.TLS_RSA_WITH_RC4_128_SHA},
		"ECDHE":            {tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA},
		"whatever Go has":  nil,
	} {
		old := &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: suites,
			RootCAs: serverPool(t, s), ServerName: "pi.example.org"}
		if state, err := serverHandshake(t, s.address(t, "legacy submissions"), old); err != nil || state.Version != tls.VersionTLS10 {
			t.Errorf("%s: %+v, %v", name, state, err)
		}
		for _, service := range []string{"submissions", "imaps", "pop3s"} {
			if _, err := serverHandshake(t, s.address(t, service), old); err == nil {
				t.Errorf("%s speaks TLS 1.0", service)
			}
		}
	}
	client, err := smtp.DialStartTLS(s.address(t, "legacy smtp"), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
		RootCAs: serverPool(t, s), ServerName: "pi.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SendMail("printer@example.org", []string{"alice"}, strings.NewReader("Subject: scan\r\n\r\n")); err != nil {
		t.Error(err)
	}
	if err := client.Reset(); err != nil {
		t.Error(err)
	}
	if err := client.SendMail("printer@example.org", []string{"bob@example.com"}, strings.NewReader("Subject: scan\r\n\r\n")); err == nil {
		t.Error("mail for another domain is taken")
	}
}

// The legacy listener is for the trusted networks.
func TestServerLegacyUntrusted(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.legacy.smtp, c.smtp.trustedNetworks = []string{"127.0.0.1:0"}, []string{"192.0.2.0/24"}
	s, log := serverTest(t, c, nil)
	l := serverDial(t, s.address(t, "legacy smtp"), nil)
	if line, err := l.r.ReadString('\n'); err == nil || !strings.Contains(log.String(), "not in trusted_networks") {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestServerTLS(t *testing.T) {
	s, _ := serverTest(t, nil, nil)
	cache := tls.NewLRUClientSessionCache(10)
	for version, resumed := range []bool{false, true} {
		cfg := &tls.Config{RootCAs: serverPool(t, s), ServerName: "127.0.0.1", ClientSessionCache: cache, MaxVersion: tls.VersionTLS12}
		if state, err := serverHandshake(t, s.address(t, "imaps"), cfg); err != nil || state.DidResume != resumed {
			t.Errorf("%d: %+v, %v", version, state, err)
		}
	}
	s.reloading.Lock()
	s.doors.Store(s.makeDoors(s.config))
	s.reloading.Unlock()
	cfg := &tls.Config{RootCAs: serverPool(t, s), ServerName: "127.0.0.1", ClientSessionCache: cache, MaxVersion: tls.VersionTLS12}
	if state, err := serverHandshake(t, s.address(t, "imaps"), cfg); err != nil || !state.DidResume {
		t.Errorf("after a reload: %+v, %v", state, err)
	}
}

func TestServerCA(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	needs := serverCertNeeds{hostname: "pi.example.org", given: true}
	ca, err := serverOpenCA(dir, nil, needs, now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("ca.key: %v, %v", info, err)
	}
	if !ca.cert.PermittedDNSDomainsCritical || !ca.cert.MaxPathLenZero || ca.cert.MaxPathLen != 0 || !ca.cert.IsCA ||
		ca.cert.NotAfter.Before(now.AddDate(9, 11, 0)) {
		t.Errorf("the CA is %+v", ca.cert)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for name, allowed := range map[string]bool{
		"pi.example.org": true, "imap.pi.example.org": true, "pi.local": true, "nas.lan": true, "nas.home.arpa": true, "localhost": true,
		"192.168.1.7": true, "10.1.2.3": true, "127.0.0.1": true, "fd00::1": true, "::1": true,
		"example.org": false, "google.com": false, "xlocal": false, "8.8.8.8": false, "2001:db8::1": false, "172.32.0.1": false,
	} {
		leaf, err := ca.leaf(t.TempDir(), "x", nil, []string{name}, serverKeyEC, now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name})
		if (err == nil) != allowed || allowed != serverPermits(ca.cert, name) {
			t.Errorf("%s: %v, permitted %v", name, err, serverPermits(ca.cert, name))
		}
		if life := leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore); life > 398*serverDay {
			t.Errorf("it lives for %v", life)
		}
	}
	if again, err := serverOpenCA(dir, nil, needs, now.AddDate(5, 0, 0), slog.New(slog.DiscardHandler)); err != nil || !again.cert.Equal(ca.cert) {
		t.Errorf("after five years: %v", err)
	}
	needs.given, needs.hostname = false, "other"
	if again, err := serverOpenCA(dir, nil, needs, now, slog.New(slog.DiscardHandler)); err != nil || !again.cert.Equal(ca.cert) {
		t.Errorf("another name that nobody chose: %v", err)
	}
	needs.given, needs.hostname = true, "mail.example.net"
	other, err := serverOpenCA(dir, ca, needs, now, slog.New(slog.DiscardHandler))
	if err != nil || other.cert.Equal(ca.cert) || !serverPermits(other.cert, "mail.example.net") {
		t.Errorf("another name: %v", err)
	}
	if last, err := serverOpenCA(dir, nil, needs, now.AddDate(9, 0, 0), slog.New(slog.DiscardHandler)); err != nil || last.cert.Equal(other.cert) {
		t.Errorf("before its end: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := serverOpenCA(dir, nil, needs, now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "hint: put the files back") {
		t.Errorf("a broken key: %v", err)
	}
}

// The server's certificate is made anew in time, and when the box has a new name.
func TestServerLeaf(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	log := slog.New(slog.DiscardHandler)
	ca, err := serverOpenCA(dir, nil, serverCertNeeds{hostname: "pi"}, now, log)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(old *tls.Certificate, now time.Time, names ...string) *tls.Certificate {
		t.Helper()
		leaf, err := ca.leaf(dir, "server", old, names, serverKeyEC, now, log)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	if leaf(nil, time.Time{}, "pi") != nil {
		t.Error("made while the clock is not believed")
	}
	first := leaf(nil, now, "pi", "192.168.1.7")
	steps := []struct {
		what string
		now  time.Time
		name []string
		same bool
	}{
		{"a year on", now.AddDate(0, 11, 0), []string{"pi"}, true},
		{"the clock is not believed", time.Time{}, []string{"pi", "other.local"}, true},
		{"an address went", now, []string{"pi"}, true},
		{"a new address", now, []string{"pi", "192.168.1.8"}, false},
		{"a new name", now, []string{"pi", "nas.local"}, false},
		{"near its end", now.AddDate(0, 12, 0), []string{"pi"}, false},
		{"the clock was ahead when it was made", now.AddDate(0, -1, 0), []string{"pi"}, false},
	}
	for _, step := range steps {
		if got := leaf(first, step.now, step.name...); got.Leaf.Equal(first.Leaf) != step.same {
			t.Errorf("%s: same is %v", step.what, !step.same)
		}
	}
	if again := leaf(nil, now.AddDate(0, -1, 0), "pi"); again.Leaf.Equal(first.Leaf) {
		t.Error("the file was not replaced")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := serverWriteCert(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), key, ca.cert.Raw); err != nil {
		t.Fatal(err)
	}
	if got := leaf(nil, now, "pi"); got.Leaf.IsCA {
		t.Error("a certificate that is not its key's is used")
	}
}

func TestServerCertNames(t *testing.T) {
	ca := &x509.Certificate{PermittedDNSDomains: append([]string{"pi"}, serverCADomains...)}
	for _, prefix := range serverCANetworks {
		_, network, err := net.ParseCIDR(prefix.String())
		if err != nil {
			t.Fatal(err)
		}
		ca.PermittedIPRanges = append(ca.PermittedIPRanges, network)
	}
	names := serverCertNames("pi", ca)
	for _, want := range []string{"pi", "pi.local", "localhost", "127.0.0.1", "::1"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %v", want, names)
		}
	}
	if names[0] != "pi" {
		t.Errorf("got %v", names)
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil && !addr.IsPrivate() && !addr.IsLoopback() {
			t.Errorf("%s is no address of a home", name)
		}
	}
}

// Certificate files are taken when they have changed, and the old ones stay while the
// new ones cannot be used.
func TestServerCertFiles(t *testing.T) {
	dir := t.TempDir()
	c := serverTestConfig(dir)
	c.tls = configTLS{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	write := func(name string) {
		caDir := t.TempDir()
		ca, err := serverOpenCA(caDir, nil, serverCertNeeds{hostname: name}, time.Now(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ca.leaf(caDir, "x", nil, []string{name}, serverKeyEC, time.Now(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{"x.pem": c.tls.cert, "x.key": c.tls.key} {
			b, err := os.ReadFile(filepath.Join(caDir, from))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("one.example.org")
	s, log := serverTest(t, c, nil)
	shown := func() string {
		t.Helper()
		state, err := serverHandshake(t, s.address(t, "imaps"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].DNSNames[0]
	}
	look := func() {
		s.certs.mu.Lock()
		defer s.certs.mu.Unlock()
		s.certs.looked = time.Time{}
	}
	if got := shown(); got != "one.example.org" {
		t.Errorf("shows %s", got)
	}
	if err := os.WriteFile(c.tls.key, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	if got := shown(); got != "one.example.org" || !strings.Contains(log.String(), "no new certificate") {
		t.Errorf("shows %s", got)
	}
	write("two.example.org")
	look()
	if got := shown(); got != "two.example.org" {
		t.Errorf("shows %s", got)
	}
	if _, err := os.Stat(filepath.Join(c.storage.path, serverDirectory, "ca.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a CA was made that nobody needs: %v", err)
	}
}

// A box that starts in 1970 takes mail, and makes its certificate when the clock is set.
func TestServerClock1970(t *testing.T) {
	var now atomic.Int64
	now.Store(100)
	c := serverTestConfig(t.TempDir())
	s, log := serverTest(t, c, func(settings *serverSettings) {
		settings.clock = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	if _, err := serverHandshake(t, s.address(t, "imaps"), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("there is a certificate")
	}
	starttls := func() bool {
		t.Helper()
		client, err := smtp.Dial(s.address(t, "smtp"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		offered, _ := client.Extension("STARTTLS")
		if err := client.SendMail("a@b.example", []string{"alice"}, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
			t.Error(err)
		}
		return offered
	}
	if starttls() {
		t.Error("STARTTLS is offered")
	}
	if said := log.String(); !strings.Contains(said, "the clock is not believed") || s.untilTick() != serverUnsetClock {
		t.Errorf("the log says\n%s", said)
	}
	if files, err := os.ReadDir(filepath.Join(c.storage.path, serverDirectory)); err != nil || len(files) != 2 || files[0].Name() != "secret" || files[1].Name() != serverStatusFile {
		t.Errorf("made %v, %v", files, err)
	}

	now.Store(time.Now().Unix())
	s.certs.mu.Lock()
	s.certs.failed = time.Time{}
	s.certs.mu.Unlock()
	s.refresh()
	if _, err := serverHandshake(t, s.address(t, "imaps"), &tls.Config{RootCAs: serverPool(t, s), ServerName: "localhost"}); err != nil {
		t.Error(err)
	}
	if !starttls() || s.untilTick() != serverHourly {
		t.Error("STARTTLS is not offered")
	}
}

func TestServerClock(t *testing.T) {
	built := serverBuilt()
	for _, test := range []struct {
		what     string
		now      time.Time
		newest   string
		believed bool
	}{
		{"no battery", time.Unix(0, 0), "", false},
		{"before the program was made", built.Add(-time.Hour), "", false},
		{"first start", built.Add(time.Hour), "", true},
		{"later", built.Add(1000 * time.Hour), built.Add(900 * time.Hour).Format(time.RFC3339), true},
		{"as at the last shutdown", built.Add(900 * time.Hour), built.Add(900 * time.Hour).Format(time.RFC3339), true},
		{"older than what was seen", built.Add(800 * time.Hour), built.Add(900 * time.Hour).Format(time.RFC3339), false},
		{"a torn file", built.Add(800 * time.Hour), "20", true},
	} {
		dir := t.TempDir()
		if test.newest != "" {
			if err := os.WriteFile(filepath.Join(dir, "clock"), []byte(test.newest+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := serverTestClock(t, &test.now, dir).now(); got.IsZero() == test.believed {
			t.Errorf("%s: %v", test.what, got)
		}
	}
}

// Jumps: a time that was ahead and is put right is not remembered; one that was
// remembered all the same is given up after a day.
func TestServerClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ahead := time.Duration(0)
		base := time.Until(serverBuilt().Add(1000 * time.Hour))
		open := func() *serverClock {
			clk, err := serverOpenClock(filepath.Join(dir, "clock"), func() time.Time { return time.Now().Add(base + ahead) }, serverBuilt(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return clk
		}
		clk := open()
		right := clk.now()
		if right.IsZero() {
			t.Fatal("not believed")
		}
		ahead = 10 * 365 * 24 * time.Hour
		clk.note()
		ahead = 0
		if clk = open(); clk.now().IsZero() {
			t.Error("a moment ahead is remembered")
		}
		ahead = 10 * 365 * 24 * time.Hour
		clk.note()
		time.Sleep(2 * time.Hour)
		clk.note() // it has been steady: remembered
		ahead = 0
		if clk = open(); !clk.now().IsZero() {
			t.Error("ten years back is believed at once")
		}
		time.Sleep(25 * time.Hour)
		if clk.now().IsZero() {
			t.Error("it is not believed after a day")
		}
		clk.note()
		if clk = open(); clk.now().IsZero() {
			t.Error("nor at the next start")
		}
		ahead = -40 * 365 * 24 * time.Hour
		if !clk.now().IsZero() {
			t.Error("40 years back is believed")
		}
		time.Sleep(48 * time.Hour)
		if !clk.now().IsZero() {
			t.Error("40 years back is believed after two days")
		}
	})
}

// A reload whose certificate cannot be written leaves all as it was.
func TestServerCertReload(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	certs := serverOpenCerts(dir, serverTestClock(t, &now, dir), slog.New(slog.DiscardHandler))
	defer certs.acme.end()
	must(t, certs.use(serverCertNeeds{hostname: "pi.local", given: true}))
	fault := func(step, path string) error {
		if step == "write" && strings.HasPrefix(path, dir) {
			return syscall.ENOSPC
		}
		return nil
	}
	fileFault.Store(&fault)
	err := certs.use(serverCertNeeds{hostname: "nas.local", given: true, acme: serverACMENeeds{names: []string{"nas.example.org"}}})
	fileFault.Store(nil)
	if !errors.Is(err, syscall.ENOSPC) || certs.settings.hostname != "pi.local" || len(certs.acme.needs.names) != 0 {
		t.Errorf("%v, it is %+v", err, certs.settings)
	}
}
