package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cmdTest runs a command line with input and gives all that it said.
func cmdTest(t *testing.T, input string, args ...string) (code int, said string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.WriteString(w, input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var out bytes.Buffer
	code = cmdRun(args, r, &out, &out)
	return code, out.String()
}

// cmdTestConfig writes a configuration without ports and gives its path.
func cmdTestConfig(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := "[listen]\nsmtp = []\nsubmission = []\nsubmissions = []\npop3 = []\npop3s = []\nimap = []\nimaps = []\nhttp = []\nhttps = []\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCmd(t *testing.T) {
	path := cmdTestConfig(t, "")
	users := filepath.Join(filepath.Dir(path), "data/users")
	bad := cmdTestConfig(t, "[smtp]\nmax_sise = \"1MiB\"\n")
	for _, step := range []struct {
		args, input string
		code        int
		said        string
	}{
		{"version", "", 0, "letterbox "},
		{"-h", "", 0, "usage:"},
		{"help", "", 0, "usage:"},
		{"serve me", "", 2, `what is "me"?`},
		{"-x", "", 2, "flag provided but not defined: -x"},
		{"frobnicate", "", 2, `unknown command "frobnicate"`},
		{"-log loud", "", 2, "-log is info, debug or transcript"},
		{"user", "", 2, "user add, user passwd"},
		{"user add", "", 2, "takes one name"},
		{"user rename alice", "", 2, "unknown command"},
		{"user list -config " + path, "", 0, ""},
		{"user add -config " + path + " alice", "secret\n", 0, "added alice in " + users},
		{"-config " + path + " user add Bob", "secret of bob", 0, "added bob in"},
		{"user -config " + path + " add alice", "secret\n", 1, "alice: the user exists already in"},
		{"user add alice2 -config " + path, "", 1, "no password on the standard input"},
		{"user add -config " + path + " alice2", strings.Repeat("x", 73) + "\n", 1, "72"},
		{"user add -config " + path + " ../alice", "secret\n", 1, "not a user name"},
		{"user passwd -config " + path + " alice", "other\n", 0, "changed the password of alice"},
		{"user passwd -config " + path + " carol", "other\n", 1, "hint: letterbox user list"},
		{"user list -config=" + path, "", 0, "alice\nbob\n"},
		{"user del -config " + path + " bob", "", 0, "the mail stays in " + filepath.Join(filepath.Dir(path), "data/mail/bob")},
		{"user del -config " + path + " bob", "", 1, "no such user"},
		{"check -config " + path, "", 0, "no findings"},
		{"check -config " + bad, "", 1, bad + ":12: unknown key \"max_sise\" in [smtp]\nhint: did you mean max_message_size?"},
		{"serve -config " + bad, "", 1, "did you mean max_message_size?"},
		{"serve -config /none.toml", "", 1, "/none.toml: no such file"},
	} {
		code, said := cmdTest(t, step.input, strings.Fields(step.args)...)
		if code != step.code || !strings.Contains(said, step.said) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", step.args, code, step.code, step.said, said)
		}
	}
	a, err := authOpen(authSettings{path: users, log: logNew(io.Discard, 0)})
	if err != nil || !a.exists("alice") || a.exists("bob") {
		t.Errorf("users: %v", err)
	}
}

