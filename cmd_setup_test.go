package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// cmdSetupTest is a conversation: lines are what is typed, secrets what is typed unseen.
func cmdSetupTest(path, lines string, secrets ...string) (*cmdSetting, *bytes.Buffer) {
	out := &bytes.Buffer{}
	line := &cmdLine{config: path, stdout: out, stderr: out}
	talk := &cmdSetupTalk{in: bufio.NewReader(strings.NewReader(lines)), draws: true, secret: func(string) (string, error) {
		secret := secrets[0]
		secrets = secrets[1:]
		return secret, nil
	}}
	return &cmdSetting{cmdChecking: &cmdChecking{out: out}, line: line, talk: talk}, out
}

// cmdSetupAnswers has the questions answered and the file written.
func cmdSetupAnswers(s *cmdSetting) error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.askAll(); err != nil {
		return err
	}
	_, err := s.write()
	return err
}

// cmdSetupText reads a file without what only a box with the service's account has.
func cmdSetupText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	said := strings.Replace(string(text), "# "+cmdSetupComments["user"]+"\nuser = \"letterbox\"\n", "", 1)
	return strings.TrimPrefix(strings.Replace(said, "user = \"letterbox\"\n", "", 1), cmdSetupHead)
}

// What is typed for a new box, and what is written then.
func TestCmdSetupNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "config.toml")
	s, out := cmdSetupTest(path, strings.Join([]string{"my pi", "Pi.", "@example.org", "example.org, example.net", "everybody", "192.168.1.0/24",
		"25", "low", "~/mail", "/etc/passwd/x", "a\x01b", "data", "Al ice!", "Alice", "perhaps", "yes", ""}, "\n"))
	must(t, cmdSetupAnswers(s))
	want := `# The name of this box.
hostname = "pi"
# Mail for these domains is for this box's users, besides that for its name.
domains = ["example.org", "example.net"]

[smtp]
# Who may send to this box's users without a login.
trusted_networks = ["loopback", "192.168.1.0/24"]

[web]
# Who may see the page that tells phones what to type.
networks = ["loopback", "private", "interfaces"]
# Who adds users and sets passwords on the page.
admins = ["alice"]

[listen]
# The usual ports: of mail from devices, and of people's programs.
smtp = [":25"]
submission = [":587"]
submissions = [":465"]
pop3 = [":110"]
pop3s = [":995"]
imap = [":143"]
imaps = [":993"]
http = [":80"]
https = [":443"]
`
	if os.Geteuid() == 0 { // whose data is below a directory that is closed to others
		want += "\n[storage]\n# What cron and other programs leave while the server is away. All users must reach it.\nspool = \"data-spool\"\n"
	}
	if got := cmdSetupText(t, path); got != want {
		t.Errorf("it has written\n%s\nwant\n%s", got, want)
	}
	for _, reason := range []string{`"my pi" is no host's name`, `"@example.org" is no domain`, `"everybody" is no network`, "write low or high",
		"~/mail: write the directory in full", "/etc/passwd is a file", `"a\x01b": no directory`, `"ice!" is not a user name`, "write yes or no", "[home] ", "[none] "} {
		if !strings.Contains(out.String(), reason) {
			t.Errorf("it does not say %q:\n%s", reason, out)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Again, with nothing but the Enter key.
	before, err := os.ReadFile(path)
	must(t, err)
	info, _ := os.Stat(path)
	s, out = cmdSetupTest(path, strings.Repeat("\n", 6))
	must(t, cmdSetupAnswers(s))
	after, err := os.ReadFile(path)
	must(t, err)
	if now, _ := os.Stat(path); !bytes.Equal(before, after) || !os.SameFile(now, info) || !strings.Contains(out.String(), "stays as it is") {
		t.Errorf("it has changed the file:\n%s\n%s", after, out)
	}
	for _, present := range []string{"[pi] ", "[example.org example.net] ", "[loopback 192.168.1.0/24] ", "[low] ", "[data] ", "[alice] "} {
		if !strings.Contains(out.String(), present) {
			t.Errorf("it does not offer %s:\n%s", present, out)
		}
	}
}

// A file that somebody has written, with each question answered otherwise in turn. A line that begins with
// - or + is one that goes or comes.
func TestCmdSetupAgain(t *testing.T) {
	const file = "\ufeff# my box\r\nhostname = 'nas'  # of the cellar\r\n[listen]\r\nsmtp = [ \":25\", \":2526\" ]\r\npop3 = []\r\nsubmission=[\"127.0.0.1:587\"]\r\n" +
		"submissions = []\r\npop3s = [] # nobody\r\nimap = []\r\nimaps = [\"[::1]:993\"]\r\nhttp = []\r\nhttps = []\r\n[storage]\r\npath = \"/srv/m\"\r\nusers = \"/srv/u\"\r\n"
	for _, test := range []struct{ name, answers, want string }{
		{"as it is", "\n\n\n\n\n\n", ""},
		{"name", "box\n\n\n\n\n\nyes\n", "-hostname = 'nas'  # of the cellar +hostname = \"box\"  # of the cellar"},
		{"the same name", "NAS.\n\n\n\n\n\n\n", ""},
		{"domains", "\nexample.org\n\n\n\n\nyes\n", "+domains = [\"example.org\"]"},
		{"no domains", "\n-\n\n\n\n\n", ""},
		{"machine", "\n\nmachine\n\n\n\ny\n", "+[smtp] +trusted_networks = [\"loopback\"] + +[web] +networks = [\"loopback\", \"private\", \"interfaces\"] +"},
		{"high", "\n\n\nhigh\n\n\nyes\n", "-smtp = [ \":25\", \":2526\" ] +smtp = [\":2525\", \":2526\"] -submission=[\"127.0.0.1:587\"] +submission=[\"127.0.0.1:2587\"] " +
			"-imaps = [\"[::1]:993\"] +imaps = [\"[::1]:2993\"]"},
		{"data", "\n\n\n\n/tmp/none\n\nyes\n", "-path = \"/srv/m\" +path = \"/tmp/none/mail\" -users = \"/srv/u\" +users = \"/tmp/none/users\""},
		{"admins", "\n\n\n\n\nalice,bob\nyes\n", "+[web] +admins = [\"alice\", \"bob\"] +"},
		{"no", "box\n\n\n\n\n\nno\n", ""},
		{"the end", "box\n\n\n", ""},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		must(t, os.WriteFile(path, []byte(file), 0o640))
		s, out := cmdSetupTest(path, test.answers)
		err := cmdSetupAnswers(s)
		if fails := test.name == "no" || test.name == "the end"; (err != nil) != fails || fails && !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v\n%s", test.name, err, out)
		}
		var differ []string
		count := map[string]int{}
		for line := range strings.SplitSeq(file, "\r\n") {
			count[line]++
		}
		text := strings.Replace(string(cmdMust(os.ReadFile(path))(t)), "user = \"letterbox\"\r\n", "", 1)
		for line := range strings.SplitSeq(text, "\r\n") {
			count[line]--
		}
		for _, line := range append(strings.Split(file, "\r\n"), strings.Split(text, "\r\n")...) {
			for ; count[line] > 0; count[line]-- {
				differ = append(differ, "-"+line)
			}
			for ; count[line] < 0; count[line]++ {
				differ = append(differ, "+"+line)
			}
		}
		if !cmdSetupSame(differ, test.want) {
			t.Errorf("%s: %q, want %q", test.name, differ, test.want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v", test.name, info.Mode())
		}
	}
}

// cmdSetupSame tells whether these are the lines that want names, in any order.
func cmdSetupSame(lines []string, want string) bool {
	for _, line := range lines {
		if !strings.Contains(" "+want+" ", " "+line+" ") {
			return false
		}
		want = strings.TrimSpace(strings.Replace(" "+want+" ", " "+line+" ", " ", 1))
	}
	return want == ""
}

func cmdMust[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return value
	}
}

