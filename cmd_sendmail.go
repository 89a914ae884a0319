package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// What programs call sendmail: they hand over a message, with options that sendmail(8)
// has had for decades. The server takes it by SMTP; while it is away, the message goes into the spool.

// The exit statuses of sysexits.h, which programs know.
const (
	cmdExUsage    = 64 // EX_USAGE
	cmdExData     = 65 // EX_DATAERR
	cmdExNoUser   = 67 // EX_NOUSER
	cmdExRefused  = 69 // EX_UNAVAILABLE
	cmdExTempFail = 75 // EX_TEMPFAIL
	cmdExConfig   = 78 // EX_CONFIG
)

// cmdExit is an end with a status of its own.
type cmdExit struct {
	status int
	text   string // lines
}

func (e cmdExit) Error() string { return e.text }

// cmdCalled makes a command line of what the program was called with. By the name of sendmail it
// is sendmail.
func cmdCalled(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	if filepath.Base(args[0]) == "sendmail" {
		return append([]string{"sendmail"}, args[1:]...)
	}
	return args[1:]
}

// cmdSendmailOptions is what a command line of sendmail asks for.
type cmdSendmailOptions struct {
	config string
	mode   string // of -b
	header bool   // -t: recipients are in the header
	dots   bool   // a line with a dot ends the message
	name   string // -F
	sender *string
	to     []string
}

// The options that take a value, and those that don't. Only those that cmdSendmailOption knows mean
// something; the others are for other mail servers and are ignored.
const (
	cmdSendmailValued = "ABCDFLMNORVXbefhopr"
	cmdSendmailPlain  = "GITUcdgimnqstvx"
)

// cmdSendmailParse reads options as getopt does. They end at the first recipient.
func cmdSendmailParse(args []string) (*cmdSendmailOptions, error) {
	o := &cmdSendmailOptions{mode: "m", dots: true}
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			args = args[1:]
			break
		} else if len(arg) < 2 || arg[0] != '-' {
			break
		}
		args = args[1:]
		if word, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "="); word == "config" {
			if !given && len(args) == 0 {
				return nil, cmdExit{cmdExUsage, "-config needs a file"}
			} else if !given {
				value, args = args[0], args[1:]
			}
			o.config = value
			continue
		}
		for i := 1; i < len(arg); i++ {
			switch option := arg[i]; {
			case option == 'q' || option == 'd': // what follows in the word is its value
				o.plain(option)
				i = len(arg)
			case strings.IndexByte(cmdSendmailPlain, option) >= 0:
				o.plain(option)
			case strings.IndexByte(cmdSendmailValued, option) >= 0:
				value := arg[i+1:]
				if value == "" && len(args) == 0 {
					return nil, cmdExit{cmdExUsage, fmt.Sprintf("-%c needs a value", option)}
				} else if value == "" {
					value, args = args[0], args[1:]
				}
				o.valued(option, value)
				i = len(arg)
			default:
				return nil, cmdExit{cmdExUsage, fmt.Sprintf("unknown option -%c", option)}
			}
		}
	}
	o.to = args
	return o, nil
}

func (o *cmdSendmailOptions) plain(option byte) {
	switch option {
	case 't':
		o.header = true
	case 'i':
		o.dots = false
	case 'I', 'q':
		o.mode = string(option)
	}
}

func (o *cmdSendmailOptions) valued(option byte, value string) {
	switch {
	case option == 'f' || option == 'r':
		o.sender = &value
	case option == 'F':
		o.name = value
	case option == 'b':
		o.mode = value
	case option == 'o' && strings.HasPrefix(value, "i"):
		o.dots = false
	}
}

// cmdSendmail hands a message to the server, or leaves it in the spool.
func cmdSendmail(line *cmdLine) error {
	o, err := cmdSendmailParse(line.args)
	if err != nil {
		return err
	}
	if o.config == "" {
		o.config = line.config
	}
	s := &cmdSending{line: line, options: o}
	if err := s.configure(); err != nil {
		return err
	}
	switch o.mode {
	case "m":
		return s.send()
	case "s":
		err := spoolTalk(s.config.listen.smtp, spoolOwners(s.spool), line.stdin, line.stdout)
		if errors.Is(err, errSpoolAway) { // RFC 5321, section 3.8
			fmt.Fprintf(line.stdout, "421 4.3.2 %s: the mail server is away, try again later\r\n", s.config.hostname)
		}
		if err != nil {
			return cmdExit{cmdExTempFail, err.Error()}
		}
		return nil
	case "i", "I": // newaliases: aliases are in the configuration
		return nil
	case "q":
		return nil // the server takes what waits by itself
	case "p":
		_, err := fmt.Fprintln(line.stdout, "What waits for the server is told by: letterbox check")
		return err
	}
	return cmdExit{cmdExUsage, fmt.Sprintf("-b%s is not for this program; the server is: letterbox serve", o.mode)}
}

// cmdSending is one message on its way.
type cmdSending struct {
	line    *cmdLine
	options *cmdSendmailOptions
	config  *config
	guessed bool // the configuration could not be read, so its domains are not known
	spool   string
	user    string // the name of who calls
	uid     int
	status  int
	said    []string
}

// configure finds out where the server is. Unlike for other subcommands ./config.toml means nothing: programs call sendmail in any
// directory, and the file there is another program's. Who may not read the configuration finds the server at its
// usual ports.
func (s *cmdSending) configure() error {
	path := s.options.config
	if path == "" {
		path = configInstalled
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			s.guess()
			return nil
		}
	}
	c, err := configLoad(path, serverCapabilities())
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.guess()
		return nil
	case err != nil:
		return cmdExit{cmdExConfig, err.Error()}
	}
	s.config, s.spool = c, c.spool()
	return nil
}

