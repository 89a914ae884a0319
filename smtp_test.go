package main

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The SMTP and LMTP doors of dialogs. The box is pi.lan with the domain example.org;
// its users are alice, bob and carol. Settings for "! with": kind ("submission"), from (the client's
// address; 192.168.0.0/16 is trusted), public, plaintext, tls ("no": not offered),
// max_message_size, max_recipients, catch_all (an address).
func serveSmtp(t *testing.T, dir string, c net.Conn) { serveSmtpKind(t, dir, c, smtpReception) }
func serveLmtp(t *testing.T, dir string, c net.Conn) { serveSmtpKind(t, dir, c, smtpLMTP) }

func serveSmtpKind(t *testing.T, dir string, c net.Conn, kind smtpKind) {
	d := dialogShared(t, dir, func() *smtpDoor {
		d := testSmtpDoor(t, dir, map[string][]string{
			"family":           {"alice", "Bob@example.org"},
			"printer":          {"alice+printer"},
			"info@example.org": {"bob"},
			"round":            {"about"},
			"about":            {"round"},
			"carol":            {"carol", "alice+copies"},
		}, dialogWith(dir, "catch_all"))
		testQuota(t, d.deliverer.store, dialogWith(dir, "quota"))
		testAuthClients(t, d.auth, dialogWith(dir, "client_ca"))
		testAuthTokens(t, d.auth, dialogWith(dir, "oauth"))
		d.kind = kind
		if dialogWith(dir, "kind") == "submission" {
			d.kind = smtpSubmission
		}
		d.public = dialogWith(dir, "public") != ""
		if p := dialogWith(dir, "plaintext"); p != "" {
			d.plaintext = authPlaintext(p)
		}
		if dialogWith(dir, "tls") == "no" {
			d.tls = nil
		}
		if n, err := strconv.ParseInt(dialogWith(dir, "max_message_size"), 10, 64); err == nil {
			d.maxMessageSize = n
		}
		if n, err := strconv.Atoi(dialogWith(dir, "max_recipients")); err == nil {
			d.maxRecipients = n
		}
		return d
	})
	if from := dialogWith(dir, "from"); from != "" {
		c = smtpFrom{c, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 25000))}
	}
	d.serve(newConn(c, slog.New(slog.DiscardHandler), time.Minute))
}

// smtpFrom is a connection from somewhere.
type smtpFrom struct {
	net.Conn
	addr net.Addr
}

func (c smtpFrom) RemoteAddr() net.Addr { return c.addr }

func testSmtpDoor(t testing.TB, root string, aliases map[string][]string, catchAll string) *smtpDoor {
	t.Helper()
	if catchAll != "" {
		aliases["*"] = []string{catchAll}
	}
	a := testAuth(t, "alice", "bob", "carol")
	return &smtpDoor{
		deliverer: testDeliverer(t, root, aliases, a),
		auth:      a,
		hostname:  "pi.lan",
		tls:       dialogTLS(),
		plaintext: authPlaintextLoopback,
		trusted:   []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")},

		maxMessageSize: 1 << 20,
		maxRecipients:  100,
		now:            time.Now,
	}
}

func TestSmtpDialogs(t *testing.T) { runDialogs(t, "smtp", serveSmtp) }
func TestLmtpDialogs(t *testing.T) { runDialogs(t, "lmtp", serveLmtp) }

// smtpDotWhole is the rule in its plainest form.
func smtpDotWhole(in string) (text string, used int, done bool) {
	for pos := 0; ; {
		if strings.HasPrefix(in[pos:], ".\r\n") {
			return text, pos + 3, true
		}
		line := strings.TrimPrefix(in[pos:], ".")
		end := strings.Index(line, "\r\n")
		if end < 0 {
			return text + line, len(in), false
		}
		text += line[:end+2]
		pos = len(in) - len(line) + end + 2
	}
}

func smtpDotChunks(t testing.TB, in string, chunk int) (text string, used int, done bool) {
	var dot smtpDot
	for used < len(in) && !done {
		p := []byte(in[used:min(used+chunk, len(in))])
		for len(p) > 0 && !done {
			out, n, end := dot.next(p)
			text += string(out)
			p, used, done = p[n:], used+n, end
		}
	}
	return text, used, done
}

