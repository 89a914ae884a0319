package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// With -dialog-differences FILE beside -dialog-imap or -dialog-pop3 the dialogs are compared by what the answers mean, and the differences
// are written to FILE, a line each: dialog, tag, what the dialog wants, what was said, with TABs between. Nothing fails for them.
//
// An answer's meaning: of a status response its condition and its code; of data the same values, whether they are atoms, quoted or
// literals, and the items of FLAGS, FETCH, STATUS, LIST and SEARCH in any order. Untagged responses may stand anywhere before the tagged
// one. The flag \Recent, the code CAPABILITY and words for people are not compared; neither are the files.

var dialogDifferences = flag.String("dialog-differences", "", "compare by meaning, and write what differs to this file")

// dialogComparison is one dialog that is compared.
type dialogComparison struct {
	*dialog
	door    string
	out     *bufio.Writer
	sides   map[string]*dialogSide
	stopped bool // nothing further can be compared
}

// dialogSide is what is known of one connection.
type dialogSide struct {
	tag       string // of the last command
	sent      string // the last line
	continues bool   // the next line belongs to that command
	pending   string // all that was sent and not answered
	greeted   bool   // the greeting was heard (POP3)
	refused   bool   // it was answered although the dialog has more lines of it
}

const (
	dialogSoon = 1500 * time.Millisecond // for what comes unasked
	dialogLate = 3 * time.Second         // for an answer
)

