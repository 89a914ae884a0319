package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/term"
)

// letterbox setup asks what a new box must know, or takes it from flags, and writes it down. A file that
// is there is changed in the values that differ, and in nothing else.

// cmdSetupQuestions are asked in this order; each can be answered by a flag, too.
var cmdSetupQuestions = []cmdSetupQuestion{
	{"hostname", "The name of this box", "", cmdSetupHostname, (*cmdSetting).takeHostname, false},
	{"domains", "Domains whose mail is for this box, besides its name", "none, or some like: example.org example.net",
		cmdSetupDomains, (*cmdSetting).takeDomains, false},
	{"trust", "Who may drop mail without a login", "home: the home network; machine: this machine only; or networks like 192.168.1.0/24",
		cmdSetupTrust, (*cmdSetting).takeTrust, false},
	{"ports", "Which ports", "low: the usual ones, 25, 143, 993, which need root or the systemd unit; high: 2525, 2143, 2993, which need nothing",
		cmdSetupPorts, (*cmdSetting).takePorts, false},
	{"data", "Where the mail and the users' names lie", "a directory", cmdSetupData, (*cmdSetting).takeData, false},
	{"spool", "Where cron and other programs leave mail while the server is away", "a directory that all users of this box can reach; beside: next to the mail",
		cmdSetupSpool, (*cmdSetting).takeSpool, true},
	{"admins", "Who may administrate the box on its page", "none, or users like: alice bob; who is not there yet is added below, or by -add",
		cmdSetupAdmins, (*cmdSetting).takeAdmins, false},
}

type cmdSetupQuestion struct {
	flag, text, words string
	present           func(s *cmdSetting) string
	take              func(s *cmdSetting, answer string) error // the error is the reason why it is asked again
	quiet             bool                                     // it has an answer that does for nearly all: only its flag has another
}

// cmdSetupFlags are the questions' flags, and more.
func cmdSetupFlags(line *cmdLine, flags *flag.FlagSet) {
	line.setup = map[string]string{}
	answer := func(name string) func(string) error {
		return func(value string) error { line.setup[name] = value; return nil }
	}
	for _, q := range cmdSetupQuestions {
		flags.Func(q.flag, "", answer(q.flag))
	}
	flags.Func("add", "", answer("add"))
	flags.BoolFunc("yes", "", answer("yes"))
}

// cmdSetupTalk is the other end of the conversation; nil: there are flags instead.
type cmdSetupTalk struct {
	in     *bufio.Reader
	secret func(prompt string) (string, error) // reads what is not shown
	draws  bool                                // it shows colours
}

// cmdSetting is a configuration that is being found out.
type cmdSetting struct {
	*cmdChecking // says what is to be said
	line         *cmdLine
	talk         *cmdSetupTalk
	file         string // to be written
	fresh        bool   // it is not there yet
	text         string
	old          *config // what it says now, paths as they are written
	changes      []configChange
}

// cmdSetup is a conversation on a terminal.
func cmdSetup(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	if len(line.setup) > 0 {
		return cmdSetupRun(line, nil)
	}
	fd := int(line.stdin.Fd())
	if !term.IsTerminal(fd) {
		return cmdWrong("setup asks on a terminal; without one, answer by flags:\n" + cmdSetupHelp())
	}
	out, ok := line.stdout.(*os.File)
	return cmdSetupRun(line, &cmdSetupTalk{in: bufio.NewReader(line.stdin), draws: ok && term.IsTerminal(int(out.Fd())),
		secret: func(prompt string) (string, error) {
			old, err := term.MakeRaw(fd)
			if err != nil {
				return "", err
			}
			defer term.Restore(fd, old)
			return term.NewTerminal(cmdTerminal{line.stdin, line.stdout}, "").ReadPassword(prompt)
		}})
}

// cmdSetupHelp says which flags there are.
func cmdSetupHelp() string {
	var b strings.Builder
	for _, q := range cmdSetupQuestions {
		fmt.Fprintf(&b, "  -%-9s %s", q.flag, q.text)
		if q.words != "" {
			fmt.Fprintf(&b, " (%s)", q.words)
		}
		b.WriteByte('\n')
	}
	return b.String() + "  -add       Users to be added, each with a random password that is shown once\n" +
		"  -yes       Everything that is not given stays as it is, or is as usual"
}

// cmdSetupRun does the whole.
func cmdSetupRun(line *cmdLine, talk *cmdSetupTalk) error {
	s := &cmdSetting{cmdChecking: &cmdChecking{out: line.stdout}, line: line, talk: talk}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.askAll(); err != nil {
		return err
	}
	c, err := s.write()
	if err != nil {
		return err
	}
	if err := serverMakeStorage(c); err != nil {
		return err
	}
	if err := s.users(c); err != nil {
		return err
	}
	s.ok("")
	s.ports(c)
	s.box(c)
	s.end(c)
	if s.err == nil && s.findings > 0 {
		return errCmdFindings // the box is set up, and something is in its way
	}
	return s.err
}