func TestSmtpDot(t *testing.T) {
	for _, test := range []struct{ in, text, rest string }{ // rest "-": no end
		{".\r\n", "", ""},
		{".\r\nQUIT\r\n", "", "QUIT\r\n"},
		{"a\r\n.\r\n", "a\r\n", ""},
		{"..\r\n.\r\n", ".\r\n", ""},
		{".a\r\n.\r\n", "a\r\n", ""},
		{"\n.\n\r\n.\r\n", "\n.\n\r\n", ""},
		{"\r.\r\r\n.\r\n", "\r.\r\r\n", ""},
		{"a\n.\r\n\r\n.\r\n", "a\n.\r\n\r\n", ""},
		{"a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""},
		{"a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", ""},
		{"a\r\r\n.\r\n", "a\r\r\n", ""},
		{".\r\r\n.\r\n", "\r\r\n", ""},
		{".\r.\r\n.\r\n", "\r.\r\n", ""},
		{"\r\n.\r\r\n.\r\n", "\r\n\r\r\n", ""},
		{"a.\r\n", "a.\r\n", "-"},
		{"a\n.\r\n", "a\n.\r\n", "-"},
		{"a\r\n.\n", "a\r\n\n", "-"},
		{"a\r\n.", "a\r\n", "-"},
	} {
		for chunk := 1; chunk <= len(test.in); chunk++ {
			text, used, done := smtpDotChunks(t, test.in, chunk)
			if rest := test.in[used:]; done != (test.rest != "-") || text != test.text || done && rest != test.rest {
				t.Errorf("%q by %d: %q, rest %q, done %v", test.in, chunk, text, rest, done)
			}
		}
	}
}

func FuzzSMTPDot(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nQUIT\r\n", "..\r\n.\rX\r\r\n.\r\n", "\n.\n", "\r\n.\r\r\n.\n\r\n.\r\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, in string, chunk int) {
		text, used, done := smtpDotChunks(t, in, max(chunk, 1))
		wantText, wantUsed, wantDone := smtpDotWhole(in)
		// What is held back at the end of the input is no text yet.
		if done != wantDone || used != wantUsed || done && text != wantText || !done && !strings.HasPrefix(wantText, text) {
			t.Fatalf("%q by %d: %q, used %d, %v; want %q, %d, %v", in, chunk, text, used, done, wantText, wantUsed, wantDone)
		}
	})
}

// Whatever a client says, the session answers or ends, and nothing breaks.
func FuzzSMTPCommand(f *testing.F) {
	for _, s := range []string{
		"EHLO pc\r\nMAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<alice>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO pc\r\nMAIL FROM:<>\r\nRCPT TO:<alice+x>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\nRSET\r\n",
		"EHLO pc\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nVRFY x\r\nHELP\r\nNOOP\r\n",
		"EHLO pc\r\nAUTH LOGIN\r\n*\r\nSTARTTLS\r\n",
		"LHLO pc\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<\"a b\"@example.org>\r\nDATA\r\n.\r\n",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	root := f.TempDir()
	door := testSmtpDoor(f, root, map[string][]string{"*": {"bob"}}, "")
	door.tls = nil
	lmtp := *door
	lmtp.kind = smtpLMTP
	f.Fuzz(func(t *testing.T, in string, isLMTP bool) {
		if strings.Contains(strings.ToUpper(in), "AUTH") && !strings.Contains(in, "c2VjcmV0") && !strings.Contains(in, "AGFsaWNlAHNlY3JldA==") {
			t.Skip("wrong passwords take their time")
		}
		script := &smtpScript{in: strings.NewReader(in)}
		d := door
		if isLMTP {
			d = &lmtp
		}
		d.serve(newConn(script, slog.New(slog.DiscardHandler), time.Minute))
		for line := range strings.Lines(script.out.String()) {
			if len(line) < 6 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || !strings.HasSuffix(line, "\r\n") {
				t.Fatalf("%q was answered by %q", in, line)
			}
		}
	})
}

// smtpScript is a client that has said everything at once.
type smtpScript struct {
	in  *strings.Reader
	out strings.Builder
}

func (c *smtpScript) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *smtpScript) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *smtpScript) Close() error                     { return nil }
func (c *smtpScript) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c *smtpScript) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *smtpScript) SetDeadline(time.Time) error      { return nil }
func (c *smtpScript) SetReadDeadline(time.Time) error  { return nil }
func (c *smtpScript) SetWriteDeadline(time.Time) error { return nil }