// The whole, users and check included, as scripts and as people do it.
func TestCmdSetup(t *testing.T) {
	path := cmdTestConfig(t, "")
	before, err := os.ReadFile(path)
	must(t, err)
	for _, step := range []struct {
		args string
		code int
		said string
	}{
		{"", 2, "without one, answer by flags:\n  -hostname"},
		{"me", 2, `what is "me"?`},
		{"-trust everybody", 2, "-trust: \"everybody\" is no network"},
		{"-ports 25", 2, "-ports: write low or high"},
		{"-yes", 0, path + " stays as it is."},
		{"-add ../x", 1, "not a user name"},
		{"-add alice,bob", 0, "added bob, password "},
		{"-yes -add alice", 0, "alice is there already"},
		{"-ports low", 0, "stays as it is"}, // no service is on
		{"-admins dave", 1, "dave is to administrate the box, and is no user of it"},
		{"-admins none", 0, "  [web] admins = []   (was [\"dave\"])"},
		{"-spool out -add alice", 0, "  [storage] spool = \"out\"   (was \"\")"},
		{"-spool data", 2, "-spool: data: all users will write there"},
		{"-spool data/mail/spool", 2, "-spool: data/mail/spool: all users"},
		{"-spool beside", 0, "  [storage] spool = \"\"   (was \"out\")"},
		{"-hostname nas", 0, "  hostname = \"nas\"   (was \"\")"},
		{"-domains none", 0, "no findings"},
	} {
		code, said := cmdTest(t, "", append([]string{"setup", "-config", path}, strings.Fields(step.args)...)...)
		if step.said == "no findings" {
			step.said = "users: 2 in"
		}
		if code != step.code || !strings.Contains(said, step.said) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", step.args, code, step.code, step.said, said)
		}
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(path), "out")); err != nil || info.Mode() != os.ModeDir|spoolMode {
		t.Errorf("the spool: %v, %v", info, err)
	}
	if text := string(cmdMust(os.ReadFile(path))(t)); strings.Replace(strings.Replace(strings.Replace(text, "hostname = \"nas\"\n", "", 1), "\n[storage]\nspool = \"\"\n", "", 1), "\n[web]\nadmins = []\n", "", 1) != string(before) && !serverIsAccount(cmdSetupAccount) {
		t.Errorf("%s", text)
	}

	// A conversation about users. The password of carol is typed wrong at first.
	s, out := cmdSetupTest(path, "\n\n\n\n\n\nCarol\ncarol\nalice\n..\ndave\n\n", "secret", "sekret", "secret", "secret", "")
	if err := cmdSetupRun(s.line, s.talk); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"Users: alice bob\n", "the two passwords differ", "added carol\n", "alice: the user exists already", "added dave, password "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "secret") || strings.Contains(out.String(), "\x1b[") {
		t.Errorf("a password, or a code of no page:\n%s", out)
	}
	// What is wrong in the file comes first.
	bad := cmdTestConfig(t, "[smtp]\nmax_sise = \"1MiB\"\n")
	if code, said := cmdTest(t, "", "setup", "-config", bad, "-yes"); code != 1 || !strings.Contains(said, bad+":12: unknown key") {
		t.Errorf("%d: %s", code, said)
	}
}

