package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A dialog is a plain-text file below testdata/<door>. Its notation is the RFCs'
// own, so an example out of an RFC can be pasted in:
//
//	# a comment; empty lines mean nothing
//	C: text        the client sends text and CRLF
//	C~ text        the client sends text and no CRLF
//	C" text        as C:, with Go's escapes (\x00 \r \n \t \xff \\); a quote needs none
//	C~" text       as C~, with Go's escapes
//	S: text        the server must say this line, ended by CRLF
//	S: text...     a last "..." stands for any rest of the line
//	S" text        as S:, with Go's escapes
//	S~" text       the server must say exactly these bytes, whatever they end with
//	S{             the lines up to }S may come in any order
//	}S
//	C2: S2: S2{    a second connection (up to 9), opened where it is named first
//
// ${name} in an S: line takes in a word, later ones must be equal to it, and C:
// lines and file names may use it. ${_} is a word nobody asks for. ${x*1000} is
// x a thousand times.
//
// A line that begins with an exclamation mark does something:
//
//	! tls          the client makes a TLS handshake (!2 tls: on connection 2)
//	! tls alice    likewise, with a certificate for alice, signed by the CA of "! with client_ca cn"
//	! tls alice K  with one that is no good: K is stranger, ended, server or revoked
//	! close        the client breaks the connection
//	! closed       the server must have closed the connection, saying nothing more
//	! quiet        the server must have nothing to say now
//	! wait 30m     time passes; such a dialog runs on a fake clock
//	! put PATH     another program puts the file of the section "-- put PATH --"
//	! mv PATH PATH another program renames
//	! rm PATH      another program removes
//	! with K V     the server is one with this setting; see the door's own test
//
// Sections follow the lines. Paths are below the store's root, so begin with the
// user's name:
//
//	-- alice/new/1.M1.pi --       laid out first; its mtime is the number the name begins with
//	-- alice/.Sent/cur/ --        a directory
//	-- put alice/new/2.M1.pi --   for ! put
//	-- want alice/cur/1.* --      must be there afterwards with this text; a line "..." is any rest
//	-- gone alice/new/1.M1.pi --  must not be there afterwards
//	-- list alice/cur --          the directory's names, in any order
//
// Paths in want and gone, and the lines of list, are globs. "crlf" or "esc" before
// a path says that each line of the text ends with CRLF, or that the text has Go's
// escapes and its line ends do not count.
//
// With -update failing S: lines are rewritten from what the server said, and what
// it said unasked is put in: a new dialog may begin as C: lines alone.
//
// With -dialog-pop3 HOST:PORT (-dialog-imap, -dialog-smtp, -dialog-lmtp) the dialogs are played
// against a running server, which must know alice and bob, both with password
// "secret". -dialog-root names its mail root: before each dialog all in it is
// removed, so it must hold a file named dialog-scratch. Without it, dialogs with
// files are skipped; those on a fake clock always are, and those with settings unless
// -dialog-with says that the server has them. -dialog-differences compares by meaning.

var (
	dialogUpdate = flag.Bool("update", false, "rewrite the S: lines of failing dialogs from what the server said")
	dialogRoot   = flag.String("dialog-root", "", "mail root of the server that dialogs are aimed at; it is emptied")
	dialogHas    = flag.String("dialog-with", "", "the \"! with\" settings that the server has, between semicolons")
	dialogAim    = map[string]*string{
		"smtp": flag.String("dialog-smtp", "", "play SMTP dialogs against this host:port"),
		"pop3": flag.String("dialog-pop3", "", "play POP3 dialogs against this host:port"),
		"imap": flag.String("dialog-imap", "", "play IMAP dialogs against this host:port"),
		"lmtp": flag.String("dialog-lmtp", "", "play LMTP dialogs against this host:port"),
	}
)

// Dates are told in this machine's time zone, and the dialogs have them as they are in UTC.
func init() { time.Local = time.UTC }

// dialogPatience is how long a server may think about one line.
const dialogPatience = 20 * time.Second

