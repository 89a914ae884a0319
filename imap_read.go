package main

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
)

// Reading a command (RFC 9051, section 9). The reader knows the grammar's tokens and
// their limits, and no command. It reads as the parser asks: a line at a time, and
// a literal when the parser comes to one, so what a client sends is never held in
// memory beyond the limits.

const (
	imapLineMost     = 64 << 10  // bytes of a command without its literals
	imapLiteralMost  = 64 << 10  // bytes of a literal, other than a message
	imapLiteralsMost = 256 << 10 // bytes of all literals of a command
	imapDrainMost    = 1 << 30   // a non-synchronizing literal above this ends the connection
	imapKeywordMost  = 200       // bytes of a keyword; they all stand in one small file
	imapTagMost      = 256       // bytes in which the tag of a line that is too long is looked for
)

// imapReader reads one command after the other from a connection.
type imapReader struct {
	c        *conn
	line     []byte // the line at hand, without CRLF; valid until the next is read
	tag      string // of a command whose first line was too long to be read
	literals int    // bytes of literals in this command so far
	broken   error  // the connection failed in the middle of a command
}

// next reads the first line of a command. errLineTooLong if it was skipped; then tag
// is what it began with.
func (r *imapReader) next() (err error) {
	r.literals, r.tag = 0, ""
	head, err := r.c.peek()
	if err != nil {
		return err
	}
	if bytes.IndexByte(head, '\n') < 0 { // rare: a long line, or one that comes in pieces
		if err := r.c.flush(); err != nil {
			return err
		}
		begin := imapReader{line: bytes.Clone(head[:min(len(head), imapTagMost)])}
		if tag, err := begin.readTag(); err == nil && begin.peek() == ' ' {
			r.tag = tag
		}
	}
	r.line, err = r.c.readLine(imapLineMost)
	if err != nil {
		r.line = nil
	}
	return err
}

// drop throws away what is left of a command that was refused: a literal that the
// client sends without waiting, and what follows it.
func (r *imapReader) drop() error {
	for r.broken == nil {
		size, sync, ok := imapLiteralAtEnd(r.line)
		if !ok || sync {
			r.line = nil
			return nil
		}
		if err := r.discard(size); err != nil {
			return err
		}
	}
	return r.broken
}

// discard throws a literal away and reads the line after it.
func (r *imapReader) discard(size int64) error {
	if size > imapDrainMost {
		return imapBye("[TOOBIG] this literal is too large") // RFC 7888, section 4
	}
	if _, err := io.CopyN(io.Discard, r.c, size); err != nil {
		return r.fail(err)
	}
	return r.afterLiteral()
}

// fail notes that the connection broke.
func (r *imapReader) fail(err error) error {
	if !errors.Is(err, errLineTooLong) {
		r.broken = err
	}
	return err
}

// afterLiteral reads the line that goes on after a literal.
func (r *imapReader) afterLiteral() (err error) {
	if r.line, err = r.c.readLine(imapLineMost); err != nil {
		r.line = nil
		return r.fail(err)
	}
	return nil
}

// peek is the next byte, 0 at the end of the line.
func (r *imapReader) peek() byte {
	if len(r.line) == 0 {
		return 0
	}
	return r.line[0]
}

// take consumes c if it is next.
func (r *imapReader) take(c byte) bool {
	if len(r.line) == 0 || r.line[0] != c {
		return false
	}
	r.line = r.line[1:]
	return true
}

// readWhile reads bytes as long as f says.
func (r *imapReader) readWhile(f func(c byte) bool) string {
	i := 0
	for i < len(r.line) && f(r.line[i]) {
		i++
	}
	s := string(r.line[:i])
	r.line = r.line[i:]
	return s
}

// readSpace reads the one space between two arguments.
func (r *imapReader) readSpace() error {
	if !r.take(' ') {
		return imapBad("an argument is missing")
	}
	return nil
}

// readEnd reads the end of the command.
func (r *imapReader) readEnd() error {
	if len(r.line) > 0 {
		return imapBad("too many arguments")
	}
	return nil
}

// imapIsAtomChar is ATOM-CHAR.
func imapIsAtomChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`(){%*"\]`, rune(c))
}

// imapIsAstringChar is ASTRING-CHAR.
func imapIsAstringChar(c byte) bool { return c == ']' || imapIsAtomChar(c) }

// readAtom reads an atom.
func (r *imapReader) readAtom() (string, error) {
	atom := r.readWhile(imapIsAtomChar)
	if atom == "" {
		return "", imapBad("a word is missing")
	}
	return atom, nil
}