// compare plays the dialog, and goes on where an answer is another one.
func (d *dialog) compare(t *testing.T, door string) {
	file, err := os.OpenFile(*dialogDifferences, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := &dialogComparison{dialog: d, door: door, out: bufio.NewWriter(file), sides: map[string]*dialogSide{}}
	defer c.out.Flush()
	for _, s := range d.sections {
		if s.what == "" {
			d.layOut(t, s)
		}
	}
	d.giveAway(t)
	defer c.leave()
	for i := 0; i < len(d.lines) && !c.stopped; i++ {
		switch l := &d.lines[i]; l.kind {
		case 'C':
			c.say(t, l)
		case 'S', '{':
			end := i + 1
			for end < len(d.lines) && (d.lines[end].kind == '}' || strings.Contains("S{\x00", string(d.lines[end].kind)) && (d.lines[end].kind == 0 || d.lines[end].conn == l.conn)) {
				end++
			}
			c.listen(t, l.conn, d.lines[i:end])
			i = end - 1
		case '!':
			c.act(t, l)
		}
	}
}

// leave waits until the server has closed all connections, and so has done with the files.
func (c *dialogComparison) leave() {
	for _, conn := range c.conns {
		conn.raw.patience = dialogSoon
		if tcp, ok := conn.raw.Conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
		io.Copy(io.Discard, conn.raw)
		conn.Close()
	}
	c.sessions.Wait()
}

func (c *dialogComparison) side(name string) *dialogSide {
	if c.sides[name] == nil {
		c.sides[name] = &dialogSide{tag: "greeting"}
	}
	return c.sides[name]
}

// differs notes a difference.
func (c *dialogComparison) differs(name, want, got string) {
	tag := c.side(name).tag
	if name != "1" {
		tag = name + ":" + tag
	}
	fmt.Fprintf(c.out, "%s/%s\t%s\t%s\t%s\n", c.door, strings.TrimSuffix(filepath.Base(c.path), ".txt"), tag, dialogShort(want), dialogShort(got))
}

// dialogShort puts an answer into one line.
func dialogShort(s string) string {
	if s = strings.TrimSpace(dialogEscape(s)); s == "" {
		return "-"
	} else if len(s) > 1000 {
		s = s[:1000]
	}
	return s
}

var dialogRecent = regexp.MustCompile(`^\* \d+ RECENT\r?\n?$`)

var dialogLiteral = regexp.MustCompile(`~?\{(\d+)(\+?)\}$`)

func (c *dialogComparison) say(t *testing.T, l *dialogLine) {
	s, text := c.side(l.conn), c.expand(l.text)
	if l.quoted {
		text = dialogUnescape(text)
	}
	if !s.continues {
		s.tag, _, _ = strings.Cut(dialogShort(text), " ")
		s.refused = false
	}
	if s.refused {
		return
	}
	s.sent = text
	s.pending += text
	m := dialogLiteral.FindStringSubmatch(text)
	s.continues = !l.whole || m != nil && m[2] == "+"
	if l.whole {
		text += "\r\n"
		s.pending += "\r\n"
	}
	if err := c.conn(t, l.conn).send(text); err != nil {
		c.differs(l.conn, "", "the connection is closed")
		c.stopped = true
	}
}

// listen compares what the dialog wants to hear with what is said.
func (c *dialogComparison) listen(t *testing.T, name string, lines []dialogLine) {
	s, wants := c.side(name), c.wanted(lines)
	if len(wants) == 0 {
		return
	}
	asks := len(wants) > 0 && strings.HasPrefix(wants[len(wants)-1], "+") && c.door == "imap"
	if s.refused {
		s.continues = asks
		return
	}
	s.continues = asks
	if c.door == "pop3" {
		c.listenPOP3(t, name, wants)
		return
	}
	gots := c.heard(t, name, wants)
	var left []string
	for _, want := range wants {
		i := slices.IndexFunc(gots, func(got string) bool { return c.alike(want, got) })
		if i < 0 {
			left = append(left, want)
			continue
		}
		gots = slices.Delete(gots, i, i+1)
	}
	for _, want := range left {
		i := slices.IndexFunc(gots, func(got string) bool { return dialogKind(got) == dialogKind(want) })
		if i < 0 {
			c.differs(name, c.meaning(want), "")
			continue
		}
		c.differs(name, c.meaning(want), c.meaning(gots[i]))
		gots = slices.Delete(gots, i, i+1)
	}
	for _, got := range gots {
		if meant := c.meaning(got); meant != "* OK" { // words for people, as that the login takes a while
			c.differs(name, "", meant)
		}
	}
}

// dialogLong are POP3's commands with answers of several lines.
var dialogLong = regexp.MustCompile(`(?i)^(?:(?:CAPA|LIST|UIDL|AUTH)\r\n|(?:TOP|RETR) )`)

// listenPOP3 compares answers, each of which belongs to a command.
func (c *dialogComparison) listenPOP3(t *testing.T, name string, wants []string) {
	s, conn := c.side(name), c.conn(t, name)
	conn.raw.patience = dialogLate
	defer func() { conn.raw.patience = 0 }()
	commands := strings.SplitAfter(s.pending, "\r\n")
	if !s.greeted || s.pending == "" {
		s.greeted = true
		commands = append([]string{"greeting"}, commands...)
	}
	s.pending = ""
	for _, command := range commands {
		if command == "" {
			continue
		} else if len(wants) == 0 {
			s.pending += command
			continue
		}
		long := dialogLong.MatchString(command)
		if command != "greeting" {
			s.tag = dialogShort(command[:min(len(command), 30)])
		}
		want := []string{wants[0]}
		if wants = wants[1:]; long && strings.HasPrefix(want[0], "+OK") {
			end := slices.Index(wants, ".") + 1
			want, wants = append(want, wants[:end]...), wants[end:]
		}
		line, err := conn.line()
		got := []string{line}
		for long && strings.HasPrefix(line, "+OK") && err == nil && got[len(got)-1] != "." {
			line, err := conn.line()
			if err != nil {
				break
			}
			got = append(got, line)
		}
		if strings.HasPrefix(strings.ToUpper(command), "CAPA") {
			slices.Sort(want)
			slices.Sort(got)
		}
		for i := range max(len(want), len(got)) {
			want, got := strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""), strings.Join(got[min(i, len(got)):min(i+1, len(got))], "")
			if !c.alike(want, got) {
				c.differs(name, c.meaning(want), c.meaning(got))
			}
		}
	}
}

