package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A server under test is known through its adaptor only, an executable with the
// verbs that README.md describes. The ones in servers/ are part of the binary.
//
//go:embed servers
var builtinAdaptors embed.FS

// password is every user's password.
const password = "testpass"

// adaptorTimeout bounds one call of an adaptor, buildTimeout one that may have to
// build the server.
const (
	adaptorTimeout = time.Minute
	buildTimeout   = 15 * time.Minute
)

// server is one instance of a server, with a directory and mail of its own.
type server struct {
	label   string // "A", "B"
	name    string // the adaptor's name
	version string
	adaptor string // path of the executable
	dir     string // what the adaptor calls DIR
	corpus  *corpus

	// What start printed.
	pid                    int
	imap, pop3, lmtp, smtp string // addresses; empty: not offered

	limited *memoryLimit // nil: by nothing

	uid, gid int             // who owns the mail
	pristine string          // this server's own copy of the corpus
	users    map[string]bool // those that exist
	open     []*conn         // closed at the end of a turn

	mu     sync.Mutex // one call of the adaptor at a time
	closed bool       // guarded by mu; no call any more

	launched *exec.Cmd     // guarded by mu; what launch started last
	ended    chan struct{} // guarded by mu; closed when that has ended
}

// newServer finds the adaptor called name and makes the server's directory below
// run. A name with a slash is the path of an adaptor.
func newServer(label, name, run string, c *corpus) (*server, error) {
	s := &server{label: label, name: filepath.Base(name), corpus: c, users: map[string]bool{}}
	s.dir = filepath.Join(run, strings.ToLower(label)+"-"+s.name)
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	if strings.Contains(name, "/") {
		path, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		s.adaptor = path
	} else {
		b, err := builtinAdaptors.ReadFile("servers/" + name)
		if err != nil {
			return nil, fmt.Errorf("no adaptor %q; there are dovecot and letterbox, or give a path with a slash in it", name)
		}
		s.adaptor = filepath.Join(run, "adaptor-"+label+"-"+name)
		if err := os.WriteFile(s.adaptor, b, 0o755); err != nil {
			return nil, err
		}
	}
	version, err := s.call("check")
	s.version = strings.TrimSpace(version)
	return s, err
}

