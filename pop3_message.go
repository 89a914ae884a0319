package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Commands of the TRANSACTION state, and QUIT.

// errPopGone: the rest of the maildrop is still good (RFC 3206, section 4).
var errPopGone = popErr{"SYS/TEMP", "the message was removed by another program meanwhile"}

// message finds the message that a command names by its number.
func (s *popSession) message(arg string) (*popMessage, error) {
	n, err := strconv.ParseUint(arg, 10, 31)
	if err != nil {
		return nil, popErr{"", "this is not a message number"}
	}
	if n < 1 || n > uint64(len(s.drop.msgs)) {
		return nil, errPopMessage
	}
	m := &s.drop.msgs[n-1]
	switch {
	case m.deleted:
		return nil, popErr{"", "the message is marked as deleted"}
	case m.gone:
		return nil, errPopGone
	}
	return m, nil
}

func (s *popSession) cmdStat(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	n, size, err := s.total()
	if err != nil {
		return err
	}
	s.c.printf("+OK %d %d", n, size)
	return nil
}

// total counts the listed messages and their octets.
func (s *popSession) total() (n int, size int64, err error) {
	if err := s.drop.measure(s); err != nil {
		return 0, 0, err
	}
	for i := range s.drop.msgs {
		if m := &s.drop.msgs[i]; m.listed() {
			n, size = n+1, size+m.size
		}
	}
	return n, size, nil
}

func (s *popSession) cmdList(arg string) error {
	if arg != "" {
		m, err := s.message(arg)
		if err != nil {
			return err
		}
		if err := s.size(m); err != nil {
			return err
		}
		s.c.printf("+OK %s %d", strings.TrimLeft(arg, "0"), m.size)
		return nil
	}
	n, size, err := s.total()
	if err != nil {
		return err
	}
	s.c.printf("+OK %d messages (%d octets)", n, size)
	s.scan(func(dst []byte, m *popMessage) []byte { return strconv.AppendInt(dst, m.size, 10) })
	return nil
}

// size sees to it that one message's size is known.
func (s *popSession) size(m *popMessage) (err error) {
	if m.size >= 0 {
		return nil
	}
	size, err := s.drop.view.size(m.uid)
	if errors.Is(err, errMailboxExpunged) {
		m.gone = true
		return errPopGone
	} else if err != nil {
		return fmt.Errorf("measuring message %d: %w", m.uid, err)
	}
	m.size = size
	return nil
}

// scan writes a line for each listed message: its number and what value appends.
func (s *popSession) scan(value func(dst []byte, m *popMessage) []byte) {
	var line []byte
	for i := range s.drop.msgs {
		if m := &s.drop.msgs[i]; m.listed() {
			line = append(strconv.AppendInt(line[:0], int64(i+1), 10), ' ')
			s.c.Write(append(value(line, m), "\r\n"...)) // its error is the connection's, and comes again in flush
		}
	}
	s.c.WriteString(".\r\n")
}

func (s *popSession) cmdUidl(arg string) error {
	uidl := func(dst []byte, m *popMessage) []byte { return s.drop.appendUIDL(dst, m, s.uidl) }
	if arg == "" {
		s.c.printf("+OK")
		s.scan(uidl)
		return nil
	}
	m, err := s.message(arg)
	if err != nil {
		return err
	}
	s.c.printf("+OK %s %s", strings.TrimLeft(arg, "0"), uidl(nil, m))
	return nil
}

func (s *popSession) cmdDele(arg string) error {
	m, err := s.message(arg)
	if err != nil {
		return err
	}
	m.deleted = true
	s.c.printf("+OK marked")
	return nil
}

func (s *popSession) cmdNoop(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	s.c.printf("+OK")
	return nil
}

func (s *popSession) cmdRset(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	for i := range s.drop.msgs {
		s.drop.msgs[i].deleted = false
	}
	s.c.printf("+OK nothing is marked")
	return nil
}

func (s *popSession) cmdRetr(arg string) error {
	m, err := s.message(arg)
	if err != nil {
		return err
	}
	if err := s.size(m); err != nil {
		return err
	}
	f, err := s.drop.open(m)
	if err != nil {
		return err
	}
	defer f.Close()
	s.c.printf("+OK %d octets", m.size)
	if err := s.send(f, m.size, -1); err != nil {
		return err
	}
	m.seen, m.fetched = true, true
	return nil
}