// wanted makes the lines to responses: a line and its literals are one.
func (c *dialogComparison) wanted(lines []dialogLine) []string {
	var whole strings.Builder
	for _, l := range lines {
		if l.kind != 'S' {
			continue
		}
		text := c.expand(l.text)
		if l.quoted || !l.whole {
			text = dialogUnescape(text)
		}
		whole.WriteString(text)
		if l.whole {
			whole.WriteString("\r\n")
		}
	}
	var out []string
	for rest := whole.String(); rest != ""; {
		end := 0
		for {
			i := strings.Index(rest[end:], "\r\n")
			if i < 0 {
				end = len(rest)
				break
			}
			m := dialogLiteral.FindStringSubmatch(rest[end : end+i])
			end += i + 2
			if m == nil || c.door != "imap" {
				break
			}
			n, _ := strconv.Atoi(m[1])
			end = min(end+n, len(rest))
		}
		if !dialogRecent.MatchString(rest[:end]) {
			out = append(out, strings.TrimSuffix(rest[:end], "\r\n"))
		}
		rest = rest[end:]
	}
	return out
}

// heard reads the responses that the wanted ones should be.
func (c *dialogComparison) heard(t *testing.T, name string, wants []string) []string {
	s, conn := c.side(name), c.conn(t, name)
	tags := map[string]bool{} // that must come
	for _, want := range wants {
		if tag, _, _ := strings.Cut(want, " "); tag != "*" && tag != "+" {
			tags[tag] = true
		}
	}
	last, _, _ := strings.Cut(wants[len(wants)-1], " ")
	untagged := last == "*" // the end is known by the number of responses
	var gots []string
	for !(len(tags) == 0 && last != "+" && (!untagged || len(gots) >= len(wants))) {
		conn.raw.patience = dialogLate
		if len(tags) == 0 && untagged && len(gots) > 0 || last == "*" && s.tag != "greeting" {
			conn.raw.patience = dialogSoon
		}
		got, err := conn.response()
		if err != nil {
			if got != "" {
				gots = append(gots, got)
			}
			break
		}
		if dialogRecent.MatchString(got) {
			continue
		}
		gots = append(gots, got)
		tag, _, _ := strings.Cut(got, " ")
		delete(tags, tag)
		if tag == "+" && last == "+" {
			break
		} else if last == "+" && tag == s.tag {
			s.refused = true
			break
		} else if m := dialogLiteral.FindStringSubmatch(s.sent); tag == "+" && m != nil && m[2] == "" {
			n, _ := strconv.Atoi(m[1]) // it takes what the dialog wants refused
			if n > 8<<20 {
				c.stopped = true
				break
			}
			conn.send(strings.Repeat("x", n) + "\r\n")
		}
	}
	conn.raw.patience = 0
	return gots
}

// response reads a line, and its literals.
func (c *dialogConn) response() (string, error) {
	var whole strings.Builder
	for {
		line, err := c.line()
		whole.WriteString(line)
		m := dialogLiteral.FindStringSubmatch(line)
		if err != nil || m == nil {
			return whole.String(), err
		}
		n, _ := strconv.Atoi(m[1])
		whole.WriteString("\r\n")
		for b := make([]byte, 1); n > 0; n-- {
			if _, err := c.Read(b); err != nil {
				return whole.String(), err
			}
			whole.Write(b)
		}
	}
}

func (c *dialogComparison) act(t *testing.T, l *dialogLine) {
	verb, arg, _ := strings.Cut(c.expand(l.text), " ")
	switch verb {
	case "closed":
		conn := c.conn(t, l.conn)
		conn.raw.patience = dialogSoon
		if said, err := conn.line(); err == nil || said != "" || os.IsTimeout(err) {
			c.differs(l.conn, "(closed)", cmp.Or(said, "(open)"))
			c.stopped = true
		}
		return
	case "tls":
		if err := c.conn(t, l.conn).startTLS(); err != nil {
			c.differs(l.conn, "a TLS handshake", "none")
			c.stopped = true
		}
		return
	case "mv", "rm":
		from, _, _ := strings.Cut(arg, " ")
		if paths, _ := filepath.Glob(filepath.Join(c.dir, from)); len(paths) != 1 {
			c.differs(l.conn, l.raw, fmt.Sprintf("%d such files", len(paths)))
			return
		}
	}
	c.dialog.act(t, l)
}