func (s *cmdSending) guess() {
	s.config, s.guessed, s.spool = configDefault(), true, configSpool
	s.config.hostname = configHostname()
	s.config.listen.smtp = []string{":25", ":2525"}
}

// tell notes what is to be said, and the exit status. The first status counts.
func (s *cmdSending) tell(status int, format string, args ...any) {
	if s.status == 0 {
		s.status = status
	}
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *cmdSending) send() error {
	s.uid = os.Getuid()
	s.user = spoolUser(s.uid)
	letter, err := spoolReadLetter(s.line.stdin, s.options.dots, int64(s.config.smtp.maxMessageSize))
	switch {
	case errors.Is(err, errSpoolSize):
		return cmdExit{cmdExRefused, fmt.Sprintf("the message is %v: %d bytes", err, int64(s.config.smtp.maxMessageSize))}
	case err != nil:
		return cmdExit{cmdExData, err.Error()}
	}
	e := spoolEnvelope{to: s.recipients(letter)}
	if e.from, err = s.sender(); err != nil {
		return err
	}
	author := e.from
	if author.isNull() {
		author = address{s.user, s.config.hostname}
	}
	letter.complete(s.author(), author, s.config.hostname, time.Now())
	if len(e.to) == 0 {
		s.tell(cmdExUsage, "no recipients")
	} else if len(e.to) > spoolMaxRecipients {
		return cmdExit{cmdExUsage, fmt.Sprintf("more than %d recipients", spoolMaxRecipients)}
	} else {
		s.deliver(e, letter)
	}
	if len(s.said) == 0 {
		return nil
	}
	return cmdExit{s.status, strings.Join(s.said, "\n")}
}

// recipients are those of the command line and, with -t, of the header.
func (s *cmdSending) recipients(letter *spoolLetter) []address {
	list, bad := addressList(strings.Join(s.options.to, ","))
	for _, text := range bad {
		s.tell(cmdExUsage, "%s: not a mail address", text)
	}
	if s.options.header {
		more, bad := letter.recipients()
		for _, text := range bad {
			s.tell(cmdExData, "%s: not a mail address", text)
		}
		list = append(list, more...)
		letter.hide()
	}
	var once []address
	seen := map[address]bool{}
	for _, a := range list {
		if !seen[a] {
			seen[a] = true
			once = append(once, a)
		}
	}
	return once
}

// sender is the user, or whom -f names.
func (s *cmdSending) sender() (address, error) {
	own := address{s.user, s.config.hostname}
	if s.options.sender == nil {
		return own, nil
	}
	text := strings.TrimSpace(*s.options.sender)
	if text == "" || text == "<>" {
		return address{}, nil
	}
	list, bad := addressList(text)
	if len(bad) > 0 || len(list) != 1 {
		return own, cmdExit{cmdExUsage, fmt.Sprintf("-f %s: not a mail address", text)}
	}
	claimed := list[0]
	if claimed.domain == "" {
		claimed.domain = s.config.hostname
	}
	who := s.user
	if s.uid == 0 {
		who = ""
	}
	from := spoolSender(claimed, who, s.config.hostname, s.ours)
	if from != claimed {
		fmt.Fprintf(s.line.stderr, "sendmail: -f %s: only root sends as another user of this box; the sender is %s\n", text, from)
	}
	return from, nil
}

// author is the name in From, where the message has none.
func (s *cmdSending) author() string {
	if s.options.name != "" {
		return s.options.name
	}
	if name := os.Getenv("NAME"); name != "" {
		return name
	}
	account, err := user.LookupId(fmt.Sprint(s.uid))
	if err != nil {
		return ""
	}
	return account.Name
}

// ours tells whether a domain is this box's.
func (s *cmdSending) ours(domain string) bool {
	d := newDeliverer(deliverSettings{hostname: s.config.hostname, domains: s.config.domains, log: slog.New(slog.DiscardHandler)})
	return d.isOurs(domain)
}

// deliver gives the message to the server, and what it does not take now to the spool.
func (s *cmdSending) deliver(e spoolEnvelope, letter *spoolLetter) {
	refused, left, why := spoolSend(s.config.listen.smtp, spoolOwners(s.spool), s.config.hostname, e, letter)
	for _, r := range refused {
		s.tell(cmdSendmailStatus(r.text), "%s: %s", r.to, r.text)
	}
	e.to = nil
	for _, a := range left {
		if !s.guessed && !s.ours(a.domain) {
			s.tell(cmdExRefused, "%s: this box delivers to its own users only", a)
			continue
		}
		e.to = append(e.to, a)
	}
	if len(e.to) == 0 {
		return
	}
	err := spoolPut(s.spool, e, letter)
	if err == nil {
		return
	}
	s.status = cmdExTempFail // what comes again may reach some twice, but nobody never
	s.tell(cmdExTempFail, "%v, and the spool takes nothing: %v", why, err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		s.tell(cmdExTempFail, "hint: the server makes the spool when it starts; all users must reach it ([storage] spool)")
	}
}

// cmdSendmailStatus is the exit status for a refusal by the server.
func cmdSendmailStatus(text string) int {
	switch code, _, _ := strings.Cut(text, " "); code {
	case "5.1.1": // RFC 3463, section 3.2
		return cmdExNoUser
	case "5.1.3", "5.1.7":
		return cmdExData
	}
	return cmdExRefused
}
