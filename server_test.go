package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// serverLog is a log that tests read.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serverTestConfig is a configuration with every service on a port of its own.
func serverTestConfig(dir string) *config {
	c := configDefault()
	c.name, c.hostname, c.given = "test", "pi.example.org", true
	port := []string{"127.0.0.1:0"}
	c.listen = configListen{smtp: port, submission: port, submissions: port, lmtp: port, pop3: port, pop3s: port, imap: port, imaps: port, http: port, https: port}
	c.storage = configStorage{path: filepath.Join(dir, "mail"), users: filepath.Join(dir, "users")}
	return c
}

// serverTest starts a server with the user alice, password "secret".
func serverTest(t *testing.T, c *config, change func(*serverSettings)) (*server, *serverLog) {
	t.Helper()
	needLoopback(t)
	if c == nil {
		c = serverTestConfig(t.TempDir())
	}
	if err := authAdd(c.storage.users, "alice", "secret"); err != nil && !errors.Is(err, errAuthExists) {
		t.Fatal(err)
	}
	log := &serverLog{}
	settings := serverSettings{config: c, log: logNew(log, slog.LevelDebug), version: "test",
		load:    func() (*config, error) { return c, nil },
		welcome: func(string) (bool, error) { return false, nil }}
	if change != nil {
		change(&settings)
	}
	s, err := serverStart(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.shutdown(context.Background()) })
	return s, log
}

// address is where a service listens.
func (s *server) address(t *testing.T, service string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.service.name == service {
			return l.Addr().String()
		}
	}
	t.Fatalf("nothing listens for %s", service)
	return ""
}

// serverPool trusts a server's CA.
func serverPool(t *testing.T, s *server) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(s.config.storage.path, serverDirectory, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no CA in ca.pem")
	}
	return pool
}

// serverLines speaks in lines: each line of want answers one of said; the first is
// the greeting's.
type serverLines struct {
	net.Conn
	r *bufio.Reader
}

func serverDial(t *testing.T, address string, cfg *tls.Config) *serverLines {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		nc = tls.Client(nc, cfg)
	}
	return &serverLines{nc, bufio.NewReader(nc)}
}