// begin reads the file that is to be changed, or begins a new one where it will be found.
func (s *cmdSetting) begin() error {
	name, text, err := configRead(s.line.config)
	switch {
	case err == nil && name != configEmbeddedName:
		s.file, s.text = name, text
	case err == nil:
		s.fresh, s.file = true, configPlaces[0]
		if os.Geteuid() == 0 {
			s.file = configPlaces[len(configPlaces)-1]
		}
	case errors.Is(err, fs.ErrNotExist):
		s.fresh, s.file = true, s.line.config
	default:
		return err
	}
	if s.fresh {
		s.text = cmdSetupHead
	} else if _, err := configMake(s.file, s.text, serverCapabilities()); err != nil {
		return err // what is wrong comes first
	}
	var findings []configFinding
	if s.old, findings = configParse(s.text); len(findings) > 0 {
		return &configError{s.file, findings}
	}
	if s.talk != nil { // not after all has been answered
		if err := serverMayWriteConfig(s.file); err != nil {
			return err
		}
	}
	if s.fresh {
		s.ok("This will be written to %s.", s.file)
	} else {
		s.ok("%s is there; what it says is offered, and what you don't change stays as it is.", s.file)
	}
	return s.err
}

const cmdSetupHead = "# Letterbox. What is not here is as usual. All settings are explained in config.toml of the source,\n" +
	"# which packages have in /usr/share/doc/letterbox. After a change: letterbox check, then systemctl reload letterbox.\n\n"

// askAll gets an answer to every question.
func (s *cmdSetting) askAll() error {
	for _, q := range cmdSetupQuestions {
		present := q.present(s)
		if s.talk == nil || q.quiet {
			answer, given := s.line.setup[q.flag]
			if !given {
				answer = present
			}
			if err := q.take(s, strings.TrimSpace(answer)); err != nil {
				return cmdWrong(fmt.Sprintf("-%s: %v", q.flag, err))
			}
			continue
		}
		if q.words != "" {
			s.ok("\n%s?\n  (%s)", q.text, q.words)
		} else {
			s.ok("\n%s?", q.text)
		}
		err := s.askUntil(present, func(answer string) error { return q.take(s, answer) })
		if err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 && s.old.user == "" && serverIsAccount(cmdSetupAccount) && serverIsTheirs(s.full(s.mail()), cmdSetupAccount) {
		s.set("", "user", cmdSetupAccount)
	}
	return nil
}

const cmdSetupAccount = "letterbox" // the service's, as packages make it

var errCmdSetupEnd = errors.New("the input has ended, nothing was changed")

// askUntil asks until an answer can be taken. An empty one is the present one.
func (s *cmdSetting) askUntil(present string, take func(answer string) error) error {
	for {
		if _, err := fmt.Fprintf(s.out, "[%s] ", present); err != nil {
			return err
		}
		answer, err := s.talk.in.ReadString('\n')
		if err == io.EOF && answer == "" {
			return errCmdSetupEnd
		} else if err != nil && err != io.EOF {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = present
		}
		if err := take(answer); err == nil {
			return s.err
		} else if s.ok("%v", err); s.err != nil {
			return s.err
		}
	}
}

// set notes a value that differs from what the file says.
func (s *cmdSetting) set(section, name string, value any) {
	if reflect.DeepEqual(reflect.ValueOf(configKeyOf(section, name).field(s.old)).Elem().Interface(), value) {
		return
	}
	change := configChange{section: section, name: name, value: value}
	if s.fresh {
		change.comment = cmdSetupComments[name]
	}
	s.changes = append(s.changes, change)
}

// cmdSetupComments explain what a new file has.
var cmdSetupComments = map[string]string{
	"hostname":         "The name of this box.",
	"domains":          "Mail for these domains is for this box's users, besides that for its name.",
	"user":             "Started by root, it becomes this user once its ports are open.",
	"smtp":             "The usual ports: of mail from devices, and of people's programs.",
	"path":             "A Maildir for each user.",
	"users":            "Names and hashed passwords.",
	"spool":            "What cron and other programs leave while the server is away. All users must reach it.",
	"admins":           "Who adds users and sets passwords on the page.",
	"trusted_networks": "Who may send to this box's users without a login.",
	"networks":         "Who may see the page that tells phones what to type.",
}

// write puts the changes into the file and gives what it says then.
func (s *cmdSetting) write() (*config, error) {
	if len(s.changes) == 0 && !s.fresh {
		s.ok("\n%s stays as it is.", s.file)
		return configMake(s.file, s.text, serverCapabilities())
	}
	text, err := configEdit(s.text, s.changes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.file, err)
	}
	c, err := configMake(s.file, text, serverCapabilities())
	if err != nil {
		return nil, err
	}
	s.ok("\n%s:", s.file)
	for _, change := range s.changes {
		was := ""
		if !s.fresh {
			value := reflect.ValueOf(configKeyOf(change.section, change.name).field(s.old)).Elem().Interface()
			was = "   (was " + configTOML(value) + ")"
		}
		s.ok("  %s%s", change, was)
		if change.section == "storage" && change.name == "path" && !s.fresh {
			s.ok("    mail that lies in %s stays there; move it, while the server is stopped", s.old.storage.path)
		}
	}
	if len(s.changes) == 0 {
		s.ok("  all is as usual")
	}
	if s.talk != nil {
		s.ok("Write it? (yes or no)")
		err := s.askUntil("yes", func(answer string) error {
			switch strings.ToLower(answer) {
			case "yes", "y":
				return nil
			case "no", "n":
				s.file = ""
				return nil
			}
			return errors.New("write yes or no")
		})
		if err != nil {
			return nil, err
		}
		if s.file == "" {
			return nil, errors.New("nothing was changed")
		}
	}
	return c, serverWriteConfig(s.file, text)
}