// call runs a verb of the adaptor and returns what it printed.
func (s *server) call(verb string, args ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errors.New("interrupted")
	}
	limit := adaptorTimeout
	if verb == "check" || verb == "size" {
		limit = buildTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	line := s.line(verb, args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A group of its own, so that Ctrl-C reaches us alone and we stop the servers in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A server that keeps our pipes open does not hold us up.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", fmt.Errorf("%s %s: %w: %s", s.name, verb, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// line returns the command line for a verb. What may start the server runs in its limit.
func (s *server) line(verb string, args ...string) []string {
	line := append([]string{s.adaptor, verb, s.dir}, args...)
	if s.limited != nil && (verb == "start" || verb == "exec" || verb == "reset") {
		line = s.limited.wrap(line)
	}
	return line
}

// start starts the server, or asks the running one where it is.
func (s *server) start() error {
	out, err := s.call("start")
	if err != nil {
		return err
	}
	if err := s.place(out); err != nil {
		return fmt.Errorf("%s start: %w", s.name, err)
	}
	return nil
}

// place notes where the server is, from what start or exec printed.
func (s *server) place(out string) error {
	v, err := parseStart(out)
	if err != nil {
		return err
	}
	s.pid, _ = strconv.Atoi(v["pid"])
	s.imap, s.pop3, s.lmtp, s.smtp = v["imap"], v["pop3"], v["lmtp"], v["smtp"]
	return nil
}

// launch has the adaptor become the server and returns the milliseconds from the exec to
// the first line of an IMAP greeting. The server goes on running.
func (s *server) launch() float64 {
	line := s.line("exec")
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, in, err := os.Pipe()
	must(err)
	defer out.Close()
	cmd.Stdout = in
	err = s.begin(cmd)
	in.Close()
	must(err)
	where, err := bufio.NewReader(out).ReadString('\n')
	began := time.Now() // the exec is what the adaptor does next
	if err == nil {
		err = s.place(where)
	}
	if err != nil {
		fail("%s exec: %w; see %s", s.name, err, s.dir)
	}
	s.awaitGreeting(began.Add(10 * time.Second))
	return float64(time.Since(began)) / float64(time.Millisecond)
}

// begin starts a server that is a child of ours.
func (s *server) begin(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("interrupted")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.launched, s.ended = cmd, ended
	go func() {
		cmd.Wait() // or it would stay a zombie when it is stopped
		close(ended)
	}()
	return nil
}

// awaitGreeting connects to a server that is just starting.
func (s *server) awaitGreeting(until time.Time) {
	for {
		nc, err := net.DialTimeout("tcp", s.imap, time.Second)
		if err == nil {
			defer nc.Close()
			nc.SetDeadline(until)
			l, err := bufio.NewReader(nc).ReadString('\n')
			must(err)
			if !strings.HasPrefix(l, "* OK") {
				fail("greeting: %s", l)
			}
			return
		}
		if time.Now().After(until) {
			fail("no greeting: %w", err)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// parseStart reads the words key=value that start prints. It insists on a pid, an
// IMAP address, and loopback addresses throughout.
func parseStart(out string) (map[string]string, error) {
	v := map[string]string{}
	for _, word := range strings.Fields(out) {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not key=value", word)
		}
		v[key] = value
	}
	if pid, err := strconv.Atoi(v["pid"]); err != nil || pid < 2 {
		return nil, fmt.Errorf("no usable pid in %q", out)
	}
	if v["imap"] == "" {
		return nil, fmt.Errorf("no imap address in %q", out)
	}
	for _, key := range []string{"imap", "pop3", "lmtp", "smtp"} {
		if v[key] == "" {
			continue
		}
		if err := loopbackOnly(v[key]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// close ends the server for good. Ending one that does not run is no error.
func (s *server) close() error {
	_, err := s.call("stop")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.launched != nil {
		err = errors.Join(err, s.endLaunched())
	}
	if s.limited != nil {
		err = errors.Join(err, s.limited.close())
	}
	return err
}

// endLaunched sees to it that what launch started is gone: an adaptor may not see a
// server in the moment of its exec. mu is held.
func (s *server) endLaunched() error {
	select {
	case <-s.ended:
		return nil
	default:
	}
	s.launched.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("%s: pid %d ignores SIGTERM", s.name, s.launched.Process.Pid), s.launched.Process.Kill())
	}
}

// dial connects to one of the server's addresses until the end of the turn.
func (s *server) dial(addr string, from net.IP) *conn {
	c := dial(addr, from)
	s.open = append(s.open, c)
	return c
}

// hangUp closes what a turn left open; most of it is closed by then.
func (s *server) hangUp() {
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
}

// setup gives the server its own copy of the corpus and starts it.
func (s *server) setup() error {
	if err := s.addUser("warmup"); err != nil {
		return err
	}
	dir, err := s.maildir("warmup")
	if err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	s.uid, s.gid = int(st.Uid), int(st.Gid)
	s.pristine = filepath.Join(s.dir, "pristine")
	if err := os.Mkdir(s.pristine, 0o755); err != nil {
		return err
	}
	if err := s.fill(s.pristine, filepath.Join(s.corpus.dir, "cur"), s.copyFile); err != nil {
		return fmt.Errorf("copying the corpus: %w", err)
	}
	if err := s.start(); err != nil {
		return err
	}
	return s.warmup()
}

// addUser makes a user with an empty INBOX, and waits until a running server lets
// him in: it may look at its user file only now and then.
func (s *server) addUser(user string) error {
	if s.users[user] {
		return nil
	}
	if _, err := s.call("adduser", user, password); err != nil {
		return err
	}
	s.users[user] = true
	if s.pid == 0 {
		return nil
	}
	var err error
	for range 10 {
		if err = try(func() { s.imapLogin(user).logout() }); err == nil {
			return nil
		}
		settle(500 * time.Millisecond)
	}
	return fmt.Errorf("a user just added: %w", err)
}

func (s *server) maildir(user string) (string, error) {
	out, err := s.call("maildir", user)
	return strings.TrimSpace(out), err
}

// addMailbox makes a user whose INBOX is the corpus. The files are links to the
// server's own copy; no server writes into a message.
func (s *server) addMailbox(user string) error {
	if s.users[user] {
		return nil
	}
	if err := s.addUser(user); err != nil {
		return err
	}
	dir, err := s.maildir(user)
	if err != nil {
		return err
	}
	return s.fill(filepath.Join(dir, "cur"), s.pristine, os.Link)
}

// addLarge makes a user whose INBOX has n messages: names of their own for the corpus's
// files, in turn. Where the file system takes no more links, a file is copied; copies
// says how many were.
func (s *server) addLarge(user string, n int) (copies int, err error) {
	if err := s.addUser(user); err != nil {
		return 0, err
	}
	dir, err := s.maildir(user)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(s.pristine)
	if err != nil {
		return 0, err
	}
	for i := range n {
		name := entries[i%len(entries)].Name()
		from, to := filepath.Join(s.pristine, name), filepath.Join(dir, "cur", anotherName(name, i/len(entries)))
		if os.Link(from, to) == nil {
			continue
		}
		if err := s.copyFile(from, to); err != nil {
			return copies, err
		}
		copies++
	}
	return copies, nil
}

// anotherName returns the k-th other name for the message called name.
func anotherName(name string, k int) string {
	seconds, rest, ok := strings.Cut(name, ".")
	if k == 0 || !ok {
		return name
	}
	return fmt.Sprintf("%s.L%d%s", seconds, k, rest)
}

// fill brings every file of src into dst.
func (s *server) fill(dst, src string, bring func(from, to string) error) error {
	d, err := os.Open(src)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return err
	}
	const workers = 2
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(names) && errs[w] == nil; i += workers {
				errs[w] = bring(filepath.Join(src, names[i]), filepath.Join(dst, names[i]))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// copyFile copies a message with its date and gives it to the owner of the mail.
func (s *server) copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if s.uid != os.Getuid() || s.gid != os.Getgid() {
		if err := os.Chown(to, s.uid, s.gid); err != nil {
			return err
		}
	}
	return os.Chtimes(to, fi.ModTime(), fi.ModTime())
}

// makeCold makes the next open of user's mailbox a cold one. The adaptor may have
// to restart the server for it, hence the start and the login of somebody else.
func (s *server) makeCold(user string) error {
	if _, err := s.call("reset", user); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	return s.warmup()
}

// restart stops the server and starts it again.
func (s *server) restart() error {
	if _, err := s.call("stop"); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	return s.warmup()
}

// warmup logs somebody else in and out, so that what a server does once for its
// first client is done.
func (s *server) warmup() error {
	defer s.hangUp()
	return try(func() {
		s.imapLogin("warmup").logout()
		if s.pop3 != "" {
			s.popLogin("warmup").quit()
		}
	})
}