// ask sends a line, if there is one, and wants an answer that begins with want, after
// any lines that do not.
func (l *serverLines) ask(t *testing.T, line, want string) string {
	t.Helper()
	if line != "" {
		if _, err := io.WriteString(l, line+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for {
		got, err := l.r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v, want %q", line, err, want)
		}
		if strings.HasPrefix(got, want) {
			return strings.TrimRight(got, "\r\n")
		}
		if strings.HasPrefix(got, "-ERR") || strings.HasPrefix(got, "5") || strings.HasPrefix(got, "4") {
			t.Fatalf("after %q: %q, want %q", line, got, want)
		}
	}
}

func TestServerRoundTrip(t *testing.T) {
	s, log := serverTest(t, nil, nil)
	pool := serverPool(t, s)
	for _, service := range []string{"smtp", "lmtp"} {
		dial := func() (*smtp.Client, error) { return smtp.Dial(s.address(t, service)) }
		if service == "lmtp" {
			dial = func() (*smtp.Client, error) {
				nc, err := net.Dial("tcp", s.address(t, service))
				return smtp.NewClientLMTP(nc), err
			}
		}
		client, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SendMail("printer@example.org", []string{"alice@pi.example.org"}, strings.NewReader("Subject: by "+service+"\r\n\r\nhello\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := client.Quit(); err != nil {
			t.Error(err)
		}
	}

	pop := serverDial(t, s.address(t, "pop3s"), &tls.Config{RootCAs: pool, ServerName: "pi.example.org"})
	pop.ask(t, "", "+OK")
	pop.ask(t, "USER alice", "+OK")
	pop.ask(t, "PASS secret", "+OK")
	pop.ask(t, "STAT", "+OK 2 ")
	pop.ask(t, "QUIT", "+OK")

	client, err := imapclient.DialTLS(s.address(t, "imaps"), &imapclient.Options{TLSConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login("alice", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if inbox, err := client.Select("INBOX", nil).Wait(); err != nil || inbox.NumMessages != 2 {
		t.Fatalf("%+v, %v", inbox, err)
	}
	got, err := client.Fetch(imap.SeqSetNum(2), &imap.FetchOptions{Envelope: true, UID: true, Flags: true}).Collect()
	if err != nil || len(got) != 1 || got[0].Envelope.Subject != "by lmtp" {
		t.Errorf("%+v, %v", got, err)
	}
	idle, err := client.Idle()
	if err != nil {
		t.Fatal(err)
	}

	if cut := s.shutdown(context.Background()); cut != 0 {
		t.Errorf("%d sessions had to be cut", cut)
	}
	if err := idle.Wait(); err == nil {
		t.Error("IDLE goes on")
	}
	if said := log.String(); strings.Contains(said, "secret") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the log says:\n%s", said)
	}
}

// A message whose DATA has begun when the server is told to stop is taken to its end.
func TestServerShutdownInData(t *testing.T) {
	s, _ := serverTest(t, nil, nil)
	c := serverDial(t, s.address(t, "smtp"), nil)
	c.ask(t, "", "220")
	c.ask(t, "EHLO printer", "250 ")
	c.ask(t, "MAIL FROM:<printer@example.org>", "250")
	c.ask(t, "RCPT TO:<alice>", "250")
	c.ask(t, "DATA", "354")
	address := s.address(t, "imap")
	done := make(chan int)
	go func() { done <- s.shutdown(context.Background()) }()
	for { // until it has begun
		nc, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		nc.Close()
	}
	c.ask(t, "Subject: late\r\n\r\nhello\r\n.", "250")
	c.ask(t, "NOOP", "421") // RFC 5321, section 3.8
	if cut := <-done; cut != 0 {
		t.Errorf("%d sessions had to be cut", cut)
	}
	files, err := filepath.Glob(filepath.Join(s.config.storage.path, "alice/new/*"))
	if err != nil || len(files) != 1 {
		t.Errorf("there are %d messages, %v", len(files), err)
	}
}

// Sessions that do not end are cut, and what they had begun is not delivered.
func TestServerShutdownCuts(t *testing.T) {
	s, _ := serverTest(t, nil, nil)
	c := serverDial(t, s.address(t, "smtp"), nil)
	c.ask(t, "", "220")
	c.ask(t, "EHLO printer", "250 ")
	c.ask(t, "MAIL FROM:<printer@example.org>", "250")
	c.ask(t, "RCPT TO:<alice>", "250")
	c.ask(t, "DATA", "354")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if cut := s.shutdown(ctx); cut != 1 {
		t.Errorf("%d sessions were cut", cut)
	}
	for _, dir := range []string{"new", "cur", "tmp"} {
		if files, _ := filepath.Glob(filepath.Join(s.config.storage.path, "alice", dir, "*")); len(files) > 0 {
			t.Errorf("left %v", files)
		}
	}
}

func TestServerLimits(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.limits.connectionsPerAddress = 2
	s, log := serverTest(t, c, nil)
	first := serverDial(t, s.address(t, "imap"), nil)
	first.ask(t, "", "* OK")
	serverDial(t, s.address(t, "pop3"), nil).ask(t, "", "+OK")
	for service, refusal := range map[string]string{"smtp": "421 4.3.2 ", "pop3": "-ERR [SYS/TEMP] ", "imap": "* BYE [UNAVAILABLE] "} {
		l := serverDial(t, s.address(t, service), nil)
		l.ask(t, "", refusal)
		if rest, err := io.ReadAll(l.r); err != nil || len(rest) > 0 {
			t.Errorf("%s goes on with %q, %v", service, rest, err)
		}
	}
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	first.ask(t, "a logout", "a OK")
	if _, err := io.ReadAll(first.r); err != nil {
		t.Fatal(err)
	}
	for { // until the place is free
		l := serverDial(t, s.address(t, "imap"), nil)
		if greeting, err := l.r.ReadString('\n'); err == nil && strings.HasPrefix(greeting, "* OK") {
			break
		}
	}
}

func TestServerPortsTaken(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	c.listen.smtp, c.listen.pop3 = []string{address}, []string{address}
	_, err = serverStart(serverSettings{config: c, log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("it starts")
	}
	owner := "another program"
	if _, statErr := os.Stat("/proc/net/tcp"); statErr == nil {
		owner = fmt.Sprintf("%s (pid %d)", strings.TrimSpace(serverComm(t)), os.Getpid())
	}
	for _, want := range []string{
		"smtp cannot listen on " + address + ": the port is taken by " + owner + "\nhint: stop that program",
		"pop3 cannot listen on " + address + ": the port is taken by " + owner,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q but:\n%v", want, err)
		}
	}
}

func serverComm(t *testing.T) string {
	b, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServerListening(t *testing.T) {
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:09DD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n" +
		"   1: 0100007F:09DD 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n" +
		"   2: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\nrest\n"
	if got := serverListening(table, "2525"); len(got) != 1 || !got["4711"] {
		t.Errorf("got %v", got)
	}
}

func TestServerUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "lb") // t.TempDir() may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "lmtp")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // as after a power cut
	left.Close()
	c := serverTestConfig(t.TempDir())
	c.listen.lmtp = []string{"unix:" + path}
	s, _ := serverTest(t, c, nil)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client := smtp.NewClientLMTP(nc)
	if err := client.SendMail("", []string{"alice"}, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		t.Error(err)
	}
	client.Close()
	_, err = serverListen("unix:" + path)
	if err == nil {
		t.Error("a living server's socket is taken away")
	}
	if _, statErr := os.Stat("/proc/net/unix"); statErr == nil {
		want := fmt.Sprintf("lmtp cannot listen on unix:%s: the path is taken by %s (pid %d)", path, strings.TrimSpace(serverComm(t)), os.Getpid())
		if err := serverListenError("lmtp", "unix:"+path, err); !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, not %s", err, want)
		}
	}
	s.shutdown(context.Background())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestServerReload(t *testing.T) {
	dir := t.TempDir()
	c := serverTestConfig(dir)
	next, loadErr := *c, error(nil)
	s, log := serverTest(t, c, func(settings *serverSettings) {
		settings.load = func() (*config, error) { c := next; return &c, loadErr }
	})
	smtpAddress, imapAddress := s.address(t, "smtp"), s.address(t, "imap")
	old := serverDial(t, s.address(t, "pop3"), nil)
	old.ask(t, "", "+OK")

	loadErr = &configError{"test", []configFinding{{4, "unknown key", ""}}}
	if err := s.reload(); err == nil || err.Error() != "test:4: unknown key" {
		t.Errorf("got %v", err)
	}
	loadErr = nil
	next.tls = configTLS{cert: filepath.Join(dir, "none.pem"), key: filepath.Join(dir, "none.key")}
	if err := s.reload(); err == nil || !strings.Contains(err.Error(), "\nhint: [tls] cert") {
		t.Errorf("got %v", err)
	}
	next.tls = configTLS{}
	next.listen.smtp = nil
	next.listen.imap = []string{"127.0.0.1:0", "localhost:0"}
	next.domains = []string{"example.net"}
	next.storage.path = filepath.Join(dir, "elsewhere")
	if err := s.reload(); err != nil {
		t.Fatal(err)
	}
	if nc, err := net.Dial("tcp", smtpAddress); err == nil {
		nc.Close()
		t.Error("smtp is still open")
	}
	serverDial(t, imapAddress, nil).ask(t, "", "* OK")
	old.ask(t, "NOOP", "-ERR") // not logged in, but alive
	lmtp := serverDial(t, s.address(t, "lmtp"), nil)
	lmtp.ask(t, "", "220")
	lmtp.ask(t, "LHLO x", "250 ")
	lmtp.ask(t, "MAIL FROM:<>", "250")
	lmtp.ask(t, "RCPT TO:<alice@example.net>", "250")
	if said := log.String(); !strings.Contains(said, "needs a restart") || s.config.storage.path != filepath.Join(dir, "mail") {
		t.Errorf("storage is %s, and the log says\n%s", s.config.storage.path, said)
	}
}

// What is withheld changes with a reload, for sessions that begin afterwards.
func TestServerReloadWithout(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	next := *c
	s, _ := serverTest(t, c, func(settings *serverSettings) {
		settings.load = func() (*config, error) { c := next; return &c, nil }
	})
	old := serverDial(t, s.address(t, "imap"), nil)
	old.ask(t, "", "* OK")
	next.imap.without = []string{"id", "AUTH=PLAIN"}
	must(t, s.reload())
	if line := old.ask(t, "a CAPABILITY", "* CAPABILITY"); !strings.Contains(line, " ID ") || !strings.Contains(line, " AUTH=PLAIN") {
		t.Errorf("a session that had begun: %s", line)
	}
	fresh := serverDial(t, s.address(t, "imap"), nil)
	if greeting := fresh.ask(t, "", "* OK"); strings.Contains(greeting, " ID ") || strings.Contains(greeting, "AUTH=PLAIN") || !strings.Contains(greeting, "AUTH=LOGIN") {
		t.Errorf("after the reload: %s", greeting)
	}
	next.imap.without = nil
	must(t, s.reload())
	again := serverDial(t, s.address(t, "imap"), nil)
	if greeting := again.ask(t, "", "* OK"); !strings.Contains(greeting, " ID ") || !strings.Contains(greeting, "AUTH=PLAIN") {
		t.Errorf("after another: %s", greeting)
	}
}

func TestServerFirstUser(t *testing.T) {
	needLoopback(t)
	for hostname, host := range map[string]string{"pi.example.org": "pi.example.org", "pi": "pi.local"} {
		seen := hostname == host
		c := serverTestConfig(t.TempDir())
		c.hostname = hostname
		t.Setenv("SUDO_USER", "Carol")
		var shown string
		s, err := serverStart(serverSettings{config: c, log: slog.New(slog.DiscardHandler),
			welcome: func(text string) (bool, error) { shown = text; return seen, nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.shutdown(context.Background())
		file := filepath.Join(filepath.Dir(c.storage.users), "first-login.txt")
		info, err := os.Stat(file)
		if seen != errors.Is(err, os.ErrNotExist) || !seen && info.Mode() != 0o600 {
			t.Errorf("shown %v, file %v, %v", seen, info, err)
		}
		var password string
		for line := range strings.Lines(shown) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "password"); ok {
				password = strings.TrimSpace(rest)
			}
		}
		pop := serverDial(t, s.address(t, "pop3"), nil)
		pop.ask(t, "", "+OK")
		pop.ask(t, "USER carol", "+OK")
		pop.ask(t, "PASS "+password, "+OK")
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after the first login: %v", err)
		}
		for _, want := range []string{"carol@" + host + "\n", " " + host + ", port 0, SSL/TLS", "ca.pem", serverFingerprint(s.certs.own.cert)} {
			if !strings.Contains(shown, want) {
				t.Errorf("%q is not in:\n%s", want, shown)
			}
		}
	}
}

func TestServerFirstName(t *testing.T) {
	t.Setenv("SUDO_USER", "root")
	if name := serverFirstName(); os.Getuid() == 0 && name != "admin" {
		t.Errorf("got %q", name)
	}
	t.Setenv("SUDO_USER", "../x")
	if name := serverFirstName(); strings.Contains(name, "x") && os.Getuid() == 0 {
		t.Errorf("got %q", name)
	}
}

// A session's fault ends no other session.
func TestServerPanic(t *testing.T) {
	s, log := serverTest(t, nil, nil)
	here, there := net.Pipe()
	defer there.Close()
	session := &serverSession{raw: here, conn: newConn(here, s.log, time.Minute)}
	s.serve(session, serverFault{}, s.log)
	if !strings.Contains(log.String(), "the fault") {
		t.Error(log)
	}
	serverDial(t, s.address(t, "imap"), nil).ask(t, "", "* OK")
}

type serverFault struct{}

func (serverFault) serve(*conn) { panic("the fault") }

func TestServerReadOnly(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	file := filepath.Join(filepath.Dir(c.storage.users), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.storage.path = filepath.Join(file, "mail")
	if _, err := serverStart(serverSettings{config: c, log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "hint: a part of the path is a file") {
		t.Errorf("got %v", err)
	}
	if os.Getuid() == 0 {
		return // nothing is forbidden
	}
	c.storage.path = filepath.Join(t.TempDir(), "locked", "mail")
	if err := os.Mkdir(filepath.Dir(c.storage.path), 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := serverStart(serverSettings{config: c, log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "may not write there") {
		t.Errorf("got %v", err)
	}
}