// What root makes belongs to the server's user.
func TestCmdSetupRoot(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if os.Geteuid() != 0 || err != nil {
		t.Skip("needs root, and the account nobody")
	}
	path := cmdTestConfig(t, "")
	text := cmdMust(os.ReadFile(path))(t)
	must(t, os.WriteFile(path, append([]byte("user = \"nobody\"\n"), text...), 0o600))
	dir := filepath.Join(filepath.Dir(path), "var/lib/box")
	must(t, os.Mkdir(filepath.Join(filepath.Dir(path), "var"), 0o755))
	if code, said := cmdTest(t, "", "setup", "-config", path, "-data", dir, "-spool", dir+"-spool", "-add", "alice"); code != 0 {
		t.Error(said)
	}
	for name, own := range map[string]bool{"": true, "mail": true, "users": true, "../box-spool": true, "..": true, "../..": false} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		if own && fmt.Sprint(stat.Uid) != nobody.Uid || !own && stat.Uid != 0 {
			t.Errorf("%s belongs to user id %d", name, stat.Uid)
		}
	}
	if code, said := cmdTest(t, "", "setup", "-config", path, "-hostname", "x"); code != 0 {
		t.Error(said)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// With a umask that shuts others out, the server's user finds its configuration all the same, and programs the spool.
func TestCmdSetupUmask(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	old := syscall.Umask(0o077)
	_, said := cmdTest(t, "", "setup", "-config", filepath.Join(dir, "etc/box/config.toml"), "-ports", "high", "-data", filepath.Join(dir, "data"), "-spool", filepath.Join(dir, "var/spool"), "-add", "alice")
	syscall.Umask(old)
	if !strings.Contains(said, "added alice") { // that its ports are free is not sure
		t.Error(said)
	}
	for path, want := range map[string]os.FileMode{"etc": 0o755, "etc/box": 0o755, "etc/box/config.toml": 0o644, "var": 0o755, "var/spool": 0o733, "data": 0o700, "data/users": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// Whose mail it is says whether the server may become another user; and what the unit must be told.
func TestCmdSetupPlaces(t *testing.T) {
	dir := t.TempDir()
	me := cmdMust(user.Current())(t)
	if !serverIsTheirs(filepath.Join(dir, "none"), "nobody") || !serverIsTheirs(dir, me.Username) || serverIsTheirs(dir, "nobody") && me.Username != "nobody" {
		t.Error("whose it is")
	}
	c := configDefault()
	for spool, want := range map[string]string{"/var/spool/letterbox": "", "": "", "/mnt/spool": "/mnt/spool"} {
		c.storage = configStorage{path: "/var/lib/letterbox/mail", users: "/var/lib/letterbox/users", spool: spool}
		if got := strings.Join(cmdSetupOutside(c), " "); got != want {
			t.Errorf("%s: %q", spool, got)
		}
	}
	c.storage = configStorage{path: "/mnt/disk/mail", users: "/mnt/disk/users", spool: "/mnt/disk-spool"}
	if got := strings.Join(cmdSetupOutside(c), " "); got != "/mnt/disk/mail /mnt/disk /mnt/disk-spool" {
		t.Error(got)
	}
}