// runDialogs plays every testdata/<door>/*.txt. serve speaks for the server on one
// connection until it ends; it runs once for each connection of a dialog, with the
// same dir, the store's root. What the connections share comes from dialogShared.
func runDialogs(t *testing.T, door string, serve func(t *testing.T, dir string, c net.Conn)) {
	paths, err := filepath.Glob(filepath.Join("testdata", door, "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dialogs for %s: %v", door, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d := &dialog{path: path, vars: map[string]string{}, with: map[string]string{}, conns: map[string]*dialogConn{}}
			if err := d.parse(string(raw)); err != nil {
				t.Fatalf("%s:%v", path, err)
			}
			start := func(t *testing.T) {
				dialogSettings.Store(d.dir, d.with)
				defer dialogSettings.Delete(d.dir)
				d.dial = func() (net.Conn, error) { return d.pipe(t, serve), nil }
				d.play(t)
			}
			switch aim := *dialogAim[door]; {
			case aim != "":
				d.aim(t, door, aim)
			case d.fakeClock:
				d.dir = t.TempDir()
				now := time.Now()
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(now)) // a bubble starts in 2000, files do not
					start(t)
				})
			default:
				d.dir = t.TempDir()
				start(t)
			}
			if fresh := strings.Join(d.told, "\n") + "\n" + d.tail; *dialogUpdate && d.ended && fresh != string(raw) {
				if err := os.WriteFile(path, []byte(fresh), 0o666); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// dialogWith gives a setting that the dialog played in dir wants, "" if it does not
// care.
func dialogWith(dir, key string) string {
	with, ok := dialogSettings.Load(dir)
	if !ok {
		return ""
	}
	return with.(map[string]string)[key]
}

var dialogSettings sync.Map // by dir: map[string]string

// dialogShared gives the one value that the connections of a dialog share, such as
// a store: made by the first that asks for dir. What make opens, it closes by
// t.Cleanup.
func dialogShared[T any](t testing.TB, dir string, make func() T) T {
	dialogSharedMu.Lock()
	defer dialogSharedMu.Unlock()
	v, ok := dialogSharedValues[dir]
	if !ok {
		v = make()
		dialogSharedValues[dir] = v
		t.Cleanup(func() {
			dialogSharedMu.Lock()
			defer dialogSharedMu.Unlock()
			delete(dialogSharedValues, dir)
		})
	}
	return v.(T)
}

var (
	dialogSharedMu     sync.Mutex
	dialogSharedValues = map[string]any{}
)

// dialogTLS is a server's TLS configuration for tests, with a certificate that
// nobody trusts.
var dialogTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dialog"},
		DNSNames: []string{"localhost"}, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert}
})

// dialog is one file being played.
type dialog struct {
	path      string
	lines     []dialogLine
	sections  []dialogSection
	tail      string // the sections as they were read
	fakeClock bool
	with      map[string]string // what "! with" says
	dir       string            // the store's root
	dial      func() (net.Conn, error)
	conns     map[string]*dialogConn
	sessions  sync.WaitGroup
	vars      map[string]string
	told      []string // the lines, S: lines as the server said them where it said otherwise
	ended     bool     // all lines were played
}

type dialogLine struct {
	number int
	raw    string
	kind   byte // 'C', 'S', '!', '{', '}' or 0
	conn   string
	whole  bool // CRLF belongs to it
	quoted bool // it has Go's escapes
	text   string
}

type dialogSection struct {
	what string // "", "put", "want", "gone", "list"
	path string
	text string
}

var (
	dialogLineForm    = regexp.MustCompile(`^([CS])([1-9]?)(:|~"|~|"|\{)(?: (.*))?$`)
	dialogActForm     = regexp.MustCompile(`^!([1-9]?) (.*)$`)
	dialogSectionForm = regexp.MustCompile(`^-- (?:(put|want|gone|list) )?(?:(crlf|esc) )?(\S+) --$`)
	dialogVarForm     = regexp.MustCompile(`\$\{([^}]*)\}`)
)

