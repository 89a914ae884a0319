package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// servePop is the POP3 door of dialogs. Settings for "! with": uidl, on_delete, choice (alice's own),
// lock, plaintext, expire ("14", or "14 30": what CAPA says before and after the login), stls ("no": not offered), domain (always example.org).
func servePop(t *testing.T, dir string, c net.Conn) {
	d := dialogShared(t, dir, func() *popDoor {
		d := testPopDoor(t, dir)
		testQuota(t, d.store, dialogWith(dir, "quota"))
		testAuthClients(t, d.auth, dialogWith(dir, "client_ca"))
		testAuthTokens(t, d.auth, dialogWith(dir, "oauth"))
		d.uidl, d.onDelete = cmp.Or(dialogWith(dir, "uidl"), "dovecot"), cmp.Or(dialogWith(dir, "on_delete"), "hide")
		must(t, d.auth.chooseOnDelete("alice", dialogWith(dir, "choice")))
		if days := dialogWith(dir, "expire"); days != "" {
			d.expire, d.expires = 14*24*time.Hour, testPopExpires(t, days)
		}
		if dialogWith(dir, "lock") != "" {
			d.lock = newPopLocks()
		}
		if p := dialogWith(dir, "plaintext"); p != "" {
			d.plaintext = authPlaintext(p)
		}
		if dialogWith(dir, "stls") == "no" {
			d.tls = (*tls.Config)(nil)
		}
		return d
	})
	d.serve(newConn(c, slog.New(slog.DiscardHandler), popTimeout))
}

func testPopDoor(t testing.TB, root string) *popDoor {
	t.Helper()
	store, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	return &popDoor{auth: testAuth(t, "alice", "bob"), store: store, hostname: "mail.example.org",
		tls: dialogTLS(), plaintext: authPlaintextLoopback, uidl: "dovecot", onDelete: "hide"}
}

// testPopMail lays out messages in alice's new/.
func testPopMail(t testing.TB, root string, messages ...string) {
	t.Helper()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, "alice", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range messages {
		name := fmt.Sprintf("17%08d.M%dP1.h,S=%d", i, i, len(text))
		name += fmt.Sprintf(",W=%d", len(text)+strings.Count(text, "\n")-strings.Count(text, "\r\n"))
		if err := os.WriteFile(filepath.Join(root, "alice", "new", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// testPopConn is a client that has said all it will say and takes what it gets.
type testPopConn struct {
	net.Conn // none: a call of what is not below would show it
	in       io.Reader
	out      io.Writer
	writes   int
	fail     error // of the next writes
}

func (c *testPopConn) Read(p []byte) (int, error) { return c.in.Read(p) }
func (c *testPopConn) Write(p []byte) (int, error) {
	c.writes++
	if c.fail != nil {
		return 0, c.fail
	}
	return c.out.Write(p)
}
func (c *testPopConn) Close() error                     { return nil }
func (c *testPopConn) SetDeadline(time.Time) error      { return nil }
func (c *testPopConn) SetReadDeadline(time.Time) error  { return nil }
func (c *testPopConn) SetWriteDeadline(time.Time) error { return nil }
func (c *testPopConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }

// testPopTalk has a session answer what a client says all at once.
func testPopTalk(d *popDoor, said string) (answers string, c *testPopConn) {
	var out bytes.Buffer
	c = &testPopConn{in: strings.NewReader(said), out: &out}
	d.serve(newConn(c, slog.New(slog.DiscardHandler), popTimeout))
	return out.String(), c
}

const testPopLogin = "USER alice\r\nPASS secret\r\n"

func TestPopDialogs(t *testing.T) { runDialogs(t, "pop3", servePop) }

// Before the login, too, a client that says nothing is sent away (RFC 1939, section 3).
func TestPopAutologout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := testPopDoor(t, t.TempDir())
		client, server := net.Pipe()
		start := time.Now()
		go d.serve(newConn(server, slog.New(slog.DiscardHandler), time.Hour))
		if b, err := io.ReadAll(client); err != nil || !strings.HasPrefix(string(b), "+OK") {
			t.Errorf("%q, %v", b, err)
		}
		if got := time.Since(start); got != popTimeout {
			t.Errorf("sent away after %v, want %v", got, popTimeout)
		}
	})
}

// A server that stops ends the session, and that is no QUIT.
func TestPopShutdown(t *testing.T) {
	root := t.TempDir()
	testPopMail(t, root, "Subject: one\r\n\r\n")
	d := testPopDoor(t, root)
	d.onDelete = "delete"
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		c := newConn(server, slog.New(slog.DiscardHandler), popTimeout)
		go d.serve(c)
		go io.WriteString(client, testPopLogin+"DELE 1\r\n")
		go io.Copy(io.Discard, client)
		synctest.Wait()
		c.shutdown()
		synctest.Wait()
		if _, err := client.Write([]byte("QUIT\r\n")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing to a server that stopped: %v", err)
		}
	})
	if files, _ := filepath.Glob(filepath.Join(root, "alice", "*", "17*")); len(files) != 1 {
		t.Errorf("left are %q", files)
	}
}