// alike tells whether two answers mean the same. The first may have variables and a last "...".
func (c *dialogComparison) alike(want, got string) bool {
	meant := c.meaning(got)
	if (strings.HasPrefix(want, "* LIST ") || strings.HasPrefix(want, "* LSUB ")) && !strings.Contains(got, `\Has`) {
		want = dialogChildren.ReplaceAllString(want, "") // RFC 5258, section 4: they may be left out
	}
	if strings.HasSuffix(want, "...") {
		l := &dialogLine{text: want}
		return c.match(l, got) || c.match(l, meant) || c.match(&dialogLine{text: c.meaning(want)}, meant)
	}
	return c.match(&dialogLine{text: c.meaning(want)}, meant)
}

var dialogChildren = regexp.MustCompile(`\\Has(?:No)?Children ?`)

// dialogKind is what an answer is about: two of a kind are told as one difference.
func dialogKind(s string) string {
	words := strings.Fields(s + " - - -")
	switch {
	case words[0] != "*":
		return words[0]
	case words[1] == "OK" || words[1] == "NO":
		return words[1] + words[2]
	case words[2] == "FETCH":
		return strings.Join(words[1:3], " ")
	case words[1] == "LIST" || words[1] == "LSUB":
		_, name, _ := strings.Cut(s, ") ")
		name, _, _ = strings.Cut(name, " (")
		return words[1] + strings.ReplaceAll(name, `"`, "")
	case words[1][0] >= '0' && words[1][0] <= '9':
		return words[2]
	}
	return words[1]
}

var (
	dialogStatus  = regexp.MustCompile(`(?s)^(\S+) (OK|NO|BAD|BYE|PREAUTH)\b(.*)$`)
	dialogCode    = regexp.MustCompile(`^\s*(\[[^\]]*\])(.*)$`)
	dialogNumbers = regexp.MustCompile(`^\+OK((?: [0-9]+)*)(?: |$)`)
)

// meaning is an answer without what a server is free to say in other words.
func (c *dialogComparison) meaning(s string) string {
	if c.door == "pop3" {
		if m := dialogNumbers.FindStringSubmatch(s); m != nil {
			return "+OK" + m[1]
		} else if after, ok := strings.CutPrefix(s, "-ERR"); ok {
			code := dialogCode.FindStringSubmatch(after)
			if code == nil {
				return "-ERR"
			}
			return "-ERR " + code[1]
		}
		return s
	}
	if strings.HasPrefix(s, "+") {
		return "+"
	}
	if m := dialogStatus.FindStringSubmatch(s); m != nil {
		short := m[1] + " " + m[2]
		code := dialogCode.FindStringSubmatch(m[3])
		switch {
		case code == nil && strings.HasSuffix(m[3], "...") && strings.TrimSpace(m[3]) != "...":
			return s // the dialog wants the beginning of a code
		case code == nil || strings.HasPrefix(code[1], "[CAPABILITY"):
			return short
		}
		p := dialogTokens{rest: code[1][1 : len(code[1])-1]}
		return short + " [" + dialogJoin(p.all()) + "]"
	}
	p := dialogTokens{rest: s}
	tokens := p.all()
	if p.broken || len(tokens) < 2 {
		return s
	}
	first := strings.ToUpper(tokens[1].text)
	switch {
	case first == "SEARCH" || first == "ENABLED" || first == "CAPABILITY":
		slices.SortFunc(tokens[2:], dialogTokenOrder)
	case first == "FLAGS": // dialogJoin sorts them
	case (first == "LIST" || first == "LSUB") && len(tokens) > 2:
		slices.SortFunc(tokens[2].list, dialogTokenOrder)
	case first == "STATUS" && len(tokens) > 3:
		tokens[3].list = dialogPairs(tokens[3].list)
	case len(tokens) > 3 && strings.EqualFold(tokens[2].text, "FETCH"):
		tokens[3].list = dialogPairs(tokens[3].list)
	}
	return dialogJoin(tokens)
}

