package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// cmdTransferFlags are those of import, export, backup and restore.
type cmdTransferFlags struct {
	user, folder, format, snapshot, message, to string

	ca, passwordFile string

	keep             int
	list, all, again bool
}

func cmdImportFlags(line *cmdLine, flags *flag.FlagSet) {
	flags.StringVar(&line.transfer.user, "user", "", "")
	flags.StringVar(&line.transfer.folder, "folder", "", "")
	flags.StringVar(&line.transfer.ca, "ca", "", "")
	flags.StringVar(&line.transfer.passwordFile, "password-file", "", "")
	flags.BoolVar(&line.transfer.again, "again", false, "")
}

// cmdImport brings mail in from elsewhere. A server that runs meanwhile shows it.
func cmdImport(line *cmdLine) error {
	if len(line.args) != 1 {
		return cmdWrong("import takes one source: a file, a directory, or imaps://user@host")
	}
	source, err := line.importSource(line.args[0])
	if err != nil {
		return err
	}
	c, job, err := line.transferJob()
	if err != nil {
		return err
	}
	defer job.st.close()
	if server, ok := source.(*transferIMAP); ok { // asked for last, when all else is right
		if server.password, err = line.oldPassword(line.args[0]); err != nil {
			return err
		}
	}
	return line.runImport(c, job, source)
}

func (l *cmdLine) importSource(text string) (transferSource, error) {
	if !strings.HasPrefix(text, "imap://") && !strings.HasPrefix(text, "imaps://") {
		if l.transfer.ca != "" || l.transfer.passwordFile != "" || l.transfer.again {
			return nil, cmdWrong("-ca, -password-file and -again are for imap:// and imaps://")
		}
		return transferSourceOf(text)
	}
	server, err := transferIMAPParse(text)
	if err == nil && l.transfer.ca != "" {
		err = server.trust(l.transfer.ca)
	}
	if err != nil {
		return nil, err
	}
	server.again = l.transfer.again
	return server, nil
}

// oldPassword asks for the password of an account elsewhere: on a terminal, else it is the first line of a file or of
// the standard input.
func (l *cmdLine) oldPassword(account string) (string, error) {
	in := l.stdin
	if l.transfer.passwordFile != "" {
		f, err := os.Open(l.transfer.passwordFile)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	} else if term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(l.stderr, "password for %s: ", account)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(l.stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		return string(text), nil
	}
	text, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	if text = strings.TrimRight(text, "\r\n"); text == "" {
		return "", errors.New("no password on the standard input\nhint: -password-file FILE, or run it on a terminal")
	}
	return text, nil
}

// runImport runs a job and tells how it went.
func (l *cmdLine) runImport(c *config, job *transferJob, source transferSource) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := newCmdProgress(l.stderr)
	job.tell, job.failed = progress.tell, progress.failed
	counts, err := job.run(ctx, source)
	progress.clear()
	if err != nil {
		err = cmdPlain{err}
	}
	if _, writeErr := fmt.Fprintln(l.stdout, cmdImported(job.user, counts)); err == nil {
		err = writeErr
	}
	switch {
	case errors.Is(err, errMailboxQuota), errors.Is(err, errTransferQuota):
		limits := serverQuotas(c)(job.user)
		return fmt.Errorf("%w: %s\nhint: set quota in [users.%s] of %s higher; the same command goes on then", err, cmdLimits(limits), job.user, c.name)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%w\nhint: if the server has a certificate authority of its own, give its certificate: -ca FILE", err)
	case ctx.Err() != nil:
		return errors.New("interrupted; the same command goes on with it")
	case err != nil && counts.staged:
		return fmt.Errorf("%w\nhint: the same command goes on with it; to give it up, remove %s", err, job.stage)
	case err != nil:
		return fmt.Errorf("%w\nhint: what is said above has come in; the same command goes on with the rest", err)
	case counts.failed > 0:
		return errCmdFindings
	}
	return nil
}

// transferJob prepares bringing mail in for the user of -user.
func (l *cmdLine) transferJob() (*config, *transferJob, error) {
	c, user, err := l.transferUser()
	if err != nil {
		return nil, nil, err
	}
	into := ""
	if l.transfer.folder != "" {
		if into, err = mailboxCleanName(l.transfer.folder); err != nil {
			return nil, nil, err
		}
	}
	st, err := serverOpenStore(c, logNew(l.stderr, slog.LevelWarn))
	if err != nil {
		return nil, nil, err
	}
	stage := filepath.Join(c.storage.path, serverDirectory, "stage", user)
	return c, &transferJob{st: st, user: user, stage: stage, into: into}, nil
}