// readWord reads an atom and gives it in capitals: keywords of the protocol have no case.
func (r *imapReader) readWord() (string, error) {
	atom, err := r.readAtom()
	return strings.ToUpper(atom), err
}

// readTag reads a command's tag.
func (r *imapReader) readTag() (string, error) {
	tag := r.readWhile(func(c byte) bool { return c != '+' && imapIsAstringChar(c) })
	if tag == "" {
		return "", imapBad("a tag is missing")
	}
	return tag, nil
}

// readAstring reads an atom or a string.
func (r *imapReader) readAstring() (string, error) {
	switch r.peek() {
	case '"', '{':
		return r.readString()
	}
	s := r.readWhile(imapIsAstringChar)
	if s == "" {
		return "", imapBad("a string is missing")
	}
	return s, nil
}

// readNstring reads a string or NIL.
func (r *imapReader) readNstring() (s string, isNil bool, err error) {
	if c := r.peek(); c != '"' && c != '{' {
		word, err := r.readWord()
		if err != nil || word != "NIL" {
			return "", false, imapBad("a string or NIL is missing")
		}
		return "", true, nil
	}
	s, err = r.readString()
	return s, false, err
}

// readString reads a quoted string or a literal.
func (r *imapReader) readString() (string, error) {
	switch r.peek() {
	case '"':
		return r.readQuoted()
	case '{':
		return r.readLiteral()
	}
	return "", imapBad("a string is missing")
}

// readQuoted reads a quoted string. UTF-8 may stand in it, other 8-bit bytes may not.
func (r *imapReader) readQuoted() (string, error) {
	r.take('"')
	var s []byte
	for len(r.line) > 0 {
		c := r.line[0]
		r.line = r.line[1:]
		switch c {
		case '"':
			if !utf8.Valid(s) {
				return "", imapBad("a quoted string is not UTF-8")
			}
			return string(s), nil
		case '\\':
			if next := r.peek(); next != '"' && next != '\\' {
				return "", imapBad(`in a quoted string \ stands before " or \ only`)
			}
			c = r.line[0]
			r.line = r.line[1:]
		case 0, '\r':
			return "", imapBad("a quoted string holds a control character")
		}
		s = append(s, c)
	}
	return "", imapBad("a quoted string does not end")
}

// imapLiteralAtEnd tells whether a line ends with a literal's head: {n}, {n+}.
func imapLiteralAtEnd(line []byte) (size int64, sync, ok bool) {
	if !bytes.HasSuffix(line, []byte("}")) {
		return 0, false, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false, false
	}
	digits := line[open+1 : len(line)-1]
	sync = true
	if bytes.HasSuffix(digits, []byte("+")) {
		digits, sync = digits[:len(digits)-1], false
	}
	if len(digits) == 0 || digits[0] < '0' || digits[0] > '9' {
		return 0, false, false
	}
	size, err := strconv.ParseInt(string(digits), 10, 64)
	return size, sync, err == nil || errors.Is(err, strconv.ErrRange) // then size is the largest there is
}

// readLiteralHead reads the head of a literal, which ends the line. The literal is
// yet to come: acceptLiteral asks for it, drop gets rid of it.
func (r *imapReader) readLiteralHead() (size int64, sync bool, err error) {
	if r.peek() != '{' || bytes.LastIndexByte(r.line, '{') != 0 {
		return 0, false, imapBad("a literal is missing")
	}
	size, sync, ok := imapLiteralAtEnd(r.line)
	if !ok {
		return 0, false, imapBad("a literal begins with {size}")
	}
	return size, sync, nil
}

// acceptLiteral tells the client to send a literal, if it waits for that.
func (r *imapReader) acceptLiteral(sync bool) error {
	r.line = nil
	if !sync {
		return nil
	}
	r.c.WriteString("+ OK\r\n")
	if err := r.c.flush(); err != nil {
		return r.fail(err)
	}
	return nil
}

// flushBeforeWait writes the answers to earlier commands out if the next read would
// wait for the client, who may be waiting for them.
func (r *imapReader) flushBeforeWait() error {
	if r.c.buffered() > 0 {
		return nil
	}
	if err := r.c.flush(); err != nil {
		return r.fail(err)
	}
	return nil
}

// readLiteral reads a literal other than a message.
func (r *imapReader) readLiteral() (string, error) { return r.readBytes(false) }

