package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The options as programs give them.
func TestCmdSendmailParse(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-i -FCronDaemon -B8BITMIME -oem root", "m  dots=false name=CronDaemon to=[root]"},            // Debian's cron
		{"-FCronDaemon -i -odi -oem -oi -t -f root", "m t dots=false name=CronDaemon from=root to=[]"}, // cronie
		{"-ti root", "m t dots=false to=[root]"},                                                       // busybox
		{"-t -i", "m t dots=false to=[]"},                                                              // PHP
		{"-oi -f alice@pi -- -bob", "m  dots=false from=alice@pi to=[-bob]"},                           // mutt
		{"-f  -t", "m  dots=true from= to=[]"},                                                         // see below: "" is put in for two spaces
		{"-r me -oi -odb -O DeliveryMode=b alice bob", "m  dots=false from=me to=[alice bob]"},         // mailx
		{"-N failure,delay -R hdrs -V id -h 3 -L tag -p x -X log a", "m  dots=true to=[a]"},            //
		{"-bs", "s  dots=true to=[]"},                                                                  //
		{"-b s", "s  dots=true to=[]"},                                                                 //
		{"-bm -v -n -G -U -m a", "m  dots=true to=[a]"},                                                //
		{"-q30m", "q  dots=true to=[]"},                                                                //
		{"-d8.1 -I", "I  dots=true to=[]"},                                                             //
		{"-config x.toml -t", "m t dots=true config=x.toml to=[]"},                                     //
		{"--config=x.toml -f<> a -t", "m  dots=true config=x.toml from=<> to=[a -t]"},                  // options end at the first recipient
		{"- -t", "m  dots=true to=[- -t]"},                                                             //
		{"-y", "unknown option -y"},
		{"-f", "-f needs a value"},
		{"-tf", "-f needs a value"},
		{"-config", "-config needs a file"},
	} {
		args := strings.Split(test.args, " ")
		o, err := cmdSendmailParse(args)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = o.mode + " " + map[bool]string{true: "t"}[o.header] + fmt.Sprintf(" dots=%v", o.dots)
			if o.name != "" {
				got += " name=" + o.name
			}
			if o.config != "" {
				got += " config=" + o.config
			}
			if o.sender != nil {
				got += " from=" + *o.sender
			}
			got += fmt.Sprintf(" to=%v", o.to)
		}
		if want := test.want; got != want && test.args != "-f  -t" {
			t.Errorf("%s: %s, want %s", test.args, got, want)
		} else if test.args == "-f  -t" && (err != nil || *o.sender != "" || !o.header) {
			t.Errorf("%s: %s", test.args, got)
		}
	}
	for name, want := range map[string]string{"/usr/sbin/sendmail": "sendmail -t", "sendmail": "sendmail -t", "/usr/bin/letterbox": "-t", "./sendmailer": "-t"} {
		if got := strings.Join(cmdCalled([]string{name, "-t"}), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if cmdCalled(nil) != nil {
		t.Error("no arguments at all")
	}
}

// cmdTestFile is cmdTest with input that a pipe may have no room for.
func cmdTestFile(t *testing.T, input string, args ...string) (code int, said string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	code = cmdRun(args, f, &out, &out)
	return code, out.String()
}

// sendmail with a server, without one, and with one that comes.
func TestCmdSendmail(t *testing.T) {
	dir := t.TempDir()
	c := serverTestConfig(dir)
	c.hostname = "pi.lan"
	s, _ := serverTest(t, c, nil)
	path := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("hostname = \"pi.lan\"\n[listen]\nsmtp = [\"127.0.0.1:1\", %q]\n[storage]\npath = \"mail\"\nusers = \"users\"\n[smtp]\nmax_message_size = \"64KiB\"\n", s.address(t, "smtp"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mail := func(folder string) []string { return testEnvelopeFiles(t, c.storage.path, folder) }
	steps := func(up bool) {
		for _, step := range []struct {
			args, input  string
			status, down int
			said         string
			new          int // messages, if the server is there
		}{
			{"alice", "Subject: a\n\nx\n.\nno more", 0, 0, "", 1},
			{"-oi -t", "To: alice\nBcc: Alice@pi.lan,\n alice@localhost\nSubject: b\n\n.\nx\n", 0, 0, "", 3},
			{"-i -- alice", "", 0, 0, "", 1},
			{"-f postmaster@example.org -F Me alice", "x", 0, 0, "", 1},
			{"-f <> alice", "x", 0, 0, "", 1},
			{"-f a,b alice", "x", 64, 64, "-f a,b: not a mail address", 0},
			{"nobody", "x", 67, 0, "nobody: 5.1.1 No such user here", 0},
			{"alice,nobody someone@example.com", "x", 67, 69, "own users only", 1},
			{"someone@example.com", "x", 69, 69, "own users only", 0},
			{"", "x", 64, 64, "no recipients", 0},
			{"-t", "Subject: x\n\nx", 64, 64, "no recipients", 0},
			{"-t", "To: two words, alice\n\nx", 65, 65, "two words: not a mail address", 1},
			{"alice", strings.Repeat("x", 65<<10), 69, 69, "larger than", 0},
			{"-bd", "", 64, 64, "letterbox serve", 0},
			{"-bi", "", 0, 0, "", 0},
			{"-bp", "", 0, 0, "letterbox check", 0},
			{"-q", "", 0, 0, "", 0},
			{"-z", "", 64, 64, "unknown option", 0},
			{"-bs", "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\nQUIT\r\n", 0, 75, "", 1},
		} {
			before := len(mail("alice"))
			args := append([]string{"sendmail", "-config", path}, strings.Fields(step.args)...)
			status, said := cmdTestFile(t, step.input, args...)
			want, fresh := step.status, step.new
			if !up {
				want, fresh = step.down, 0
			}
			if status != want || up && !strings.Contains(said, step.said) || len(mail("alice"))-before != fresh {
				t.Errorf("server %v: %s: status %d, want %d, %d new messages, want %d:\n%s", up, step.args, status, want, len(mail("alice"))-before, fresh, said)
			}
			if step.args == "-bs" && !strings.Contains(said, map[bool]string{true: "221 2.0.0 Bye\r\n", false: "421 4.3.2 pi.lan"}[up]) {
				t.Errorf("-bs: %q", said)
			}
		}
	}
	steps(true)
	var first []byte
	var err error
	for _, file := range mail("alice") { // their names tell microseconds, and so need not be in order
		if first, err = os.ReadFile(file); strings.Contains(string(first), "\r\nSubject: a\r\n") {
			break
		}
	}
	if err != nil || !strings.Contains(string(first), "@pi.lan>\r\nDelivered-To: alice\r\n") || !strings.Contains(string(first), "\r\nFrom: ") ||
		!strings.Contains(string(first), "\r\nDate: ") || !strings.HasSuffix(string(first), "\r\n\r\nx\r\n") {
		t.Errorf("%v:\n%s", err, first)
	}
	for _, file := range mail("alice") {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "Bcc:") {
			t.Errorf("%v:\n%s", err, text)
		}
	}
	s.shutdown(context.Background())
	steps(false)
	if code, said := cmdTest(t, "", "check", "-config", path); !strings.Contains(said, "spool: 8 messages of programs wait in") {
		t.Errorf("%d: %s", code, said)
	}
	before := len(mail("alice"))
	again, log := serverTest(t, c, nil)
	for left := 1; left > 0; {
		again.spool.turn()
		files, err := os.ReadDir(c.spool())
		if err != nil {
			t.Fatal(err)
		}
		left = len(files)
	}
	// Of eight files one is for three of alice's addresses, one for nobody else, and two notices tell of nobody.
	if got := len(mail("alice")) - before; got != 9+2 {
		t.Errorf("%d messages came out of the spool:\n%s", got, log)
	}
}

// What listens but is no Letterbox gets nothing, and who cannot reach the spool is told to try again.
func TestCmdSendmailStranger(t *testing.T) {
	needLoopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "220 pi.lan ESMTP Exim\r\n")
		b := make([]byte, 100)
		n, _ := conn.Read(b)
		got <- string(b[:n])
	}()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("[listen]\nsmtp = [%q]\n[storage]\nspool = \"none/spool\"\n", l.Addr())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, said := cmdTest(t, "Subject: x\n\nx\n", "sendmail", "-config", path, "alice")
	if status != 75 || !strings.Contains(said, "no Letterbox") || !strings.Contains(said, "hint: ") {
		t.Errorf("%d: %s", status, said)
	}
	if said := <-got; said != "" {
		t.Errorf("it heard %q", said)
	}
	if status, said := cmdTest(t, "x", "sendmail", "-config", filepath.Join(dir, "missing.toml"), "alice"); status != 78 {
		t.Errorf("%d: %s", status, said)
	}
}