// Answers to commands that come together leave together.
func TestPopCorked(t *testing.T) {
	root := t.TempDir()
	var messages []string
	for i := range 50 {
		messages = append(messages, fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("a line of text\r\n", 10)))
	}
	testPopMail(t, root, messages...)
	said := testPopLogin
	for i := range messages {
		said += fmt.Sprintf("RETR %d\r\n", i+1)
	}
	answers, c := testPopTalk(testPopDoor(t, root), said+"QUIT\r\n")
	if n := strings.Count(answers, "a line of text"); n != 500 {
		t.Fatalf("%d lines came", n)
	}
	if most := len(answers)/len(connBuffer{}) + 3; c.writes > most {
		t.Errorf("%d writes for %d bytes, want at most %d", c.writes, len(answers), most)
	}
}

// When the network fails in the middle, fetched messages are \Seen and none is deleted.
func TestPopBrokenWrite(t *testing.T) {
	root := t.TempDir()
	testPopMail(t, root, "Subject: one\r\n\r\n"+strings.Repeat("x\r\n", 1<<20), "Subject: two\r\n\r\n")
	d := testPopDoor(t, root)
	d.onDelete = "delete"
	c := &testPopConn{in: strings.NewReader(testPopLogin + "DELE 2\r\nRETR 1\r\nQUIT\r\n"), fail: io.ErrClosedPipe}
	d.serve(newConn(c, slog.New(slog.DiscardHandler), popTimeout))
	if files, _ := filepath.Glob(filepath.Join(root, "alice", "new", "17*")); len(files) != 2 {
		t.Errorf("left are %q", files)
	}
}

// QUIT says -ERR if a deletion failed, and the message is there next time.
func TestPopDeleteFails(t *testing.T) {
	for _, onDelete := range []string{"hide", "trash", "archive"} {
		t.Run(onDelete, func(t *testing.T) {
			root := t.TempDir()
			testPopMail(t, root, "Subject: one\r\n\r\n")
			d := testPopDoor(t, root)
			d.onDelete = onDelete
			if answers, _ := testPopTalk(d, testPopLogin+"QUIT\r\n"); !strings.HasSuffix(answers, "+OK good-bye\r\n") {
				t.Fatalf("%q", answers)
			}
			full := func(step, path string) error { return &os.PathError{Op: step, Path: path, Err: os.ErrDeadlineExceeded} }
			fileFault.Store(&full)
			answers, _ := testPopTalk(d, testPopLogin+"DELE 1\r\nQUIT\r\n")
			fileFault.Store(nil)
			if !strings.HasSuffix(answers, "-ERR [SYS/TEMP] some deleted messages not removed\r\n") {
				t.Errorf("%q", answers)
			}
			answers, _ = testPopTalk(d, testPopLogin+"STAT\r\nDELE 1\r\nQUIT\r\n")
			if !strings.Contains(answers, "\n+OK 1 16\r\n") || !strings.HasSuffix(answers, "+OK good-bye\r\n") {
				t.Errorf("afterwards: %q", answers)
			}
			answers, _ = testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n")
			if !strings.Contains(answers, "\n+OK 0 0\r\n") {
				t.Errorf("in the end: %q", answers)
			}
		})
	}
}

// All mail of a user may be removed while the server runs; the next login begins anew.
func TestPopMailRemoved(t *testing.T) {
	root := t.TempDir()
	testPopMail(t, root, "Subject: one\r\n\r\n")
	d := testPopDoor(t, root)
	for _, want := range []string{"\n+OK 1 16\r\n", "\n+OK 0 0\r\n"} {
		answers, _ := testPopTalk(d, testPopLogin+"STAT\r\nQUIT\r\n")
		if !strings.Contains(answers, want) {
			t.Errorf("%q, want %q", answers, want)
		}
		if err := os.RemoveAll(filepath.Join(root, "alice")); err != nil {
			t.Fatal(err)
		}
	}
}