func TestCmdCheckFinds(t *testing.T) {
	path := cmdTestConfig(t, "")
	data := filepath.Join(filepath.Dir(path), "data")
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	for _, dir := range []string{"mail/alice/cur", "mail/alice/.Sent/cur", "mail/Bob/cur"} {
		if err := os.MkdirAll(filepath.Join(data, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"mail/alice/.Sent/dovecot-uidlist": "no list\n", "users.tmp": "x:y\n"} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(data, "users"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(data, "mail/.letterbox"), 0o700); err != nil {
		t.Fatal(err)
	}
	future := time.Now().AddDate(20, 0, 0).Format(time.RFC3339)
	if err := os.WriteFile(filepath.Join(data, "mail/.letterbox/clock"), []byte(future), 0o600); err != nil {
		t.Fatal(err)
	}
	code, said := cmdTest(t, "", "check", "-config", path)
	for _, want := range []string{"everybody on this box can read " + filepath.Join(data, "users") + "\nhint: chmod 600", "Bob holds mail",
		"rename it to bob", "the message numbers of", ".Sent: ", "but it has been later: " + future, "findings: 4"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// Check names a choice that nobody can have made, and says what to do.
func TestCmdCheckChoice(t *testing.T) {
	path := cmdTestConfig(t, "")
	users := filepath.Join(filepath.Dir(path), "data/users")
	for _, name := range []string{"alice", "bob"} {
		if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, name); code != 0 {
			t.Fatal(said)
		}
	}
	text, err := os.ReadFile(users)
	must(t, err)
	must(t, os.WriteFile(users, []byte(strings.ReplaceAll(string(text), " scram.for=", " pop3_on_delete=trsh scram.for=")), 0o600))
	code, said := cmdTest(t, "", "check", "-config", path)
	want := "FINDING " + users + ":2: user \"bob\": pop3_on_delete cannot be \"trsh\", it is hide, trash, archive, delete; so [pop3] on_delete counts\nhint: the user chooses anew on the page"
	if code != 1 || !strings.Contains(said, want) || !strings.Contains(said, "findings: 2\n") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	for _, name := range []string{"alice", "bob"} {
		must(t, authEditFields(users, name, func(_ *authUser, fields []string) ([]string, error) {
			for i := range fields {
				fields[i] = strings.Replace(fields[i], "=trsh", "=trash", 1)
			}
			return fields, nil
		}))
		if code, said := cmdTest(t, "other\n", "user", "passwd", "-config", path, name); code != 0 {
			t.Fatal(said)
		}
	}
	if code, said := cmdTest(t, "", "check", "-config", path); code != 0 {
		t.Error(said)
	}
	if text, err = os.ReadFile(users); err != nil || strings.Count(string(text), "pop3_on_delete=trash ") != 2 {
		t.Errorf("another password has taken the choice away: %v\n%s", err, text)
	}
}

// Check looks at the CAs that sign for clients.
func TestCmdCheckClientCA(t *testing.T) {
	path := cmdTestConfig(t, "[tls]\nclient_ca = \"clients.pem\"\nclient_user = \"email\"\n")
	clients := filepath.Join(filepath.Dir(path), "clients.pem")
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	check := func(want int, words ...string) {
		t.Helper()
		code, said := cmdTest(t, "", "check", "-config", path)
		for _, word := range words {
			if code != want || !strings.Contains(said, word) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, want, word, said)
			}
		}
	}
	check(1, "FINDING [tls] client_ca cannot be used: open "+clients, "hint: [tls] client_ca holds")
	must(t, os.WriteFile(clients, testAuthOurCA().pem(), 0o600))
	check(0, "client certificates: by CN=our CA (until 2100-01-01), 0 revoked; the user is the address\n", "no findings")
	must(t, os.WriteFile(clients, testAuthOurCA().pem(3), 0o600))
	check(1, "a newer list of what CN=our CA has revoked was due on 2021-01-01", "1 revoked", "findings: 1")
	old, err := serverOpenCA(t.TempDir(), nil, serverCertNeeds{hostname: "old"}, time.Now().AddDate(-20, 0, 0), logNew(io.Discard, 0))
	must(t, err)
	must(t, os.WriteFile(clients, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.cert.Raw}), 0o600))
	check(1, "has ended on", "may not sign for clients", "findings: 2")
}