func (d *dialog) parse(raw string) error {
	var section *dialogSection
	var how string
	end := func() {
		switch how {
		case "crlf":
			section.text = strings.ReplaceAll(section.text, "\n", "\r\n")
		case "esc":
			section.text = dialogUnescape(strings.ReplaceAll(section.text, "\n", ""))
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(raw, "\n"), "\n") {
		if m := dialogSectionForm.FindStringSubmatch(line); m != nil {
			end()
			d.sections = append(d.sections, dialogSection{what: m[1], path: m[3]})
			section, how = &d.sections[len(d.sections)-1], m[2]
		} else if section != nil {
			section.text += line + "\n"
		}
		if section != nil {
			d.tail += line + "\n"
			continue
		}
		l, err := parseDialogLine(line)
		if err != nil {
			return fmt.Errorf("%d: %w", i+1, err)
		}
		l.number = i + 1
		d.lines = append(d.lines, l)
		if key, value, ok := strings.Cut(strings.TrimPrefix(l.text, "with "), " "); ok && l.kind == '!' && strings.HasPrefix(l.text, "with ") {
			d.with[key] = value
		}
		if l.kind == '!' && (strings.HasPrefix(l.text, "wait ") || l.text == "quiet") {
			d.fakeClock = true
		}
	}
	end()
	return nil
}

func parseDialogLine(line string) (dialogLine, error) {
	l := dialogLine{raw: line, conn: "1"}
	if m := dialogActForm.FindStringSubmatch(line); m != nil {
		l.kind, l.text = '!', m[2]
		l.conn = max(m[1], "1")
		return l, nil
	}
	if m := dialogLineForm.FindStringSubmatch(line); m != nil {
		l.kind, l.text = m[1][0], m[4]
		l.conn = max(m[2], "1")
		l.whole = !strings.HasPrefix(m[3], "~")
		l.quoted = strings.HasSuffix(m[3], `"`)
		if m[3] == "{" && l.kind == 'S' {
			l.kind = '{'
		} else if m[3] == "{" || l.kind == 'S' && m[3] == "~" {
			return l, fmt.Errorf("unknown notation %q", line)
		}
		return l, nil
	}
	switch {
	case line == "}S":
		l.kind = '}'
	case line != "" && line[0] != '#':
		return l, fmt.Errorf("unknown notation %q", line)
	}
	return l, nil
}

func dialogUnescape(s string) string {
	var b []byte
	for s != "" {
		r, multibyte, tail, err := strconv.UnquoteChar(s, 0)
		if err != nil {
			return string(b) + s // a lone backslash stays one, and fails to match
		}
		if multibyte {
			b = append(b, string(r)...)
		} else {
			b = append(b, byte(r))
		}
		s = tail
	}
	return string(b)
}

// play says the C: lines, holds the answers against the S: lines, and then looks
// at the files.
func (d *dialog) play(t *testing.T) {
	for _, s := range d.sections {
		if s.what == "" {
			d.layOut(t, s)
		}
	}
	if *dialogRoot != "" && d.dir == *dialogRoot {
		d.giveAway(t)
	}
	// However the dialog ends, the sessions end before the files are looked at and
	// before the directory goes.
	defer d.hangUp(t)
	for i := 0; i < len(d.lines); i++ {
		l := &d.lines[i]
		if l.kind == 'C' || l.kind == '!' {
			d.unasked()
		}
		switch l.kind {
		case 'C':
			text := d.expand(l.text)
			if l.quoted {
				text = dialogUnescape(text)
			}
			if l.whole {
				text += "\r\n"
			}
			if err := d.conn(t, l.conn).send(text); err != nil {
				t.Fatalf("%s:%d: sending: %v", d.path, l.number, err)
			}
		case 'S':
			d.hear(t, l)
			continue
		case '{':
			i += d.hearGroup(t, d.lines[i:])
			continue
		case '!':
			d.act(t, l)
		}
		d.told = append(d.told, l.raw)
	}
	d.unasked()
	for name := range d.conns {
		if rest := d.conns[name].rest(); rest != "" {
			t.Errorf("%s: in the end the server also said %q on connection %s", d.path, rest, name)
		}
	}
	d.ended = true
	d.hangUp(t)
	d.checkFiles(t)
}

func (d *dialog) hangUp(t *testing.T) {
	for _, c := range d.conns {
		c.Close()
	}
	done := make(chan struct{})
	go func() { d.sessions.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(dialogPatience):
		t.Errorf("%s: a session goes on after its connection was closed", d.path)
	}
}

// hear reads one answer.
func (d *dialog) hear(t *testing.T, l *dialogLine) {
	c := d.conn(t, l.conn)
	if !l.whole {
		want := dialogUnescape(d.expand(l.text))
		got := make([]byte, len(want))
		n, err := io.ReadFull(c, got)
		if string(got[:n]) != want {
			t.Errorf("%s:%d:\nwant %q\n got %q (%v)", d.path, l.number, want, got[:n], err)
		}
		d.told = append(d.told, fmt.Sprintf("S%s~\" %s", l.connMark(), dialogEscape(string(got[:n]))))
		return
	}
	said, err := c.line()
	if d.match(l, said) && err == nil {
		d.told = append(d.told, l.raw)
		return
	}
	t.Errorf("%s:%d:\nwant %s\n got %s (%v)", d.path, l.number, l.raw, d.asLine(l.conn, said), err)
	if said != "" || err == nil {
		d.told = append(d.told, d.asLine(l.conn, said))
	}
}

// hearGroup reads as many answers as stand between S{ and }S, in any order, and
// tells how many lines of the dialog that was.
func (d *dialog) hearGroup(t *testing.T, lines []dialogLine) int {
	end := slices.IndexFunc(lines, func(l dialogLine) bool { return l.kind == '}' })
	if end < 0 {
		t.Fatalf("%s:%d: S{ without }S", d.path, lines[0].number)
	}
	c := d.conn(t, lines[0].conn)
	wanted := []*dialogLine{}
	for i := range lines[1:end] {
		if l := &lines[1+i]; l.kind == 'S' && l.whole {
			wanted = append(wanted, l)
		} else if l.kind != 0 {
			t.Fatalf("%s:%d: only S: lines may stand between S{ and }S", d.path, l.number)
		}
	}
	var strange []string
	left := slices.Clone(wanted)
	for range wanted {
		said, err := c.line()
		if i := slices.IndexFunc(left, func(l *dialogLine) bool { return d.match(l, said) }); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		if strange = append(strange, d.asLine(lines[0].conn, said)); err != nil {
			t.Errorf("%s:%d: %v", d.path, lines[0].number, err)
			break
		}
	}
	for _, l := range left {
		t.Errorf("%s:%d: not said: %s\ninstead: %s", d.path, l.number, l.raw, strings.Join(strange, "\n         "))
	}
	for i := range lines[:end+1] {
		if !slices.Contains(left, &lines[i]) {
			if i == end {
				d.told = append(d.told, strange...)
			}
			d.told = append(d.told, lines[i].raw)
		}
	}
	return end
}

func (l *dialogLine) connMark() string {
	if l.conn == "1" {
		return ""
	}
	return l.conn
}

// asLine writes what was said as a line of the notation.
func (d *dialog) asLine(conn, said string) string {
	l := dialogLine{conn: conn}
	if body, ok := strings.CutSuffix(said, " "); ok { // editors take away spaces at a line's end
		return `S` + l.connMark() + `" ` + dialogEscape(body) + `\x20`
	} else if esc := dialogEscape(said); esc != said {
		return `S` + l.connMark() + `" ` + esc
	}
	return strings.TrimSuffix("S"+l.connMark()+": "+said, " ")
}

func dialogEscape(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return strings.ReplaceAll(strings.Trim(strconv.QuoteToASCII(s), `"`), `\"`, `"`)
		}
	}
	return s
}

