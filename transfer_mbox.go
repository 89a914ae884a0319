package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// An mbox file is messages one after the other (RFC 4155):
//
//	From alice@example.org Mon Mar  2 10:00:00 2026
//	Subject: hello
//	Status: RO
//
//	>From here on it is text.
//
// A line that begins with "From " and has a date begins a message; the empty line before it
// belongs to the file. In a file whose first such line has no date that can be read, each one between an empty line and a header does. ">From ", ">>From " and so on have one ">" too many: that is mboxrd, and mboxo as far
// as it can be undone. Lines end with LF or CRLF; a message gets CRLF.
//
// What mail programs note of a message stands in its header: Status, X-Status, X-Keywords and
// so on behind all other fields, X-Mozilla-Status before them. It becomes flags, and is no part of the
// message. The same words elsewhere in a header are the message's own.

var errTransferNoMbox = errors.New("this is no mbox file: it does not begin with \"From \"")

const (
	transferMboxHeader = 512 << 10 // a header is looked through so far
	transferMboxLine   = 64 << 10
)

// transferMboxReader reads an mbox file message by message. It is a message's text as well.
type transferMboxReader struct {
	r     *bufio.Reader
	taken int64 // bytes of the file

	from    []byte // the line that begins the next message; nil before the first, and at the end
	loose   bool   // the first such line has no date, so any one between an empty line and a header begins a message
	begun   bool
	inLine  bool // the line goes on
	cr      bool // and its last byte was a CR
	blank   bool // an empty line is held back: it may belong to the file
	done    bool // no more of this message
	err     error
	out     []byte // of the message, not yet read; in buf, or of r
	buf     []byte
	message transferMboxMessage
}

// transferMboxMessage is what is known of a message before its text is read.
type transferMboxMessage struct {
	date     time.Time // of the From line, zero if it has none
	header   []byte    // the fields that are the message's own
	flags    mailboxFlags
	keywords []string
	internal bool // what a program keeps for itself, or has deleted already: no message
}

func newTransferMboxReader(r io.Reader) *transferMboxReader {
	return &transferMboxReader{r: bufio.NewReaderSize(r, transferMboxLine)}
}

// next goes on to the next message; io.EOF if there is none.
func (m *transferMboxReader) next() (*transferMboxMessage, error) {
	if !m.begun {
		if err := m.first(); err != nil {
			return nil, err
		}
	}
	for m.begun && !m.done && m.err == nil { // what is left of the last one
		m.out = nil
		m.fill()
	}
	if m.err != nil && m.err != io.EOF {
		return nil, m.err
	}
	if m.from == nil {
		return nil, io.EOF
	}
	m.message = transferMboxMessage{}
	m.message.date, _ = transferFromLine(m.from)
	m.from, m.begun, m.done, m.blank, m.inLine, m.cr, m.out = nil, true, false, false, false, false, nil
	m.readHeader()
	if m.err != nil && m.err != io.EOF {
		return nil, m.err
	}
	return &m.message, nil
}

// first finds the first message.
func (m *transferMboxReader) first() error {
	for {
		line, err := m.r.ReadSlice('\n')
		m.taken += int64(len(line))
		switch {
		case err != nil && err != io.EOF && err != bufio.ErrBufferFull:
			return err
		case bytes.HasPrefix(line, []byte("From ")):
			m.from = append([]byte{}, line...)
			for err == bufio.ErrBufferFull { // the rest of a line that nobody needs
				line, err = m.r.ReadSlice('\n')
				m.taken += int64(len(line))
			}
			_, dated := transferFromLine(m.from)
			m.loose = !dated
			return nil
		case len(bytes.TrimSpace(line)) > 0:
			return errTransferNoMbox
		case err == io.EOF:
			return io.EOF // an empty file is one without messages
		}
	}
}

// readHeader reads the header into buf, and takes out of it what is not the message's.
func (m *transferMboxReader) readHeader() {
	m.buf = m.buf[:0]
	for len(m.buf) < transferMboxHeader && !m.done && m.err == nil && !m.blank {
		m.fill()
		m.buf = append(m.buf, m.out...)
		m.out = nil
	}
	header := m.buf
	if m.done || m.err != nil || m.blank {
		header = m.message.takeStatus(header)
	}
	m.message.header, m.out = header, header
}

// Read gives the message's text.
func (m *transferMboxReader) Read(p []byte) (int, error) {
	for len(m.out) == 0 {
		switch {
		case m.err != nil && m.err != io.EOF:
			return 0, m.err
		case m.done || m.err == io.EOF:
			return 0, io.EOF
		}
		m.fill()
	}
	n := copy(p, m.out)
	m.out = m.out[n:]
	return n, nil
}

