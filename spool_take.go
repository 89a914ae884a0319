package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The server's side: what lies in the spool is taken at the start and looked for each
// minute, since programs come by SMTP while the server is there. What cannot be delivered
// now stays, and is tried again. Recipients that do not exist are told to the
// sender, or to postmaster.

const (
	spoolInterval = time.Minute
	spoolRetry    = 15 * time.Minute
	spoolTmpAge   = 36 * time.Hour // as a Maildir's tmp
	spoolKnown    = 10_000         // files that are remembered, so that each is logged once
	spoolBatch    = 256            // names that are read at a time
)

// spoolSettings is what taking needs to know.
type spoolSettings struct {
	path      string
	deliverer func() *deliverer // of the configuration that holds now
	maxSize   func() int64
	now       func() time.Time
	log       *slog.Logger
}

// spool takes what lies in the directory.
type spool struct {
	spoolSettings

	ending atomic.Bool
	anew   atomic.Bool // all files are to be tried again
	timer  *time.Timer

	mu    sync.Mutex // guards all below, and is held while files are taken
	known map[string]*spoolKept
	said  string // the last trouble with the directory
	turns uint64
}

// spoolKept is a file that could not be delivered, or not to all.
type spoolKept struct {
	done   map[address]bool // those who have it
	told   bool             // the sender has been told of the others
	why    string
	again  time.Time
	seenIn uint64 // the turn in which it was there
}

