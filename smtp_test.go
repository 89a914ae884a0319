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
