package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testImapWire is a client at a socket that says and reads lines.
type testImapWire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// testImapListen serves a door on a loopback socket, and gives clients that are logged in as alice.
func testImapListen(t *testing.T, door *imapDoor) func() *testImapWire {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			go door.serve(newConn(nc, slog.New(slog.DiscardHandler), time.Minute))
		}
	}()
	return func() *testImapWire {
		nc, err := net.Dial("tcp", listener.Addr().String())
		must(t, err)
		t.Cleanup(func() { nc.Close() })
		c := &testImapWire{t, nc, bufio.NewReader(nc)}
		c.do("LOGIN alice secret")
		return c
	}
}

func (c *testImapWire) say(line string) {
	c.t.Helper()
	_, err := io.WriteString(c, line+"\r\n")
	must(c.t, err)
}

var testImapLiteral = regexp.MustCompile(`\{(\d+)\}$`)

// line reads a line, and the literals in it; these are left out.
func (c *testImapWire) line() string {
	c.t.Helper()
	must(c.t, c.SetReadDeadline(time.Now().Add(dialogPatience)))
	whole := ""
	for {
		line, err := c.r.ReadString('\n')
		must(c.t, err)
		line = strings.TrimSuffix(line, "\r\n")
		whole += line
		m := testImapLiteral.FindStringSubmatch(line)
		if m == nil {
			return whole
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		_, err = io.CopyN(io.Discard, c.r, n)
		must(c.t, err)
	}
}

// until reads up to a line that begins so, and gives all that was said.
func (c *testImapWire) until(begin string) (lines []string) {
	c.t.Helper()
	for {
		line := c.line()
		if lines = append(lines, line); strings.HasPrefix(line, begin) {
			return lines
		}
	}
}

// do sends a command and gives what was said; it must end with OK.
func (c *testImapWire) do(command string) []string {
	c.t.Helper()
	c.say("t " + command)
	lines := c.until("t ")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t OK") {
		c.t.Fatalf("%.80s: %s", command, last)
	}
	return lines
}

// A client that does not read holds up nobody and costs no memory for what happens meanwhile. It is told
// that it has missed something, and hears of nothing until it asks again (RFC 5465, section 5.8).
func TestImapNotifySlow(t *testing.T) {
	door := testImapDoor(t, t.TempDir())
	dial := testImapListen(t, door)
	const notify = "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge SubscriptionChange MailboxName))"
	busy, slow := dial(), dial()
	busy.do("CREATE other")
	busy.do(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", 1_000_000, strings.Repeat("0123456789abcde\r\n", 1_000_000/17)+strings.Repeat("x", 1_000_000%17)))
	slow.do("SELECT INBOX")
	slow.do(notify)

	// More than sockets hold, and nobody reads.
	const fetches = 20
	for n := range fetches {
		slow.say(fmt.Sprintf("f%d FETCH 1 BODY.PEEK[]", n))
	}
	busy.do("SUBSCRIBE other")
	tree, err := door.store.tree("alice")
	must(t, err)
	for n := range 10 * mailboxNewsMost { // as the commands of other sessions do
		tree.announce(mailboxNews{kind: mailboxSubscribed, name: fmt.Sprint("folder", n)}, nil)
	}
	busy.do("APPEND INBOX {3+}\r\nnew")

	var heard []string
	for n := range fetches {
		lines := slow.until(fmt.Sprintf("f%d ", n))
		if last := lines[len(lines)-1]; !slices.Contains(lines, "* 1 FETCH (BODY[] {1000000})") || !strings.Contains(last, " OK ") {
			t.Fatalf("FETCH %d: %.300q", n, lines)
		}
		heard = append(heard, lines...)
	}
	heard = append(heard, slow.do("NOOP")...)
	count := func(lines []string, begin string) (n int) {
		for _, line := range lines {
			if strings.HasPrefix(line, begin) {
				n++
			}
		}
		return n
	}
	if n := count(heard, "* OK [NOTIFICATIONOVERFLOW]"); n != 1 {
		t.Fatalf("NOTIFICATIONOVERFLOW was told %d times", n)
	}
	if n := count(heard, "* LIST"); n > mailboxNewsMost {
		t.Errorf("%d pieces of news were kept", n)
	}

	// From now on it is as after NOTIFY NONE.
	busy.do("UNSUBSCRIBE other")
	busy.do("APPEND other {3+}\r\nnew")
	busy.do("APPEND INBOX {5+}\r\nnewer")
	if heard := slow.do("NOOP"); len(heard) != 1 {
		t.Errorf("after the overflow it still hears %q", heard)
	}
	// Until it asks again; then it learns what it has missed.
	if heard := slow.do(notify); !slices.Contains(heard, "* 3 EXISTS") {
		t.Errorf("the next NOTIFY tells %q", heard)
	}
	busy.do("SUBSCRIBE other")
	if heard := slow.until("* LIST"); len(heard) > 2 || !strings.HasSuffix(heard[len(heard)-1], " other") {
		t.Errorf("it hears %q", heard)
	}
}

// Whatever stands behind NOTIFY, what is taken of it is bounded and makes sense.
func FuzzIMAPNotify(f *testing.F) {
	for _, seed := range []string{" (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))", " STATUS (personal (MessageNew MessageExpunge)) (subtree (a b) (MailboxName SubscriptionChange))",
		" (selected-delayed NONE)", ` (mailboxes ("a/b" {1}) (MailboxMetadataChange ServerMetadataChange)) (inboxes NONE) (subscribed (AnnotationChange))`, " (subtree-one a NONE)"} {
		f.Add(seed)
	}
	s := testImapFilterSession(f, '/', "")
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > 10_000 || strings.ContainsAny(line, "\r\n") {
			return
		}
		s.r.line, s.r.literals, s.r.broken = []byte(line), 0, nil
		n := &imapNotify{}
		if err := s.readNotifySet(n); err != nil {
			return
		}
		names := 0
		for _, g := range n.groups {
			names += len(g.filter.names)
			if g.filter.kind == imapFilterSelected || g.filter.kind == imapFilterSelectedDelayed || g.filter.kind == imapFilterSubtreeOne {
				t.Errorf("%q has a group of kind %d", line, g.filter.kind)
			}
		}
		if len(n.groups) > imapNotifyGroupsMost || names > imapNotifyNamesMost || len(n.groups) == 0 && !n.given {
			t.Errorf("%q: %d groups of %d mailboxes", line, len(n.groups), names)
		}
		for _, g := range append(n.groups, imapNotifyGroup{events: n.selected}) {
			const both = imapNotifyNew | imapNotifyExpunge
			if e := g.events; e&both != 0 && e&both != both || e&imapNotifyFlags != 0 && e&both == 0 {
				t.Errorf("%q: events %b", line, e)
			}
		}
		if n.selected&^imapNotifyMessages != 0 || n.items != nil && n.selected&imapNotifyNew == 0 || n.delayed && !n.given {
			t.Errorf("%q: %+v", line, n)
		}
		for _, folder := range []string{"INBOX", "a", "a/b"} {
			n.events(s, folder, true)
		}
	})
}