// users adds users: those of -add, or as long as names are given.
func (s *cmdSetting) users(c *config) error {
	path := c.storage.users
	if s.talk == nil {
		for _, name := range cmdSetupList(s.line.setup["add"]) {
			if err := s.addUser(path, name, ""); errors.Is(err, errAuthExists) {
				s.ok("%s is there already", name)
			} else if err != nil {
				return cmdUserError(err, name, path)
			}
		}
		return s.err
	}
	names, err := authList(path)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		s.ok("\nUsers: %s", strings.Join(names, " "))
	} else {
		s.ok("\nThere are no users yet. If you add none, the first start makes one.")
	}
	for more := true; more && err == nil; {
		s.ok("A user to be added?")
		err = s.askUntil("no more", func(answer string) error {
			if more = answer != "no more"; !more {
				return nil
			}
			name, err := authName(answer)
			if err != nil {
				return err
			}
			if err := cmdUserKnown(path, "add", name); err != nil {
				return err
			}
			password, err := s.password(name)
			if err != nil {
				return err
			}
			return s.addUser(path, name, password)
		})
	}
	if errors.Is(err, errCmdSetupEnd) {
		return nil // the rest is done
	}
	return err
}

// password asks for one twice; an empty one stands for a random one.
func (s *cmdSetting) password(name string) (string, error) {
	first, err := s.talk.secret("password for " + name + " (empty: a random one): ")
	if err == io.EOF { // Ctrl-C, Ctrl-D
		err = errors.New("no password was given")
	}
	if err != nil || first == "" {
		return "", err
	}
	again, err := s.talk.secret("the same again: ")
	if err == nil && first != again {
		err = errors.New("the two passwords differ; once more, the name first")
	}
	return first, err
}

// addUser adds a user. A random password is shown, this once.
func (s *cmdSetting) addUser(path, name, password string) error {
	random := password == ""
	if random {
		password = authRandomPassword()
	}
	if err := authAdd(path, name, password); err != nil {
		return err
	}
	if random {
		s.ok("added %s, password %s (it is not shown again)", name, password)
	} else {
		s.ok("added %s", name)
	}
	return nil
}

// cmdSetupOutside are the directories in which the server writes and which dist/letterbox.service does not have.
func cmdSetupOutside(c *config) (outside []string) {
	for _, dir := range []string{c.storage.path, filepath.Dir(c.storage.users), c.spool()} {
		if !strings.HasPrefix(dir+"/", "/var/lib/letterbox/") && dir != "/var/spool/letterbox" && !slices.Contains(outside, dir) {
			outside = append(outside, dir)
		}
	}
	return outside
}

// end says how it goes on.
func (s *cmdSetting) end(c *config) {
	if s.findings > 0 {
		s.ok("findings: %d; after you have dealt with them: letterbox check", s.findings)
	}
	if page := serverPageURL(c); page != "" {
		s.ok("\nWhat to type into phones and mail programs is told, once the server runs, by\n    %s", page)
		if s.talk != nil && s.talk.draws {
			s.ok("%s", serverPageQR(c))
		}
	}
	switch _, err := os.Stat("/run/systemd/system"); {
	case err == nil && s.file == configPlaces[len(configPlaces)-1]:
		if outside := cmdSetupOutside(c); len(outside) > 0 {
			s.ok("\nThe unit lets the server write below /var/lib/letterbox and in /var/spool/letterbox alone. Before you start it: systemctl edit letterbox, and there"+
				"\n    [Service]\n    ReadWritePaths=%s\n", strings.Join(outside, " "))
		}
		s.ok("To start it, or to have it take what has changed: systemctl restart letterbox")
	default:
		s.ok("To start it: letterbox -config %s; one that runs takes the changes by SIGHUP, and new directories when it is started anew", s.file)
	}
}