// transferUser is whose mail it is about.
func (l *cmdLine) transferUser() (c *config, user string, err error) {
	if l.transfer.user == "" {
		return nil, "", cmdWrong("whose mail? -user NAME")
	}
	if user, err = authName(l.transfer.user); err != nil {
		return nil, "", err
	}
	if c, err = l.load(); err != nil {
		return nil, "", err
	}
	users, err := authList(c.storage.users)
	if err != nil {
		return nil, "", err
	}
	if !slices.Contains(users, user) {
		return c, user, cmdNoUser{user, c.storage.users}
	}
	return c, user, cmdIsOwner(c)
}

// cmdNoUser is about a user who is not there.
type cmdNoUser struct{ user, file string }

func (e cmdNoUser) Error() string {
	return fmt.Sprintf("there is no user %s in %s\nhint: letterbox user add %s", e.user, e.file, e.user)
}

// cmdIsOwner refuses to make files that the server could not read.
func cmdIsOwner(c *config) error {
	path := c.storage.path
	info, err := os.Stat(path)
	for errors.Is(err, os.ErrNotExist) && os.Getuid() == 0 && filepath.Dir(path) != path { // only root could make it where the server's user could not
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Getuid() {
		return nil
	}
	return fmt.Errorf("%s, where the mail is, belongs to user id %d, and this is user id %d\nhint: run it as that user: sudo -u '#%d' letterbox, and the rest of the line",
		path, stat.Uid, os.Getuid(), stat.Uid)
}

// cmdImported says what an import has done.
func cmdImported(user string, n *transferCounts) string {
	if n.staged {
		return fmt.Sprintf("prepared %s, %s, for %s; they come in when all are there", cmdMessages(n.imported+n.skipped), cmdSize(n.bytes), user)
	}
	text := fmt.Sprintf("imported %s, %s, into %s of %s", cmdMessages(n.imported), cmdSize(n.bytes), cmdFolders(len(n.folders)), user)
	if n.kept {
		text += "; mail programs that knew it elsewhere download nothing again"
	}
	if n.skipped > 0 {
		text += fmt.Sprintf("; there already: %d", n.skipped)
	}
	if n.failed > 0 {
		text += fmt.Sprintf("; not read: %d", n.failed)
	}
	if n.dropped > 0 {
		text += fmt.Sprintf("; keywords left out, since a folder can have 26: %d", n.dropped)
	}
	return text
}

func cmdMessages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// cmdSize writes a number of bytes for people.
func cmdSize(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if value < 10 {
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.0f %s", value, units[unit])
}

func cmdLimits(limits mailboxQuota) string {
	var parts []string
	if limits.bytes > 0 {
		parts = append(parts, cmdSize(limits.bytes))
	}
	if limits.messages > 0 {
		parts = append(parts, cmdMessages(int(limits.messages)))
	}
	return strings.Join(parts, ", ")
}

// cmdPlain is an error with the words of others in it, a server's or a file's name: a terminal would obey some.
type cmdPlain struct{ error }

func (e cmdPlain) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	for i := range lines {
		lines[i] = transferPlain(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (e cmdPlain) Unwrap() error { return e.error }

// cmdProgress is a bar on a terminal, and nothing elsewhere.
type cmdProgress struct {
	all   io.Writer // for what has to be said anywhere
	w     io.Writer // nil: nobody looks on
	shown time.Time
	width int // of what stands there
}

const (
	cmdProgressEach = 200 * time.Millisecond
	cmdProgressBar  = 30
)

func newCmdProgress(w io.Writer) *cmdProgress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &cmdProgress{all: w}
	}
	return &cmdProgress{all: w, w: f}
}

// failed tells what could not be read.
func (p *cmdProgress) failed(what string, err error) {
	p.clear()
	fmt.Fprintf(p.all, "not read: %s: %v\n", transferPlain(what), cmdPlain{err})
}

func (p *cmdProgress) tell(n *transferCounts) {
	now := time.Now()
	if p.w == nil || now.Sub(p.shown) < cmdProgressEach {
		return
	}
	p.shown = now
	p.show(cmdProgressLine(n))
}

// cmdProgressLine is the bar, as wide as any terminal.
func cmdProgressLine(n *transferCounts) string {
	bar := ""
	if n.total > 0 {
		part := min(1, float64(n.done)/float64(n.total))
		full := int(part * cmdProgressBar)
		bar = fmt.Sprintf("[%s%s] %3d%% ", strings.Repeat("#", full), strings.Repeat(".", cmdProgressBar-full), int(part*100))
	}
	text := fmt.Sprintf("%s%d new, %d there already  %s", bar, n.imported, n.skipped, transferPlain(n.folder))
	return string([]rune(text)[:min(len([]rune(text)), 78)])
}

func (p *cmdProgress) show(text string) {
	width := len([]rune(text))
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.width-width))) // a terminal that is gone ends nothing
	p.width = width
}

// clear takes the bar away.
func (p *cmdProgress) clear() {
	if p.w != nil && p.width > 0 {
		p.show("")
		fmt.Fprint(p.w, "\r")
	}
}