// cmdTop sends the header and some lines of the body. That is no reading, so the
// message does not become \Seen.
func (s *popSession) cmdTop(arg string) error {
	number, count, _ := strings.Cut(arg, " ")
	lines, err := strconv.ParseUint(strings.TrimLeft(count, " "), 10, 63)
	if err != nil {
		return popErr{"", "TOP wants a message number and a number of lines"}
	}
	m, err := s.message(number)
	if err != nil {
		return err
	}
	f, err := s.drop.open(m)
	if err != nil {
		return err
	}
	defer f.Close()
	s.c.printf("+OK")
	return s.send(f, m.size, int64(lines))
}

// send writes a message as a multi-line response: all of it, or (lines >= 0) its
// header and so many lines. After +OK there is no way back, so an error here ends
// the session, and the client sees that the end is missing.
func (s *popSession) send(f *os.File, size, lines int64) error {
	info, err := f.Stat()
	if err != nil {
		return popEnd{fmt.Errorf("sending a message: %w", err)}
	}
	r, raw := io.Reader(f), info.Size() == size // then it has no lone LF
	if !raw {
		r = messageWire(f, 0, info.Size())
	}
	st := popStuffer{w: s.c, last: '\n', lines: lines}
	buf := popBuffers.Get().(*[32 << 10]byte)
	defer popBuffers.Put(buf)
	for left := info.Size(); !st.done; {
		n, err := r.Read(buf[:])
		if raw {
			messageHideNULs(buf[:n])
		}
		if n > 0 {
			if err := st.write(buf[:n]); err != nil {
				return popEnd{err}
			}
		}
		if left -= int64(n); err == io.EOF || raw && left == 0 {
			break // a delivered file is never written to, so this is its end
		} else if err != nil {
			return popEnd{fmt.Errorf("sending a message: %w", err)}
		}
	}
	if st.last != '\n' {
		s.c.WriteString("\r\n") // not counted in the size: as Dovecot has it
	}
	s.c.WriteString(".\r\n")
	return nil
}

var popBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// popStuffer writes a message in wire form as lines of a multi-line response: those
// that begin with a dot get another one (RFC 1939, section 3).
type popStuffer struct {
	w     io.Writer
	last  byte  // what was written last; '\n' at the beginning
	lines int64 // lines of the body still to be written; below 0: all
	body  bool  // the header has ended
	text  bool  // the line so far has something in it besides CR
	done  bool  // lines has run out
}

func (st *popStuffer) write(p []byte) error {
	if st.lines >= 0 {
		p = p[:st.limit(p)]
	}
	if len(p) == 0 {
		return nil
	}
	if st.last == '\n' && p[0] == '.' {
		if _, err := st.w.Write(popDot); err != nil {
			return err
		}
	}
	st.last = p[len(p)-1]
	for {
		i := bytes.Index(p, popLineDot)
		if i < 0 {
			_, err := st.w.Write(p)
			return err
		}
		if _, err := st.w.Write(p[:i+2]); err != nil { // with one dot
			return err
		}
		p = p[i+1:] // with the other
	}
}

var popDot, popLineDot = []byte("."), []byte("\n.")

// limit gives how much of p is still wanted by TOP.
func (st *popStuffer) limit(p []byte) int {
	if st.done {
		return 0
	}
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			st.text = st.text || len(bytes.TrimSuffix(p[at:], popCR)) > 0
			return len(p)
		}
		st.text = st.text || len(bytes.TrimSuffix(p[at:at+i], popCR)) > 0
		at += i + 1
		if st.body {
			st.lines--
		} else {
			st.body = !st.text
		}
		st.text = false
		if st.done = st.body && st.lines == 0; st.done {
			return at
		}
	}
}

var popCR = []byte("\r")

// cmdQuit ends the session. In the TRANSACTION state it goes through UPDATE: only
// now are messages deleted (RFC 1939, section 6).
func (s *popSession) cmdQuit(arg string) error {
	if arg != "" {
		return errPopArgument
	}
	s.state = popUpdate
	if s.drop == nil {
		s.c.printf("+OK good-bye")
		return nil
	}
	if s.drop.onDelete == "trash" || s.drop.onDelete == "archive" {
		s.storeSeen() // they are seen where they go, too
	}
	moved, folder, err := s.drop.update()
	s.storeSeen()
	s.noteFetched()
	switch {
	case err != nil:
		logCommandFailed(s.c.log, s.user, "QUIT", fmt.Errorf("deleting: %w", err))
		return popErr{"SYS/TEMP", "some deleted messages not removed"}
	case moved > 0:
		logPopNotHidden(s.c.log, s.user, folder, moved)
		s.c.printf("+OK good-bye; what you deleted is now in the folder %q", folder)
	default:
		s.c.printf("+OK good-bye")
	}
	return nil
}