// unasked takes in, for -update, what the server says before the client's next
// word though no S: line asked for it.
func (d *dialog) unasked() {
	if len(d.conns) == 0 || !*dialogUpdate {
		return
	}
	if d.fakeClock {
		synctest.Wait()
	} else {
		time.Sleep(300 * time.Millisecond) // only for the writer of dialogs
	}
	for _, name := range slices.Sorted(maps.Keys(d.conns)) {
		for c := d.conns[name]; c.rest() != ""; {
			said, _ := c.line()
			d.told = append(d.told, d.asLine(name, said))
		}
	}
}

// match holds what was said against a line, and takes in its variables.
func (d *dialog) match(l *dialogLine, said string) bool {
	text := l.text
	rest := strings.HasSuffix(text, "...")
	text = strings.TrimSuffix(text, "...")
	plain := func(s string) string {
		if l.quoted {
			s = dialogUnescape(s)
		}
		return regexp.QuoteMeta(dialogLatin1(s))
	}
	pattern, names, at := `(?s)^`, []string{}, 0
	for _, m := range dialogVarForm.FindAllStringSubmatchIndex(text, -1) {
		pattern += plain(text[at:m[0]])
		at = m[1]
		name := text[m[2]:m[3]]
		if value := d.expand(text[m[0]:m[1]]); value != text[m[0]:m[1]] {
			pattern += regexp.QuoteMeta(dialogLatin1(value))
		} else {
			pattern += `(\S+?)`
			names = append(names, name)
		}
	}
	pattern += plain(text[at:])
	if rest {
		pattern += `.*`
	}
	m := regexp.MustCompile(pattern + `$`).FindStringSubmatch(dialogLatin1(said))
	if m == nil {
		return false
	}
	for i, name := range names {
		if name != "_" {
			d.vars[name] = m[1+i]
		}
	}
	return true
}