// Check looks at the keys by which tokens are signed.
func TestCmdCheckTokenKeys(t *testing.T) {
	path := cmdTestConfig(t, "[oauth]\nkeys = \"keys.json\"\nissuer = \"https://id.example.org\"\naudience = [\"box\"]\n")
	keys := filepath.Join(filepath.Dir(path), "keys.json")
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	if code, said := cmdTest(t, "", "check", "-config", path); code != 1 || !strings.Contains(said, "FINDING [oauth] keys cannot be used: open "+keys) {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	must(t, os.WriteFile(keys, testAuthSet(testAuthSigners()), 0o600))
	if code, said := cmdTest(t, "", "check", "-config", path); code != 0 || !strings.Contains(said, "EdDSA EdDSA") || !strings.Contains(said, "passed over: key 1") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// Check tells whose mail is as much as allowed, or nearly, also where the limits were set by SETQUOTA.
func TestCmdCheckQuota(t *testing.T) {
	path := cmdTestConfig(t, "[limits]\nquota_messages = 10\n[users.carol]\nquota = \"1KiB\"\nquota_messages = 0\n")
	mail := filepath.Join(filepath.Dir(path), "data/mail")
	for user, messages := range map[string]int{"alice": 7, "bob": 8, "carol": 2, "dave": 10, "eve": 3, "frank": 0} {
		if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, user); code != 0 {
			t.Fatal(said)
		}
		if messages > 0 {
			must(t, os.MkdirAll(filepath.Join(mail, user, "cur"), 0o700))
		}
		for i := range messages {
			must(t, os.WriteFile(filepath.Join(mail, user, "cur", fmt.Sprintf("%d.a.b,S=600:2,S", i)), []byte("Subject: x\n\n"), 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(mail, "eve", maildirLimitsName), []byte("3C\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(mail, "carol", maildirLimitsName), []byte("1000000S\n"), 0o600)) // which does not count
	code, said := cmdTest(t, "", "check", "-config", path)
	for _, want := range []string{"\nmail of bob: 8 messages, of 10 that are allowed\n", "FINDING mail of carol: 1200 bytes, and 1024 are allowed\n",
		"FINDING mail of dave: 10 messages, and 10 are allowed\n", "FINDING mail of eve: 3 messages, and 3 are allowed\nhint: raise", "findings: 3\n"} {
		if code != 1 || !strings.Contains(said, want) {
			t.Errorf("exit code %d, it does not say %q:\n%s", code, want, said)
		}
	}
	if strings.Contains(said, "of alice: 7 messages, of") || strings.Contains(said, "frank:") {
		t.Errorf("it says too much:\n%s", said)
	}
}

// Check tells what would expire, and removes nothing.
func TestCmdCheckRetention(t *testing.T) {
	path := cmdTestConfig(t, "[retention]\nTrash = \"30d\"\nprintr = \"1d\"\n\"lists/*\" = \"1w\"\n[users.bob.retention]\nTrash = \"\"\n")
	mail := filepath.Join(filepath.Dir(path), "data/mail")
	for _, user := range []string{"alice", "bob", "carol"} {
		if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, user); code != 0 {
			t.Fatal(said)
		}
	}
	lay := func(place string, days int, info string) {
		name := filepath.Join(mail, place, fmt.Sprintf("%d.M%d.a%s", time.Now().Add(-time.Duration(days)*testRetainDay).Unix(), days, info))
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, []byte("Subject: x\n\n"), 0o600))
	}
	lay("alice/cur", 90, ":2,S")
	lay("bob/cur", 90, ":2,S")
	for _, days := range []int{40, 35, 29} {
		lay("alice/.Trash/cur", days, ":2,S")
		lay("bob/.Trash/cur", days, ":2,S")
	}
	lay("alice/.Trash/cur", 50, ":2,Sb")
	lay("alice/.Trash/new", 31, "")
	must(t, os.WriteFile(filepath.Join(mail, "alice/.Trash/dovecot-keywords"), []byte("1 $POP3Moved\n"), 0o600))
	lay("bob/.lists.go/cur", 8, ":2,")
	code, said := cmdTest(t, "", "check", "-config", path)
	for _, want := range []string{
		"\nretention: of alice, 3 messages in Trash are there for more than 30 days and would be removed, the oldest of " + time.Now().Add(-40*testRetainDay).Format(time.DateOnly) + "\n",
		"\nretention: of bob, 1 messages in lists/go are there for more than 7 days and would be removed, the oldest of ", "\nretention: nobody has a folder \"printr\"\n"} {
		if code != 0 || !strings.Contains(said, want) {
			t.Errorf("exit code %d, it does not say %q:\n%s", code, want, said)
		}
	}
	if strings.Count(said, "retention:") != 3 {
		t.Errorf("it says too much:\n%s", said)
	}
	for dir, want := range map[string]int{"alice/.Trash/cur": 4, "alice/.Trash/new": 1, "bob/.lists.go/cur": 1} {
		if names, err := os.ReadDir(filepath.Join(mail, dir)); err != nil || len(names) != want {
			t.Errorf("%s: %d files, %v", dir, len(names), err)
		}
	}
	if _, err := os.Stat(filepath.Join(mail, "alice/.Trash/dovecot-uidlist")); err == nil {
		t.Error("it wrote a list of UIDs")
	}
}

// Check finds a capability that cannot be withheld, and has no more to say of one that can.
func TestCmdCheckWithout(t *testing.T) {
	path := cmdTestConfig(t, "[imap]\nwithout = [\"qresync\", \"QRESINC\"]\n")
	if code, said := cmdTest(t, "", "check", "-config", path); code != 1 || !strings.Contains(said, `[imap] without: "QRESINC" is no capability that can be withheld`) ||
		!strings.Contains(said, `hint: did you mean "QRESYNC"?`) || strings.Contains(said, `"qresync" is`) {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	path = cmdTestConfig(t, "[imap]\nwithout = [\"qresync\", \"AUTH=EXTERNAL\", \"QUOTASET\"]\n")
	if code, said := cmdTest(t, "", "check", "-config", path); code != 0 || !strings.Contains(said, "no findings") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// Check counts each message once, wherever it lies, and no more folders than there are.
func TestCmdCheckCounts(t *testing.T) {
	short, err := os.MkdirTemp("", "lb") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	path := cmdTestConfig(t, fmt.Sprintf("lmtp = [%q]\n", "unix:"+short+"/lmtp"))
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	mail := filepath.Join(filepath.Dir(path), "data/mail/alice")
	for _, name := range []string{"new/1.a.b", "new/2.a.b", "cur/3.a.b:2,S", ".Sent/cur/4.a.b:2,"} {
		name = filepath.Join(mail, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("Subject: x\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, said := cmdTest(t, "", "check", "-config", path)
	if strings.Contains(said, "lmtp:") {
		t.Errorf("a socket is nobody's to reach but its group's:\n%s", said)
	}
	if code != 0 || !strings.Contains(said, "mail of alice: 2 folders, 4 messages\n") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// Who may not open a port below 1024 hears that it was not tried: it is no finding.
func TestCmdCheckUntried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:1")
	if err == nil {
		l.Close()
		t.Skip("ports below 1024 are free for all here")
	} else if !errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	path := cmdTestConfig(t, "[storage]\npath = \"mail\"\nlisten = 0")
	text := "[listen]\nsmtp = [\"127.0.0.1:1\"]\nsubmission = []\nsubmissions = []\npop3 = []\npop3s = []\nimap = []\nimaps = []\nhttp = []\nhttps = []\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, said := cmdTest(t, "", "check", "-config", path)
	if code != 0 || !strings.Contains(said, "ports: not tried") || strings.Contains(said, "ports: all are free") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// The whole program, as a process of its own: start, reload, stop, without HOME.
func TestCmdServe(t *testing.T) {
	if path := os.Getenv("LETTERBOX_TEST_SERVE"); path != "" {
		os.Exit(cmdRun([]string{"-config", path, "serve"}, os.Stdin, os.Stdout, os.Stderr))
	}
	path := cmdTestConfig(t, "lmtp = [\"127.0.0.1:0\"]\n[smtp]\npublic = false\n")
	cmd := exec.Command(os.Args[0], "-test.run=^TestCmdServe$")
	cmd.Env = []string{"LETTERBOX_TEST_SERVE=" + path}
	cmd.Dir = t.TempDir()
	log := &serverLog{}
	cmd.Stderr, cmd.Stdout = log, log
	if err := cmd.Start(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("an emulated program cannot start another")
	} else if err != nil {
		t.Fatal(err)
	}
	wait := func(want string) {
		t.Helper()
		for range 6000 { // an emulated processor is slow
			if strings.Contains(log.String(), want) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		cmd.Process.Kill()
		t.Fatalf("the log does not say %q:\n%s", want, log)
	}
	wait("msg=ready")
	wait("first-login.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "false", "no", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait("not reloaded")
	wait(fmt.Sprintf("%s:13: ", path))
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "false", "true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait("msg=reloaded")
	for range 2 { // as timeout does
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "msg=stopped") {
		t.Errorf("%v:\n%s", err, log)
	}
}

// The command lines of import, and what it says.
func TestCmdImport(t *testing.T) {
	path := cmdTestConfig(t, "[users.bob]\nquota_messages = 2\n")
	dir := filepath.Dir(path)
	testLayOut(t, dir, map[string]string{"mbox": testManyMbox(3), "one.eml": "Subject: x\n", "text": "hello"})
	for _, user := range []string{"alice", "bob"} {
		if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, user); code != 0 {
			t.Fatal(said)
		}
	}
	for _, step := range []struct {
		args string
		code int
		said string
	}{
		{"import", 2, "import takes one source"},
		{"import a b", 2, "import takes one source"},
		{"import -folder x mbox", 2, "whose mail? -user NAME"},
		{"-user alice import mbox", 2, "flag provided but not defined: -user"},
		{"import -user carol mbox", 1, "hint: letterbox user add carol"},
		{"import -user ../x mbox", 1, "not a user name"},
		{"import -user alice none", 1, "no such file"},
		{"import -user alice text", 1, "text: this is no mbox file"},
		{"import -user alice -folder a.b mbox", 1, `it has a "."`},
		{"import -user alice mbox", 0, "imported 3 messages, 36 bytes, into 1 folder of alice\n"},
		{"import mbox -user Alice", 0, "imported 0 messages, 0 bytes, into 0 folders of alice; there already: 3\n"},
		{"import -user alice -folder Archive/2026 one.eml", 0, "imported 1 message, 11 bytes, into 1 folder of alice\n"},
		{"import -user bob mbox", 1, "imported 2 messages, 24 bytes, into 1 folder of bob\nletterbox: folder INBOX: the user has as much mail as allowed: 2 messages\nhint: set quota"},
	} {
		args := strings.Fields(step.args)
		for i, arg := range args {
			if slices.Contains([]string{"mbox", "one.eml", "text", "none"}, arg) {
				args[i] = filepath.Join(dir, arg)
			}
		}
		code, said := cmdTest(t, "", append(args, "-config", path)...)
		if code != step.code || !strings.Contains(said, step.said) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", step.args, code, step.code, step.said, said)
		}
	}
}

func TestCmdProgress(t *testing.T) {
	for _, c := range []struct {
		counts transferCounts
		want   string
	}{
		{transferCounts{imported: 5, skipped: 1, folder: "INBOX", done: 1, total: 4}, "[#######.......................]  25% 5 new, 1 there already  INBOX"},
		{transferCounts{folder: strings.Repeat("ü", 200)}, "0 new, 0 there already  " + strings.Repeat("ü", 54)},
		{transferCounts{done: 9, total: 4}, "[##############################] 100% 0 new, 0 there already  "},
	} {
		if got := cmdProgressLine(&c.counts); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Export, backup and restore as they are typed.
func TestCmdTransfer(t *testing.T) {
	path := cmdTestConfig(t, "")
	dir := filepath.Dir(path)
	mail := filepath.Join(dir, "data/mail")
	testLayOut(t, dir, map[string]string{
		"mbox": "From a@b Mon Mar  2 10:00:00 2026\nFrom: a@b\nSubject: the bill\nMessage-ID: <1@x>\nStatus: RO\nX-Status: \nX-Keywords: \n\n" +
			"From a@b Mon Mar  2 10:00:01 2026\nFrom: c@d\nSubject: another =?utf-8?q?b=C3=ACll=1b?=\nMessage-ID: <2@x>\nStatus: O\nX-Status: \nX-Keywords: \n\n",
		"data/mail/.letterbox/ca.key": "secret\n", "data/mail/.letterbox/clock.tmp1.1": "x",
	})
	if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, "alice"); code != 0 {
		t.Fatal(said)
	}
	gone := func(pattern string) {
		names, err := filepath.Glob(filepath.Join(mail, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %q, %v", pattern, names, err)
		}
		for _, name := range names {
			must(t, os.RemoveAll(name))
		}
	}
	snapshot := ""
	for _, step := range []struct {
		args string
		code int
		said string
	}{
		{"import -user alice -folder Bills DIR/mbox", 0, "imported 2 messages"},
		{"export -user alice DIR/out", 2, "-format is mbox or zip"},
		{"export -user alice -format pst DIR/out", 2, "-format is mbox or zip"},
		{"export -user alice -format mbox", 2, "export takes one file"},
		{"export -user alice -format mbox DIR/out", 1, "hint: name it by -folder"},
		{"export -user alice -folder None -format mbox DIR/out", 1, "None: no such folder"},
		{"export -user alice -folder Bills -format mbox DIR/out", 0, "exported 2 messages from 1 folder of alice\n"},
		{"export -user alice -folder Bills -format mbox DIR/out", 1, "hint: nothing is overwritten"},
		{"export -user alice -folder Bills -format mbox -", 0, "From MAILER-DAEMON Mon Mar  2 10:00:00 2026\nFrom: a@b\n"},
		{"export -user alice -format mbox DIR/tree/", 0, "exported 2 messages from 7 folders of alice\n"},
		{"export -user alice -format zip DIR/out.zip", 0, "exported 2 messages from 7 folders of alice\n"},
		{"backup", 2, "backup takes one directory"},
		{"backup -keep -1 DIR/backup", 2, "-keep is a number"},
		{"backup -keep x DIR/backup", 2, "invalid value"},
		{"backup DIR/data/mail/backup", 1, "in the mail directory itself"},
		{"restore DIR/none", 1, "no such file"},
		{"backup DIR/backup", 0, ": 2 messages of 1 user, 2 of them linked, 0 bytes copied\nnote: the snapshot is on the same disk"},
		{"restore DIR/backup", 0, "Z  alice\n"},
		{"restore", 2, "restore takes the directory"},
		{"restore -list DIR/backup", 2, "whose mail?"},
		{"restore -user carol DIR/backup", 1, "hint: first letterbox user add carol\n"},
		{"restore -user alice -snapshot 2000-01-01T00-00-00Z DIR/backup", 1, "hint: letterbox restore"},
		{"restore -user alice -list DIR/backup", 0, "2026-03-02 10:00:01  Bills  c@d  another bìll?  <2@x>\n"},
		{"restore -user alice -list -folder None DIR/backup", 1, "None in"},
		{"restore -user alice DIR/backup", 0, "imported 0 messages, 0 bytes, into 0 folders of alice; there already: 2\n"},
		{"gone alice/.Bills/cur/*", 0, ""},
		{"restore -user alice -message BILL DIR/backup", 0, "imported 1 message"},
		{"restore -user alice -message b DIR/backup", 1, "these are several messages"},
		{"restore -user alice -message nothing DIR/backup", 1, "hint: -list shows all"},
		{"restore -user alice -message <2@x> -to Restored DIR/backup", 0, "imported 1 message, 73 bytes, into 1 folder of alice\n"},
		{"restore -user alice -message b -all DIR/backup", 0, "there already: 2"},
		{"gone alice", 0, ""},
		{"user del alice", 0, ""},
		{"restore -user alice DIR/backup", 1, "letterbox: a restore brings back mail, and there is no user alice in DIR/data/users\nhint: first letterbox user add alice, or, with the old passwords, add the line that begins with alice: in DIR/backup/"},
		{"user add alice", 0, ""},
		{"restore -user alice DIR/backup", 0, "imported 2 messages, 0 bytes, into 1 folder of alice; mail programs that knew it elsewhere download nothing again\n"},
	} {
		if pattern, ok := strings.CutPrefix(step.args, "gone "); ok {
			gone(pattern)
			continue
		}
		args := strings.Fields(strings.ReplaceAll(step.args, "DIR", dir))
		code, said := cmdTest(t, "secret\n", append(args, "-config", path)...)
		if code != step.code || !strings.Contains(said, strings.ReplaceAll(step.said, "DIR", dir)) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", step.args, code, step.code, step.said, said)
		}
		if rest, ok := strings.CutPrefix(said, "snapshot "); ok {
			snapshot, _, _ = strings.Cut(rest, ": ")
		}
	}
	for name, want := range map[string]string{"users": "alice:", "config.toml": "[listen]", "mail/.letterbox/ca.key": "secret"} {
		text, err := os.ReadFile(filepath.Join(snapshot, name))
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if info, err := os.Stat(filepath.Join(snapshot, name)); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Join(snapshot, "mail/.letterbox/clock.tmp1.1")); err == nil {
		t.Error("a temporary file is in the snapshot")
	}
	if out, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || !strings.HasSuffix(string(out), "X-Keywords: \n\n") {
		t.Errorf("%q, %v", out, err)
	}
}

// What others have called their files and folders does not reach the terminal as it is.
func TestCmdPlain(t *testing.T) {
	var out bytes.Buffer
	newCmdProgress(&out).failed("a\x1b[2J/b", fmt.Errorf("open a\x1b[2J: %w", os.ErrPermission))
	if got := out.String(); got != "not read: a?[2J/b: open a?[2J: permission denied\n" {
		t.Errorf("%q", got)
	}
	if got := cmdProgressLine(&transferCounts{folder: "a\x1b]b"}); !strings.HasSuffix(got, "a?]b") {
		t.Errorf("%q", got)
	}
}

// Who has an own folder called as the others' are is told of it; where it hides nothing, not.
func TestCmdCheckShadow(t *testing.T) {
	for imap, findings := range map[string]int{"": 2, "shared = \"Others\"": 0, "shared = \"\"": 0, "prefix = \"INBOX.\"\nseparator = \".\"": 0} {
		path := cmdTestConfig(t, "[imap]\n"+imap+"\n")
		mail := filepath.Join(filepath.Dir(path), "data/mail")
		testLayOut(t, mail, map[string]string{"alice/cur/": "", "alice/.Shared/cur/": "", "bob/cur/": "", "bob/.Shared.x/cur/": "", "carol/cur/": "", "carol/.Sharedx/cur/": ""})
		for _, user := range []string{"alice", "bob", "carol"} {
			if code, said := cmdTest(t, "secret\n", "user", "add", "-config", path, user); code != 0 {
				t.Fatal(said)
			}
			_, said := cmdTest(t, "", "check", "-config", path)
			if n := strings.Count(said, "has an own folder Shared, and so sees no folders that others share\nhint: rename it"); user == "alice" && n > 0 || user == "carol" && n != findings {
				t.Errorf("%s: %d, want %d:\n%s", imap, n, findings, said)
			}
		}
	}
}

// The manual page, which comes with the packages, names every subcommand and every option.
func TestCmdManual(t *testing.T) {
	page, err := os.ReadFile("dist/letterbox.8")
	must(t, err)
	for name := range cmdCommands {
		if !strings.Contains(string(page), "\n.B "+name) && !strings.Contains(string(page), "\n.B letterbox "+name) {
			t.Errorf("dist/letterbox.8 has no %s", name)
		}
	}
	for name, define := range cmdOptions {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		define(&cmdLine{}, flags)
		flags.VisitAll(func(f *flag.Flag) {
			if !strings.Contains(strings.ReplaceAll(string(page), "\\", ""), "-"+f.Name) {
				t.Errorf("dist/letterbox.8 has no -%s of %s", f.Name, name)
			}
		})
	}
}