// dialogToken is an atom or string, or a list.
type dialogToken struct {
	text   string
	isList bool
	list   []dialogToken
}

func dialogTokenOrder(a, b dialogToken) int { return strings.Compare(a.String(), b.String()) }

func (k dialogToken) String() string {
	if k.isList {
		return "(" + dialogJoin(k.list) + ")"
	}
	return k.text
}

func dialogJoin(tokens []dialogToken) string {
	words := make([]string, len(tokens))
	for i, k := range tokens {
		words[i] = k.String()
		if i > 0 && (strings.EqualFold(tokens[i-1].text, "FLAGS") || strings.EqualFold(tokens[i-1].text, "PERMANENTFLAGS")) {
			list := slices.DeleteFunc(slices.Clone(k.list), func(f dialogToken) bool {
				return f.text == `\Recent` || f.text == "$Forwarded" && i <= 2 && i == len(tokens)-1
			})
			slices.SortFunc(list, dialogTokenOrder)
			words[i] = dialogToken{isList: k.isList, list: list, text: k.text}.String()
		}
	}
	return strings.Join(words, " ")
}

// dialogPairs sorts "name value name value".
func dialogPairs(list []dialogToken) []dialogToken {
	var pairs [][]dialogToken
	for pair := range slices.Chunk(list, 2) {
		pairs = append(pairs, pair)
	}
	slices.SortStableFunc(pairs, func(a, b []dialogToken) int { return strings.Compare(a[0].String(), b[0].String()) })
	return slices.Concat(pairs...)
}

// dialogTokens takes a response apart.
type dialogTokens struct {
	rest   string
	broken bool
}

var (
	dialogQuoted = regexp.MustCompile(`(?s)^"((?:[^"\\]|\\.)*)"`)
	dialogCounts = regexp.MustCompile(`^~?\{(\d+)\}\r\n`)
	dialogAtom   = regexp.MustCompile(`^[^\s()\["]+(?:\[[^\]]*\](?:<\d+>)?)?|^\[[^\]]*\]|^.`)
	dialogPlain  = regexp.MustCompile(`^[^\s()\["\\]+$`)
)

func (p *dialogTokens) all() []dialogToken {
	var out []dialogToken
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		switch {
		case p.rest == "":
			return out
		case p.rest[0] == ')':
			p.rest = p.rest[1:]
			return out
		case p.rest[0] == '(':
			p.rest = p.rest[1:]
			out = append(out, dialogToken{isList: true, list: p.all()})
		default:
			out = append(out, dialogToken{text: p.text()})
		}
	}
}

// text reads an atom, or a string of either kind.
func (p *dialogTokens) text() string {
	value := ""
	if m := dialogQuoted.FindStringSubmatch(p.rest); m != nil {
		p.rest = p.rest[len(m[0]):]
		value = regexp.MustCompile(`(?s)\\(.)`).ReplaceAllString(m[1], "$1")
	} else if m := dialogCounts.FindStringSubmatch(p.rest); m != nil {
		n, _ := strconv.Atoi(m[1])
		p.rest = p.rest[len(m[0]):]
		p.broken = p.broken || n > len(p.rest)
		n = min(n, len(p.rest))
		value, p.rest = p.rest[:n], p.rest[n:]
	} else {
		atom := dialogAtom.FindString(p.rest)
		p.rest = p.rest[max(len(atom), 1):]
		return atom
	}
	if dialogPlain.MatchString(value) && !strings.EqualFold(value, "NIL") {
		return value
	}
	return `"` + value + `"`
}