// dialogLatin1 makes a rune of each byte, since regexp wants UTF-8.
func dialogLatin1(s string) string {
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

// expand puts in the variables that are known and the repetitions.
func (d *dialog) expand(text string) string {
	return dialogVarForm.ReplaceAllStringFunc(text, func(v string) string {
		name := v[2 : len(v)-1]
		if i := strings.LastIndexByte(name, '*'); i >= 0 {
			if n, err := strconv.Atoi(name[i+1:]); err == nil {
				return strings.Repeat(name[:i], n)
			}
		}
		if value, ok := d.vars[name]; ok {
			return value
		}
		return v
	})
}

// act does what a line with an exclamation mark says.
func (d *dialog) act(t *testing.T, l *dialogLine) {
	fail := func(err error) {
		if err != nil {
			t.Fatalf("%s:%d: %v", d.path, l.number, err)
		}
	}
	verb, arg, _ := strings.Cut(d.expand(l.text), " ")
	switch verb {
	case "tls":
		var own []tls.Certificate
		if user, kind, _ := strings.Cut(arg, " "); user != "" {
			own = append(own, testAuthCertificate(user, kind))
		}
		fail(d.conn(t, l.conn).startTLS(own...))
	case "with": // parse has seen it
	case "close":
		d.conn(t, l.conn).Close()
	case "closed":
		if said, err := d.conn(t, l.conn).line(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || said != "" {
			t.Errorf("%s:%d: the server should have closed, got %q (%v)", d.path, l.number, said, err)
		}
	case "quiet":
		d.conn(t, l.conn)
		if synctest.Wait(); d.conns[l.conn].rest() != "" {
			t.Errorf("%s:%d: the server said %q", d.path, l.number, d.conns[l.conn].rest())
		}
	case "wait":
		pause, err := time.ParseDuration(arg)
		fail(err)
		time.Sleep(pause)
		synctest.Wait()
	case "put":
		i := slices.IndexFunc(d.sections, func(s dialogSection) bool { return s.what == "put" && s.path == arg })
		if i < 0 {
			t.Fatalf("%s:%d: no section -- put %s --", d.path, l.number, arg)
		}
		d.layOut(t, d.sections[i])
	case "mv":
		from, to, _ := strings.Cut(arg, " ")
		fail(os.Rename(d.file(t, from), filepath.Join(d.dir, to)))
	case "rm":
		fail(os.RemoveAll(d.file(t, arg)))
	default:
		t.Fatalf("%s:%d: unknown act %q", d.path, l.number, l.raw)
	}
}

// file gives the one file that a glob names.
func (d *dialog) file(t *testing.T, glob string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.dir, d.expand(glob)))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %s names %d files (%v)", d.path, glob, len(paths), err)
	}
	return paths[0]
}