var transferCRLF = []byte("\r\n")

// fill reads a line, or a part of a long one, and makes it out: perhaps with the empty line before it.
func (m *transferMboxReader) fill() {
	if m.done || m.err != nil {
		return
	}
	line, err := m.r.ReadSlice('\n')
	m.taken += int64(len(line))
	if err == bufio.ErrBufferFull {
		err = nil
	} else if err != nil {
		m.err = err // io.EOF: there may be a last line without an end
	}
	if len(line) == 0 {
		m.done = m.err == io.EOF
		return
	}
	if !m.inLine {
		if bytes.HasPrefix(line, []byte("From ")) {
			_, begins := transferFromLine(line)
			if !begins && m.loose && m.blank {
				line = append([]byte{}, line...) // looking further moves it
				begins = m.fieldFollows()
			}
			if begins {
				m.from, m.done = append([]byte{}, line...), true
				return
			}
		}
		if len(line) == 1 && line[0] == '\n' || bytes.Equal(line, transferCRLF) {
			if m.blank {
				m.out = transferCRLF
			}
			m.blank = true
			return
		}
		if rest := bytes.TrimLeft(line, ">"); len(rest) < len(line) && bytes.HasPrefix(rest, []byte("From ")) {
			line = line[1:]
		}
	}
	m.put(line)
}