// newSpool begins to take.
func newSpool(settings spoolSettings) *spool {
	s := &spool{spoolSettings: settings, known: map[string]*spoolKept{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(0, s.turn)
	return s
}

// close returns when no file is being taken any more.
func (s *spool) close() {
	s.ending.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
}

// retry tries all files again soon: users or aliases may be there that were not.
func (s *spool) retry() {
	s.anew.Store(true)
	s.timer.Reset(0)
}

// turn takes what is there.
func (s *spool) turn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Load() {
		return
	}
	if s.anew.Swap(false) {
		for _, kept := range s.known {
			kept.again = time.Time{}
		}
	}
	said := ""
	if err := s.take(); err != nil {
		if said = err.Error(); said != s.said {
			logSpoolTrouble(s.log, s.path, err)
		}
	}
	s.said = said
	if s.timer.Reset(spoolInterval); s.anew.Load() {
		s.timer.Reset(0)
	}
}

func (s *spool) take() error {
	dir, err := spoolOpen(s.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Another server with the same spool, such as one that is just ending, would deliver twice. None
	// but us may open the directory, and so lock it.
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another server takes its mail: %w", err)
	}
	s.turns++
	for {
		names, err := dir.Readdirnames(spoolBatch)
		for _, name := range names {
			if s.ending.Load() {
				return nil
			}
			s.file(name)
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	for name, kept := range s.known {
		if kept.seenIn != s.turns {
			delete(s.known, name)
		}
	}
	return nil
}

// spoolOpen opens the directory, and makes it if it is not there.
func spoolOpen(path string) (*os.File, error) {
	if err := fileMakeAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := fileOpenAs(path, fileReadPlain|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat()
	if err == nil && spoolOwner(info) != os.Geteuid() && os.Geteuid() != 0 && info.Mode()&fs.ModeSticky != 0 {
		// What cannot be removed would be delivered at each start.
		err = fmt.Errorf("%s belongs to user id %d, so that user id %d cannot remove what it has delivered; change its owner", path, spoolOwner(info), os.Geteuid())
	}
	if err == nil && spoolOwner(info) == os.Geteuid() && info.Mode()&(fs.ModePerm|fs.ModeSticky) != spoolMode {
		if err = dir.Chmod(spoolMode); err == nil {
			err = syncDir(filepath.Dir(path))
		}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func spoolOwner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// file takes one file, or remembers why not.
func (s *spool) file(name string) {
	path := filepath.Join(s.path, name)
	now := time.Now() // of which only differences count
	if strings.HasPrefix(name, spoolTemporary) {
		s.sweep(path, s.now())
		return
	}
	kept := s.known[name]
	if kept == nil {
		kept = &spoolKept{done: map[address]bool{}}
	}
	kept.seenIn = s.turns
	if now.Before(kept.again) {
		return
	}
	err := s.deliver(path, kept)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		delete(s.known, name)
		return
	}
	if len(s.known) >= spoolKnown && s.known[name] == nil && len(kept.done) == 0 {
		return
	}
	s.known[name] = kept
	kept.again = now.Add(spoolRetry)
	if why := err.Error(); why != kept.why {
		kept.why = why
		logSpoolKept(s.log, path, err)
	}
}

// sweep removes what a program has left half written.
func (s *spool) sweep(path string, now time.Time) {
	info, err := os.Lstat(path)
	if err != nil || now.Sub(info.ModTime()) < spoolTmpAge || info.IsDir() {
		return // a program may have finished it meanwhile
	}
	if err := os.Remove(path); err != nil {
		logSpoolTrouble(s.log, s.path, err)
	}
}

// spoolOpenFile opens a file of the spool. Anybody may have put anything there: nothing but a plain
// file of one name, which nobody has linked there from elsewhere, is read.
func spoolOpenFile(path string, max int64) (*os.File, fs.FileInfo, error) {
	if len(filepath.Base(path)) != len(rand.Text()) || strings.Trim(filepath.Base(path), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return nil, nil, errSpoolForm
	}
	f, err := fileOpenAs(path, fileReadPlain|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, nil, errSpoolForeign
	} else if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !info.Mode().IsRegular() || !ok || st.Nlink != 1:
			err = errSpoolForeign
		case info.Size() > max:
			err = errSpoolSize
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// spoolRoom is how much longer than its message a file may be: its envelope.
const spoolRoom = (spoolMaxRecipients + 3) * (addressMaxPath + 8)

// deliver brings a file's message to its recipients and removes it.
func (s *spool) deliver(path string, kept *spoolKept) (err error) {
	defer func() {
		if p := recover(); p != nil { // or each start would end with this file
			err = fmt.Errorf("a fault of the program: %v\n%s", p, debug.Stack())
		}
	}()
	f, info, err := spoolOpenFile(path, s.maxSize()+spoolMaxHead+spoolRoom)
	if err != nil {
		return err
	}
	defer f.Close()
	m := &spoolMail{s: s, d: s.deliverer(), file: f, size: info.Size(), kept: kept, date: info.ModTime(), user: spoolUser(spoolOwner(info))}
	e, in, err := m.open()
	if err != nil {
		return err
	}
	who := m.user
	if owner := spoolOwner(info); owner == 0 || owner == os.Geteuid() {
		who = ""
	}
	m.from = spoolSender(e.from, who, m.d.hostname, m.d.isOurs)
	lost, err := m.deliver(e.to, in)
	if err == nil && len(lost) > 0 && !kept.told {
		err = m.tell(lost)
		kept.told = err == nil
	}
	if err != nil {
		return err
	}
	now, err := os.Lstat(path)
	if err != nil || !os.SameFile(info, now) { // its owner may do so
		return err
	}
	if err := os.Remove(path); err != nil { // P6
		return err
	}
	return syncDir(s.path)
}

// spoolMail is one file's message on its way.
type spoolMail struct {
	s    *spool
	d    *deliverer
	file *os.File
	size int64
	kept *spoolKept
	from address
	date time.Time
	user string // whose file it is
}

// open reads the envelope; what follows is the message.
func (m *spoolMail) open() (spoolEnvelope, io.Reader, error) {
	if _, err := m.file.Seek(0, io.SeekStart); err != nil {
		return spoolEnvelope{}, nil, err
	}
	in := bufio.NewReaderSize(io.LimitReader(m.file, m.size), 4<<10) // it may grow meanwhile
	e, err := spoolReadEnvelope(in)
	return e, in, err
}

func (m *spoolMail) trace(from address) deliverTrace {
	date := m.s.now()
	if date.IsZero() { // not believed
		date = time.Now()
	}
	return deliverTrace{from: from, helo: m.d.hostname, by: m.d.hostname, protocol: "local", id: rand.Text()[:13], date: date}
}

// deliver gives the message to those who have not got it. lost are those who never will; the error is
// why others cannot now.
func (m *spoolMail) deliver(to []address, in io.Reader) (lost []string, err error) {
	var rcpts []*deliverRecipient
	for _, a := range to {
		if m.kept.done[a] {
			continue
		}
		rcpt, wrong := m.d.recipient(a)
		switch {
		case errors.Is(wrong, errDeliverNotLocal):
			lost = append(lost, a.String()+": this box delivers to its own users only")
		case errors.Is(wrong, errDeliverNoUser):
			lost = append(lost, a.String()+": "+errDeliverNoUser.Error())
		case wrong != nil:
			err = wrong
		default:
			rcpts = append(rcpts, rcpt)
		}
	}
	if len(rcpts) == 0 {
		return lost, err
	}
	trace := m.trace(m.from)
	delivery := m.d.begin(trace, rcpts)
	size, copyErr := io.Copy(delivery, in)
	if copyErr != nil {
		delivery.abort()
		return nil, copyErr
	}
	for i, failed := range delivery.commit(true) {
		to := rcpts[i].address
		if failed == nil {
			m.kept.done[to] = true
			logDelivered(m.s.log, trace.id, m.from.String(), to.String(), size)
			continue
		}
		if errors.Is(failed, errDeliverLoop) {
			lost = append(lost, to.String()+": "+failed.Error())
			continue
		}
		err = fmt.Errorf("delivering to %s: %w", to, failed)
	}
	return lost, err
}

// tell lets the sender know who will not get the message, or postmaster if the sender is nobody here.
// The message goes along.
func (m *spoolMail) tell(lost []string) error {
	var rcpt *deliverRecipient
	err := errDeliverNoUser
	if !m.from.isNull() {
		rcpt, err = m.d.recipient(m.from)
	}
	if err != nil {
		if rcpt, err = m.d.recipient(address{local: "postmaster"}); err != nil {
			return fmt.Errorf("%s; telling postmaster: %w", strings.Join(lost, "; "), err)
		}
	}
	e, in, err := m.open()
	if err != nil {
		return err
	}
	trace, boundary := m.trace(address{}), rand.Text()
	notice := m.d.begin(trace, []*deliverRecipient{rcpt})
	fmt.Fprintf(notice, "From: Letterbox <MAILER-DAEMON@%s>\r\nTo: %s\r\nSubject: Mail could not be delivered\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n"+
		"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", // RFC 3834, section 5
		m.d.hostname, rcpt.address, trace.date.Format("Mon, 2 Jan 2006 15:04:05 -0700"), trace.id, m.d.hostname, boundary)
	fmt.Fprintf(notice, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+
		"A program of the system's user %s left the mail below. It could not be delivered to:\r\n\r\n    %s\r\n\r\n"+
		"Its sender was %s; recipients in all: %d.\r\n\r\n--%s\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
		boundary, m.user, strings.Join(lost, "\r\n    "), cmp.Or(m.from.String(), "<>"), len(e.to), boundary)
	if _, err := io.Copy(notice, in); err != nil {
		notice.abort()
		return err
	}
	fmt.Fprintf(notice, "\r\n--%s--\r\n", boundary)
	if err := notice.commit(false)[0]; err != nil {
		return fmt.Errorf("telling %s of it: %w", rcpt.address, err)
	}
	logSpoolTold(m.s.log, m.from.String(), rcpt.address.String(), strings.Join(lost, "; "))
	return nil
}

// spoolFinding is a file in the spool that is not as it should be.
type spoolFinding struct{ path, what string }

const spoolFindingsMost = 20

// spoolLook looks at a spool: how much waits there, since when, and what will never be taken.
func spoolLook(path string, max int64, now time.Time) (waiting int, oldest time.Time, findings []spoolFinding, err error) {
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		file := filepath.Join(path, entry.Name())
		if strings.HasPrefix(entry.Name(), spoolTemporary) {
			continue
		}
		f, info, wrong := spoolOpenFile(file, max+spoolMaxHead+spoolRoom)
		if errors.Is(wrong, fs.ErrNotExist) {
			continue // it has just been delivered
		}
		if wrong == nil {
			_, wrong = spoolReadEnvelope(bufio.NewReaderSize(f, 4<<10))
			f.Close()
		}
		if wrong != nil {
			if len(findings) < spoolFindingsMost {
				findings = append(findings, spoolFinding{file, wrong.Error()})
			}
			continue
		}
		waiting++
		if oldest.IsZero() || info.ModTime().Before(oldest) {
			oldest = info.ModTime()
		}
	}
	if now.Before(oldest) {
		oldest = now
	}
	return waiting, oldest, findings, err
}