// readBytes reads a literal, in which NULs may stand if it is a literal8.
func (r *imapReader) readBytes(binary bool) (string, error) {
	if r.c == nil {
		return "", imapBad("a literal cannot stand in a filter")
	}
	size, sync, err := r.readLiteralHead()
	if err != nil {
		return "", err
	}
	if size > imapLiteralMost || int64(r.literals)+size > imapLiteralsMost {
		return "", imapNo{imap.ResponseCodeTooBig, "this literal is too large"} // RFC 9051, section 4.3; said before it is sent
	}
	r.literals += int(size)
	if err := r.acceptLiteral(sync); err != nil {
		return "", err
	}
	text := make([]byte, size)
	for n := 0; n < len(text); {
		if err := r.flushBeforeWait(); err != nil {
			return "", err
		}
		got, err := r.c.Read(text[n:])
		if n += got; err != nil {
			return "", r.fail(err)
		}
	}
	if err := r.flushBeforeWait(); err != nil {
		return "", err
	}
	if err := r.afterLiteral(); err != nil {
		return "", err
	}
	if !binary && bytes.IndexByte(text, 0) >= 0 {
		return "", imapBad("a literal holds a NUL")
	}
	return string(text), nil
}

// readNumber reads a number of 32 bits.
func (r *imapReader) readNumber() (uint32, error) {
	n, err := r.readNumber64()
	if err != nil || n > 1<<32-1 {
		return 0, imapBad("a number is missing or too large")
	}
	return uint32(n), nil
}

// readNumber64 reads a number of 63 bits (RFC 9051, section 9, number64).
func (r *imapReader) readNumber64() (int64, error) {
	digits := r.readWhile(func(c byte) bool { return '0' <= c && c <= '9' })
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, imapBad("a number is missing or too large")
	}
	return n, nil
}

// readSet reads a sequence-set, which may be "$" (RFC 5182).
func (r *imapReader) readSet() (imapSet, error) {
	i := 0
	for i < len(r.line) && (imapIsAtomChar(r.line[i]) || r.line[i] == '*') {
		i++
	}
	set, err := imapParseSet(r.line[:i])
	if err != nil {
		return set, imapBad(err.Error())
	}
	r.line = r.line[i:]
	return set, nil
}

// readList reads "(item item ...)"; item reads one. The list may be empty.
func (r *imapReader) readList(item func() error) error {
	if !r.take('(') {
		return imapBad("a list is missing")
	}
	if r.take(')') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if r.take(')') {
			return nil
		}
		if !r.take(' ') {
			return imapBad("a list does not end")
		}
	}
}

// readFlag reads a system flag or a keyword. \Recent, which only the server sets, is
// no flag that a client may send.
func (r *imapReader) readFlag() (bit mailboxFlags, keyword string, err error) {
	if !r.take('\\') {
		if keyword, err = r.readAtom(); len(keyword) > imapKeywordMost {
			err = imapNo{imap.ResponseCodeLimit, "a keyword is too long"}
		}
		return 0, keyword, err
	}
	name, err := r.readAtom()
	if err != nil {
		return 0, "", err
	}
	for _, flag := range imapFlags {
		if strings.EqualFold(string(flag.name[1:]), name) {
			return flag.bit, "", nil
		}
	}
	return 0, "", imapBad(`there is no flag \` + name)
}

// readFlags reads flags with or without parentheses, as STORE takes them
// (RFC 9051, section 9, store-att-flags).
func (r *imapReader) readFlags() (bits mailboxFlags, keywords []string, err error) {
	one := func() error {
		bit, keyword, err := r.readFlag()
		bits |= bit
		if keyword != "" {
			keywords = append(keywords, keyword)
		}
		return err
	}
	if r.peek() == '(' {
		err := r.readList(one)
		return bits, keywords, err
	}
	for {
		if err := one(); err != nil {
			return 0, nil, err
		}
		if !r.take(' ') {
			return bits, keywords, nil
		}
	}
}

// readDateTime reads a date-time, such as "17-Jul-2026 02:44:25 -0700".
func (r *imapReader) readDateTime() (time.Time, error) {
	if r.peek() != '"' {
		return time.Time{}, imapBad("a date is missing")
	}
	text, err := r.readQuoted()
	if err != nil {
		return time.Time{}, err
	}
	date, err := time.Parse("_2-Jan-2006 15:04:05 -0700", text) // a day of one digit, too: clients send it
	if err != nil {
		return time.Time{}, imapBad(`a date is written like "17-Jul-2026 02:44:25 -0700"`)
	}
	return date, nil
}