// What is fetched and deleted in one session is \Seen where it goes on being.
func TestPopDeleteSeen(t *testing.T) {
	for onDelete, want := range map[string][]string{
		"hide":    {"cur/1700000000 Sa", "cur/1700000001 S", "cur/1700000002 a", "new/1700000003 "},
		"trash":   {".Trash/cur/ S", ".Trash/new/ ", "cur/1700000001 S", "new/1700000003 "},
		"archive": {".Archive/cur/ S", ".Archive/new/ ", "cur/1700000001 S", "new/1700000003 "},
		"delete":  {"cur/1700000001 S", "new/1700000003 "},
	} {
		root := t.TempDir()
		testPopMail(t, root, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n", "Subject: 3\r\n\r\n", "Subject: 4\r\n\r\n")
		d := testPopDoor(t, root)
		d.onDelete = onDelete
		testPopTalk(d, testPopLogin+"RETR 1\r\nRETR 2\r\nDELE 1\r\nDELE 3\r\nQUIT\r\n")
		if got := testPopFiles(t, root); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", onDelete, got, want)
		}
	}
}

// A choice counts from the next login on: a session goes on as it began, and is not sent away.
func TestPopChoice(t *testing.T) {
	root := t.TempDir()
	testPopMail(t, root, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n", "Subject: 3\r\n\r\n")
	d := testPopDoor(t, root)
	d.onDelete = "delete"
	must(t, d.auth.chooseOnDelete("alice", "hide"))
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		d.serve(newConn(server, slog.New(slog.DiscardHandler), popTimeout))
		close(ended)
	}()
	r := bufio.NewReader(client)
	said := func(command string) string {
		t.Helper()
		if command != "" {
			if _, err := io.WriteString(client, command+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		must(t, err)
		if !strings.HasPrefix(line, "+OK") {
			t.Errorf("%s: %s", command, line)
		}
		return line
	}
	for _, command := range []string{"", "USER alice", "PASS secret", "DELE 1"} {
		said(command)
	}
	must(t, d.auth.chooseOnDelete("alice", "trash"))
	said("NOOP")
	said("QUIT")
	<-ended
	if got := testPopFiles(t, root); !slices.Equal(got, []string{"cur/1700000000 a", "new/1700000001 ", "new/1700000002 "}) {
		t.Errorf("as it began: %q", got)
	}
	testPopTalk(d, testPopLogin+"DELE 1\r\nQUIT\r\n")
	if got := testPopFiles(t, root); !slices.Equal(got, []string{".Trash/new/ ", "cur/1700000000 a", "new/1700000002 "}) {
		t.Errorf("the next login: %q", got)
	}
	must(t, d.auth.chooseOnDelete("alice", ""))
	testPopTalk(d, testPopLogin+"DELE 1\r\nQUIT\r\n")
	if got := testPopFiles(t, root); !slices.Equal(got, []string{".Trash/new/ ", "cur/1700000000 a"}) {
		t.Errorf("as the box has it: %q", got)
	}
}

// testPopFiles lists alice's messages: the directory, the time in the name unless it was moved, and the flags.
func testPopFiles(t *testing.T, root string) (got []string) {
	t.Helper()
	for _, pattern := range []string{"new/*", "cur/*", ".*/new/*", ".*/cur/*"} {
		files, err := filepath.Glob(filepath.Join(root, "alice", pattern))
		must(t, err)
		for _, file := range files {
			dir, name := filepath.Split(strings.TrimPrefix(file, filepath.Join(root, "alice")+"/"))
			base, info, _ := strings.Cut(name, ":2,")
			if base, _, _ = strings.Cut(base, "."); dir[0] == '.' {
				base = "" // it has a new name there
			}
			got = append(got, dir+base+" "+info)
		}
	}
	slices.Sort(got)
	return got
}

func TestPopUIDLForm(t *testing.T) {
	for s, want := range map[string]bool{"": false, "a": true, "!~": true, "a b": false, "\x7f": false, "\u00e9": false} {
		if popPrintable(s) != want {
			t.Errorf("%q", s)
		}
	}
	if got := string(popAppendHex(nil, 0x0a1b2c3d)); got != "0a1b2c3d" {
		t.Error(got)
	}
}

// testPopUnstuff undoes what popStuffer does.
func testPopUnstuff(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll("\n"+s, "\n.", "\n"), "\n")
}

// testPopTop is TOP done slowly.
func testPopTop(s string, lines int64) string {
	out, body := "", false
	for line := range strings.Lines(s) {
		if body {
			if lines == 0 {
				break
			}
			lines--
		}
		out += line
		body = body || line == "\r\n"
		if body && lines == 0 {
			break
		}
	}
	return out
}

func FuzzPOP3Stuffer(f *testing.F) {
	f.Add("a\r\n.b\r\n\r\n..c\r\n.\r\n", 3, int64(1))
	f.Add(".", 1, int64(-1))
	f.Add("\r\n\r\n\r\n", 1, int64(2))
	f.Add("Subject: x\r\n\r\n.\r\n.", 4, int64(0))
	f.Fuzz(func(t *testing.T, text string, chunk int, lines int64) {
		text = strings.ReplaceAll(strings.NewReplacer("\r", "", "\n", "\r\n").Replace(text), "\x00", "") // the wire form
		var out strings.Builder
		st := popStuffer{w: &out, last: '\n', lines: lines}
		for rest := text; rest != ""; {
			n := min(len(rest), max(1, chunk))
			if err := st.write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		want := text
		if lines >= 0 {
			want = testPopTop(text, lines)
		}
		if got := out.String(); testPopUnstuff(got) != want {
			t.Errorf("%q, %d lines, by %d: got %q, want %q stuffed", text, lines, chunk, got, want)
		} else if strings.HasPrefix(got, ".\r\n") || strings.Contains(got, "\n.\r\n") {
			t.Errorf("%q: %q has the end in it", text, got)
		}
	})
}

func FuzzPOP3Command(f *testing.F) {
	f.Add("CAPA\r\nUTF8\r\nAUTH\r\nAUTH PLAIN =\r\nAUTH PLAIN\r\n*\r\nUSER bob\r\nPASS x\r\nQUIT\r\n")
	f.Add(testPopLogin + "STAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 2\r\nRSET\r\nNOOP\r\nQUIT\r\n")
	f.Add("STLS\r\nUSER \xff\r\n\r\n \r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\ndele 3\r\nRETR 99999999999999999999\nTOP 1 -1\nQUIT")
	f.Add("AUTH PLAIN\r\n" + strings.Repeat("A", 20000) + "\r\n" + strings.Repeat("B", 3000) + "\r\nPASS \r\n")
	root := f.TempDir()
	testPopMail(f, root, "Subject: one\r\n\r\n.\r\n", "two\n.\n\n.", "")
	d := testPopDoor(f, root)
	f.Fuzz(func(t *testing.T, said string) {
		d.auth.throttle = newAuthThrottle() // what it does is tested elsewhere
		answers, _ := testPopTalk(d, said)
		if !strings.HasPrefix(answers, "+OK") {
			t.Errorf("%q", answers)
		}
		if strings.Contains(answers, "[SYS") && !strings.Contains(answers, errAuthThrottled.Error()) {
			t.Errorf("%q: trouble of ours: %q", said, answers)
		}
		hidden, _ := filepath.Glob(filepath.Join(root, "alice", "cur", "*:2,*a"))
		for _, name := range hidden { // all messages are there for the next run
			if err := os.Rename(name, strings.TrimSuffix(name, "a")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkPOP3Retr(b *testing.B) {
	for name, end := range map[string]string{"CRLF": "\r\n", "LF": "\n"} {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			var messages []string
			line := strings.Repeat("x", 70) + end
			said, size := testPopLogin, 0
			for i := range 1000 {
				text := "Subject: a message" + end + end + strings.Repeat(line, 20+i%150)
				messages = append(messages, text)
				said += fmt.Sprintf("RETR %d\r\n", i+1)
				size += len(text)
			}
			testPopMail(b, root, messages...)
			d := testPopDoor(b, root)
			b.SetBytes(int64(size))
			for b.Loop() {
				c := &testPopConn{in: strings.NewReader(said), out: io.Discard}
				d.serve(newConn(c, slog.New(slog.DiscardHandler), popTimeout))
			}
		})
	}
}