// layOut writes one file as a program that delivers would: it appears whole. A
// Maildir that it lies in gets its three directories.
func (d *dialog) layOut(t *testing.T, s dialogSection) {
	t.Helper()
	path := filepath.Join(d.dir, d.expand(s.path))
	made := []string{filepath.Dir(path)}
	if strings.HasSuffix(s.path, "/") {
		made[0] = path
	}
	if sub := filepath.Base(made[0]); sub == "new" || sub == "cur" || sub == "tmp" {
		for _, sub := range []string{"new", "cur", "tmp"} {
			made = append(made, filepath.Join(filepath.Dir(made[0]), sub))
		}
	}
	for _, dir := range made {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasSuffix(s.path, "/") {
		return
	}
	tmp := filepath.Join(d.dir, ".laying-out")
	if err := os.WriteFile(tmp, []byte(s.text), 0o600); err != nil {
		t.Fatal(err)
	}
	number, _, _ := strings.Cut(filepath.Base(path), ".")
	if sec, err := strconv.ParseInt(number, 10, 64); err == nil {
		if err := os.Chtimes(tmp, time.Unix(sec, 0), time.Unix(sec, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func (d *dialog) checkFiles(t *testing.T) {
	for _, s := range d.sections {
		paths, err := filepath.Glob(filepath.Join(d.dir, d.expand(s.path)))
		if err != nil {
			t.Fatalf("%s: %s: %v", d.path, s.path, err)
		}
		switch s.what {
		case "want":
			if len(paths) != 1 {
				t.Errorf("%s: afterwards %s names %q, want one file", d.path, s.path, paths)
				continue
			}
			b, err := os.ReadFile(paths[0])
			if !d.matchText(s.text, string(b)) {
				t.Errorf("%s: afterwards %s is %q (%v), want %q", d.path, s.path, b, err, s.text)
			}
		case "gone":
			if len(paths) != 0 {
				t.Errorf("%s: afterwards %q should be gone", d.path, paths)
			}
		case "list":
			d.checkList(t, s)
		}
	}
}

func (d *dialog) matchText(want, got string) bool {
	wants, gots := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	for i, line := range wants {
		if strings.TrimRight(line, "\r\n") == "..." {
			return true
		}
		text := strings.TrimRight(line, "\r\n")
		if i >= len(gots) {
			return false
		}
		said, ok := strings.CutSuffix(gots[i], line[len(text):])
		if !ok || !d.match(&dialogLine{text: text}, said) {
			return false
		}
	}
	return len(wants) == len(gots)
}

func (d *dialog) checkList(t *testing.T, s dialogSection) {
	entries, err := os.ReadDir(filepath.Join(d.dir, d.expand(s.path)))
	if err != nil {
		t.Errorf("%s: %v", d.path, err)
		return
	}
	globs := strings.Fields(d.expand(s.text))
	for _, e := range entries {
		i := slices.IndexFunc(globs, func(g string) bool { ok, _ := filepath.Match(g, e.Name()); return ok })
		if i < 0 {
			t.Errorf("%s: afterwards %s also holds %s", d.path, s.path, e.Name())
		} else {
			globs = slices.Delete(globs, i, i+1)
		}
	}
	if len(globs) > 0 {
		t.Errorf("%s: afterwards %s lacks %q", d.path, s.path, globs)
	}
}

// aim plays the dialog against a running server.
func (d *dialog) aim(t *testing.T, door, addr string) {
	if d.fakeClock {
		t.Skip("needs a fake clock")
	}
	has := strings.Split(*dialogHas, ";")
	for key, value := range d.with {
		if slices.Contains(has, key+" "+value) {
			delete(d.with, key)
		}
	}
	if len(d.with) > 0 {
		t.Skipf("needs a server with %v", d.with)
	}
	if d.dir = *dialogRoot; d.dir == "" && len(d.sections) > 0 {
		t.Skip("needs -dialog-root")
	}
	if d.dir != "" {
		if _, err := os.Stat(filepath.Join(d.dir, "dialog-scratch")); err != nil {
			t.Fatalf("-dialog-root would be emptied, so it must hold a file dialog-scratch: %v", err)
		}
		entries, err := os.ReadDir(d.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "dialog-scratch" {
				os.RemoveAll(filepath.Join(d.dir, e.Name()))
			}
		}
	}
	d.dial = func() (net.Conn, error) { return net.Dial("tcp", addr) }
	if d.dir != "" {
		d.wake(t, door)
	}
	if *dialogDifferences != "" {
		d.compare(t, door)
		return
	}
	d.play(t)
}

// wake has a server that keeps folders in memory see that all mail is gone, before
// messages of the same names come.
func (d *dialog) wake(t *testing.T, door string) {
	for _, user := range []string{"alice", "bob"} {
		c := d.conn(t, "1")
		switch door {
		case "pop3":
			c.send("USER " + user + "\r\nPASS secret\r\nUIDL\r\nQUIT\r\n")
		case "imap":
			c.send("a LOGIN " + user + " secret\r\nb SELECT INBOX\r\nc LOGOUT\r\n")
		}
		for {
			if _, err := c.line(); err != nil {
				break
			}
		}
		c.Close()
		delete(d.conns, "1")
	}
}

// giveAway makes the server, the root's owner, the owner of all that was laid out.
func (d *dialog) giveAway(t *testing.T) {
	info, err := os.Stat(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 {
		filepath.WalkDir(d.dir, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Chown(path, int(owner.Uid), int(owner.Gid))
			}
			return err
		})
	}
}

func (d *dialog) pipe(t *testing.T, serve func(*testing.T, string, net.Conn)) net.Conn {
	client, server := net.Pipe()
	d.sessions.Go(func() {
		defer server.Close()
		serve(t, d.dir, server)
	})
	return client
}

func (d *dialog) conn(t *testing.T, name string) *dialogConn {
	t.Helper()
	if c := d.conns[name]; c != nil {
		return c
	}
	nc, err := d.dial()
	if err != nil {
		t.Fatalf("%s: %v", d.path, err)
	}
	c := &dialogConn{Conn: nc, raw: &dialogPump{Conn: nc, ready: make(chan struct{}, 1)}}
	c.Conn = c.raw
	d.sessions.Go(c.raw.pump)
	d.conns[name] = c
	return c
}

// dialogConn is the client's end of one connection.
type dialogConn struct {
	net.Conn // raw, or TLS on it
	raw      *dialogPump
	secure   bool
}

func (c *dialogConn) send(text string) error {
	c.SetWriteDeadline(time.Now().Add(dialogPatience))
	_, err := io.WriteString(c, text)
	return err
}

// line reads up to a LF. CRLF is taken off, a lone LF is not.
func (c *dialogConn) line() (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			return string(line), err
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r\n"), nil
		}
	}
}

// rest is what has come and was not read (for TLS, in cipher text).
func (c *dialogConn) rest() string {
	c.raw.mu.Lock()
	defer c.raw.mu.Unlock()
	// An alert, such as close_notify; in TLS 1.3 it is enciphered and known by its length.
	if b := c.raw.buf; c.secure && len(b) > 0 && (b[0] == 21 || len(b) == 24 && b[0] == 23 && b[4] == 19) {
		return ""
	}
	return string(c.raw.buf)
}

func (c *dialogConn) startTLS(own ...tls.Certificate) error {
	tc := tls.Client(c.raw, &tls.Config{InsecureSkipVerify: true, Certificates: own})
	if err := tc.Handshake(); err != nil {
		return err
	}
	c.Conn, c.secure = tc, true
	return nil
}

// dialogPump reads ahead, so that a server on a pipe never waits for the client to
// listen.
type dialogPump struct {
	net.Conn
	ready    chan struct{}
	patience time.Duration // for one read; 0: dialogPatience
	mu       sync.Mutex    // guards what follows
	buf      []byte
	err      error
}

func (p *dialogPump) pump() {
	b := make([]byte, 32<<10)
	for {
		n, err := p.Conn.Read(b)
		p.mu.Lock()
		p.buf, p.err = append(p.buf, b[:n]...), err
		p.mu.Unlock()
		select {
		case p.ready <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *dialogPump) Read(b []byte) (int, error) {
	late := time.NewTimer(cmp.Or(p.patience, dialogPatience))
	defer late.Stop()
	for {
		p.mu.Lock()
		n := copy(b, p.buf)
		p.buf = p.buf[n:]
		err := p.err
		p.mu.Unlock()
		if n > 0 || err != nil && n == 0 {
			if n > 0 {
				err = nil
			}
			return n, err
		}
		select {
		case <-p.ready:
		case <-late.C:
			return 0, os.ErrDeadlineExceeded
		}
	}
}