// fieldFollows tells whether the next line looks like a header's.
func (m *transferMboxReader) fieldFollows() bool {
	next, _ := m.r.Peek(256) // an error comes again when it is read
	name, _, ok := bytes.Cut(next, []byte(":"))
	return ok && len(name) > 0 && bytes.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

// put makes a line, or a part of one, out.
func (m *transferMboxReader) put(line []byte) {
	ends := line[len(line)-1] == '\n'
	bare := ends && (len(line) == 1 && !m.cr || len(line) > 1 && line[len(line)-2] != '\r')
	if !m.blank && !bare {
		m.out = line // it stays as it is until the next fill
	} else {
		made := make([]byte, 0, len(line)+3)
		if m.blank {
			made = append(made, transferCRLF...)
		}
		if bare {
			made = append(append(made, line[:len(line)-1]...), transferCRLF...)
		} else {
			made = append(made, line...)
		}
		m.out = made
	}
	m.blank, m.inLine, m.cr = false, !ends, line[len(line)-1] == '\r'
}

// transferFromLine reads the line that begins a message. ok is false if it has no date, and so
// is rather text. The date may have a zone before or after the year, and is UTC without one
// (RFC 4155, appendix A).
func transferFromLine(line []byte) (date time.Time, ok bool) {
	if len(line) > 1000 {
		return date, false
	}
	words := strings.Fields(string(line))
	for i := 3; i+1 < len(words); i++ {
		if !strings.Contains(words[i], ":") {
			continue
		}
		clock, err := time.Parse("15:04:05", words[i])
		if err != nil {
			clock, err = time.Parse("15:04", words[i])
		}
		month := messageMonth(words[i-2])
		day, dayErr := strconv.Atoi(words[i-1])
		if err != nil || dayErr != nil || month == 0 || day < 1 || day > 31 {
			continue
		}
		year, zone := 0, time.UTC
		for _, word := range words[i+1 : min(i+4, len(words))] {
			if n, err := strconv.Atoi(word); err == nil && len(word) == 4 && n >= 1970 && year == 0 {
				year = n
			} else if t, err := time.Parse("-0700", word); err == nil {
				_, offset := t.Zone()
				zone = time.FixedZone("", offset)
			}
		}
		if year != 0 {
			return time.Date(year, month, day, clock.Hour(), clock.Minute(), clock.Second(), 0, zone), true
		}
	}
	return date, false
}

// transferMboxFields are fields that programs write behind a header, and how their values look.
var transferMboxFields = map[string]func(value string) bool{
	"status":         func(v string) bool { return strings.Trim(v, "ROUNDA") == "" },
	"x-status":       func(v string) bool { return strings.Trim(v, "AFTDRN") == "" },
	"x-keywords":     func(string) bool { return true },
	"x-uid":          transferIsNumber,
	"x-imap":         func(string) bool { return true },
	"x-imapbase":     func(string) bool { return true },
	"content-length": transferIsNumber,
	"lines":          transferIsNumber,
}

func transferIsNumber(value string) bool {
	return value != "" && strings.Trim(value, "0123456789") == ""
}

// takeStatus gives the header without the fields that are the file's. What they say it notes.
func (msg *transferMboxMessage) takeStatus(header []byte) []byte {
	kept, taken, order := header, map[string]string{}, ""
	for len(kept) > 0 && order != " x-keywords x-status status" { // ours: what stands before is the message's
		start := transferLastField(kept)
		name, value := transferField(kept[start:])
		plausible := transferMboxFields[name]
		if _, twice := taken[name]; plausible == nil || twice || !plausible(value) {
			break
		}
		taken[name] = value
		order += " " + name
		kept = kept[:start]
	}
	delete(taken, "content-length")
	if delete(taken, "lines"); len(taken) == 0 { // then these two are the message's
		kept = header
		for {
			end := transferFirstField(kept)
			name, value := transferField(kept[:end])
			if name != "x-mozilla-status" && name != "x-mozilla-status2" && name != "x-mozilla-keys" {
				break
			}
			taken[name] = value
			kept = kept[end:]
		}
	}
	msg.note(taken)
	_, base := taken["x-imap"]
	if subject, _ := messageFieldOf(kept, "Subject"); base && bytes.HasPrefix(subject, []byte("DON'T DELETE THIS MESSAGE")) {
		msg.internal = true
	}
	return kept
}

// transferLastField is where the last field of a header begins, folded lines included.
func transferLastField(header []byte) int {
	at := len(header)
	for at > 0 {
		at = bytes.LastIndexByte(header[:at-1], '\n') + 1
		if header[at] != ' ' && header[at] != '\t' {
			break
		}
	}
	return at
}

// transferFirstField is where the first field ends.
func transferFirstField(header []byte) int {
	at := 0
	for at < len(header) {
		i := bytes.IndexByte(header[at:], '\n')
		if i < 0 {
			return len(header)
		}
		if at += i + 1; at < len(header) && header[at] != ' ' && header[at] != '\t' {
			break
		}
	}
	return at
}

func transferField(field []byte) (name, value string) {
	before, after, ok := strings.Cut(string(field), ":")
	if !ok {
		return "", ""
	}
	return strings.ToLower(before), strings.Join(strings.Fields(after), " ")
}

// note reads what a file's own fields say.
func (msg *transferMboxMessage) note(fields map[string]string) {
	for _, c := range fields["status"] + strings.ReplaceAll(fields["x-status"], "R", "") {
		switch c {
		case 'R':
			msg.flags |= mailboxFlagSeen
		case 'D':
			msg.flags |= mailboxFlagDeleted
		case 'A':
			msg.flags |= mailboxFlagAnswered
		case 'F':
			msg.flags |= mailboxFlagFlagged
		case 'T':
			msg.flags |= mailboxFlagDraft
		}
	}
	bits, err := strconv.ParseUint(fields["x-mozilla-status"], 16, 32)
	if err != nil {
		bits = 0
	}
	for bit, flag := range map[uint64]mailboxFlags{0x1: mailboxFlagSeen, 0x2: mailboxFlagAnswered, 0x4: mailboxFlagFlagged, 0x1000: mailboxFlagForwarded} {
		if bits&bit != 0 {
			msg.flags |= flag
		}
	}
	msg.internal = bits&0x8 != 0 // deleted, and not yet cut out of the file
	for word := range strings.FieldsSeq(fields["x-keywords"] + " " + fields["x-mozilla-keys"]) {
		switch {
		case mailboxSameKeyword(word, "$Forwarded"):
			msg.flags |= mailboxFlagForwarded
		case transferIsKeyword(word):
			msg.keywords = append(msg.keywords, word)
		}
	}
}

// transferIsKeyword tells whether IMAP can tell a keyword: RFC 9051, section 9, flag-keyword is an atom.
func transferIsKeyword(word string) bool {
	if word == "" || len(word) > 255 {
		return false
	}
	for i := range len(word) {
		if c := word[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// transferMbox is one file as a source.
type transferMbox struct {
	path, folder string
}

func (s *transferMbox) committed() error { return nil }

func (s *transferMbox) each(ctx context.Context, im *transferImport) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if im.counts.total == 0 {
		im.counts.total = info.Size()
	}
	r, before := newTransferMboxReader(transferFile{f}), im.counts.done
	for {
		msg, err := r.next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		im.counts.done = before + r.taken
		if msg.internal {
			continue
		}
		date := msg.date
		if date.IsZero() {
			date = transferDate(msg.header, info.ModTime())
		}
		if err := im.take(ctx, &transferMessage{s.folder, date, msg.flags, msg.keywords, r}); err != nil {
			return err
		}
	}
}
