package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An index from before there were previews is read, has none for LAZY, and gets those that
// are asked for.
func TestImapPreviewOldIndex(t *testing.T) {
	v := imapTestBox(t, 20, func(i int) string { return fmt.Sprintf("Subject: number %d\r\n\r\nText %d\r\n", i, i) })
	for _, uid := range v.uids() {
		s, err := v.summary(uid)
		must(t, err)
		old := *s
		old.preview, old.previewed = nil, false
		must(t, v.record(uid, func(r *mailboxRecord) error {
			v.mb.keepSummary(r, &old)
			return nil
		}))
	}
	ask := func(items string) string {
		parsed, err := imapTestReader(items).readFetchItems(false)
		must(t, err)
		f := &imapFetch{view: v, items: parsed}
		var all []byte
		for i, s := range f.summaries(v.messages(v.uids())) {
			if s == nil || !strings.Contains(string(s.envelope), fmt.Sprintf("number %d", i)) {
				t.Fatalf("message %d: %+v", i, s)
			}
			must(t, f.preview(s))
			all = append(all, " "...)
			all = append(all, f.out...)
			f.out = f.out[:0]
		}
		return string(all)
	}
	none, some := strings.Repeat(" NIL", 20), ""
	for i := range 20 {
		some += fmt.Sprintf(` "Text %d"`, i)
	}
	for _, step := range []struct{ items, want string }{
		{"PREVIEW (LAZY)", none}, {"(ENVELOPE PREVIEW (LAZY))", none}, {"PREVIEW", some}, {"PREVIEW (LAZY)", some},
	} {
		if got := ask(step.items); got != step.want {
			t.Fatalf("%s: %s, want %s", step.items, got, step.want)
		}
	}
}

func TestImapWireForm(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"a":                 "a",
		"\n":                "\r\n",
		"\r\n":              "\r\n",
		"\n\n":              "\r\n\r\n",
		"\r\n\n\r\n":        "\r\n\r\n\r\n",
		"a\nb\r\nc\rd\r":    "a\r\nb\r\nc\rd\r",
		"\x00a\x00\n\x00":   "\x80a\x80\r\n\x80",
		"\r\r\n":            "\r\r\n",
		"a\n" + "\x00":      "a\r\n\x80",
		"8-bit \xff\x80\n":  "8-bit \xff\x80\r\n",
		"ends in CR\n\r":    "ends in CR\r\n\r",
		"no line end\r\nab": "no line end\r\nab",
	} {
		got := string(messageAppendWire([]byte("before\r"), []byte(text)))
		if got != "before\r"+want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if n := messageWireSize([]byte(text)); n != int64(len(want)) {
			t.Errorf("%q: size %d, want %d", text, n, len(want))
		}
		if messageIsWire([]byte(text)) != (text == want) {
			t.Errorf("%q: wire form %v", text, text != want)
		}
	}
}

func TestImapPartial(t *testing.T) {
	for _, c := range []struct {
		p            *imapPartial
		size         int64
		start, count int64
	}{
		{nil, 10, 0, 10},
		{&imapPartial{0, 4}, 10, 0, 4},
		{&imapPartial{8, 4}, 10, 8, 2},
		{&imapPartial{10, 4}, 10, 10, 0},
		{&imapPartial{1 << 62, 1 << 62}, 10, 10, 0},
		{&imapPartial{3, 1 << 62}, 10, 3, 7},
		{&imapPartial{0, 1}, 0, 0, 0},
	} {
		if start, count := c.p.cut(c.size); start != c.start || count != c.count {
			t.Errorf("%v of %d: %d, %d", c.p, c.size, start, count)
		}
	}
}

func TestImapAppendFlags(t *testing.T) {
	keywords := []string{"a", "", "c"}
	for want, flags := range map[string]mailboxFlags{
		"(x)":                     0,
		`(\Answered \Seen x)`:     mailboxFlagAnswered | mailboxFlagSeen,
		`(\Draft x $Forwarded a)`: mailboxFlagDraft | mailboxFlagForwarded | 1<<mailboxKeyword0,
		`(\Flagged \Deleted x c)`: mailboxFlagFlagged | mailboxFlagDeleted | 4<<mailboxKeyword0,
		`(x a c)`:                 7 << mailboxKeyword0,
		`(x c)`:                   0xFC << mailboxKeyword0,
	} {
		want := strings.Replace(want, "x", `\Recent`, 1)
		if got := string(imapAppendFlags(nil, flags, true, keywords)); got != want {
			t.Errorf("%x: %s, want %s", flags, got, want)
		}
	}
	if got := string(imapAppendFlags(nil, 0, false, keywords)); got != "()" {
		t.Errorf("no flags: %s", got)
	}
}

// imapTestFetch runs a FETCH of all messages and gives what the client reads.
func imapTestFetch(t *testing.T, v *mailboxView, c *conn, read func() string, what string) string {
	t.Helper()
	items, err := imapTestReader(what).readFetchItems(false)
	if err != nil {
		t.Fatal(err)
	}
	f := &imapFetch{c: c, view: v, items: items}
	if err := f.run(imapSpans{{0, len(v.uids())}}); err != nil || f.err != nil || f.gone || f.cte {
		t.Fatalf("%s: %v, %v", what, err, f.err)
	}
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	return read()
}

// TestImapFetchLarge reads messages that stream, over a pipe and over a socket, where the
// kernel copies files that are in wire form.
func TestImapFetchLarge(t *testing.T) {
	head := "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	line := "aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsaW5l\r\n"
	wire := head + strings.Repeat(line, 10000) + "\r\n--b\r\n\r\n" + strings.Repeat("last part\r\n", 20000) + "--b--\r\n"
	texts := []string{wire, strings.ReplaceAll(wire, "\r\n", "\n"), strings.Replace(wire, "last part", "\x00ast part", 1)}
	v := imapTestBox(t, len(texts), func(i int) string { return texts[i] })
	first := strings.TrimSuffix(strings.Repeat(line, 10001)[:len(line)*10000], "\r\n") + "\r\n"
	decoded := strings.Repeat("hello world, this is a line", 10000)
	last := strings.TrimSuffix(strings.Repeat("last part\r\n", 20000), "\r\n")
	literal := func(mark, text string) string { return fmt.Sprintf("%s{%d}\r\n%s", mark, len(text), text) }
	for _, overTCP := range []bool{false, true} {
		client, server := imapTestPipe(t, overTCP)
		c := newConn(server, slog.New(slog.DiscardHandler), time.Minute)
		for _, q := range []struct {
			what  string
			value func(i int) string // behind the item's name
		}{
			{"BODY.PEEK[]", func(i int) string {
				if i == 2 {
					return literal("BODY[] ", strings.Replace(wire, "last part", "\x80ast part", 1))
				}
				return literal("BODY[] ", wire)
			}},
			{"BODY.PEEK[]<100000.90000>", func(int) string { return literal("BODY[]<100000> ", wire[100000:190000]) }},
			{"BODY.PEEK[]<100000.10>", func(int) string { return literal("BODY[]<100000> ", wire[100000:100010]) }},
			{"BODY.PEEK[1]<0.400000>", func(int) string { return literal("BODY[1]<0> ", first) }},
			{"BODY.PEEK[1]<70000.200000>", func(int) string { return literal("BODY[1]<70000> ", first[70000:270000]) }},
			{"BINARY.PEEK[1]", func(int) string { return literal("BINARY[1] ", decoded) }},
			{"BINARY.SIZE[1]", func(int) string { return fmt.Sprint("BINARY.SIZE[1] ", len(decoded)) }},
			{"BINARY.PEEK[1]<100000.100000>", func(int) string { return literal("BINARY[1]<100000> ", decoded[100000:200000]) }},
			{"BINARY.PEEK[2]", func(i int) string {
				if i == 2 {
					return "BINARY[2] ~" + literal("", strings.Replace(last, "last part", "\x00ast part", 1))
				}
				return literal("BINARY[2] ", last)
			}},
			{"(BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[TEXT]<0.10>)", func(int) string {
				return literal("BODY[HEADER.FIELDS (SUBJECT)] ", "Subject: x\r\n\r\n") + literal(" BODY[TEXT]<0> ", wire[57:67])
			}},
		} {
			want := ""
			for i := range texts {
				want += fmt.Sprintf("* %d FETCH (%s)\r\n", i+1, q.value(i))
			}
			got := make(chan string, 1)
			go func() {
				b := make([]byte, len(want))
				n, _ := io.ReadFull(client, b)
				got <- string(b[:n])
			}()
			if got := imapTestFetch(t, v, c, func() string { return <-got }, q.what); got != want {
				i := 0
				for i < min(len(got), len(want)) && got[i] == want[i] {
					i++
				}
				t.Errorf("%s, TCP %v: %d bytes, want %d, differs at %d: %.60q, want %.60q", q.what, overTCP, len(got), len(want), i, got[i:], want[i:])
			}
		}
		c.Close()
	}
}

// TestImapFetchDownwards wants the same responses in the other order, where a limit cuts what was asked for.
func TestImapFetchDownwards(t *testing.T) {
	v := imapTestBox(t, 600, func(i int) string { return fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i) })
	for _, what := range []string{"(UID FLAGS)", "ENVELOPE", "(UID BODY.PEEK[TEXT] BODYSTRUCTURE)"} {
		rows := func(downwards bool) []string {
			client, server := imapTestPipe(t, false)
			c := newConn(server, slog.New(slog.DiscardHandler), time.Minute)
			items, err := imapTestReader(what).readFetchItems(false)
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan string, 1)
			go func() {
				b, _ := io.ReadAll(client)
				got <- string(b)
			}()
			f := &imapFetch{c: c, view: v, items: items, downwards: downwards}
			if err := f.run(imapSpans{{1, 2}, {5, 300}, {310, 600}}); err != nil || f.err != nil || f.gone {
				t.Fatal(err, f.err)
			}
			if err := c.flush(); err != nil {
				t.Fatal(err)
			}
			c.Close()
			return strings.Split(<-got, "* ")
		}
		up, down := rows(false), rows(true)
		slices.Reverse(down)
		if len(up) != 587 || !slices.Equal(up[1:], down[:len(down)-1]) {
			t.Errorf("%s: %d rows upwards, %d downwards, and not the same", what, len(up)-1, len(down)-1)
		}
	}
}

func imapTestPipe(t *testing.T, overTCP bool) (client, server net.Conn) {
	if !overTCP {
		client, server = net.Pipe()
	} else {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err = net.Dial("tcp", ln.Addr().String())
		if errors.Is(err, syscall.ENETUNREACH) {
			t.Skip("this machine has no network at all, not even to itself")
		} else if err != nil {
			t.Fatal(err)
		}
		if server, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { client.Close() })
	return client, server
}

// A keyword that comes into use while FETCH is being told is told, too, with the mod-sequence that it gave.
func TestImapFetchNewKeyword(t *testing.T) {
	const count = 3 * imapFetchBatch
	v := imapTestBox(t, count, testMail)
	theirs, ours := net.Pipe()
	defer theirs.Close()
	c := newConn(ours, slog.New(slog.DiscardHandler), time.Minute)
	s := &imapSession{door: &imapDoor{}, c: c, condstore: true, selected: &imapSelected{view: v}}
	items, err := imapTestReader("(FLAGS MODSEQ)").readFetchItems(true)
	must(t, err)
	done := make(chan error, 1)
	go func() {
		err := s.newFetch(items).run(imapSpans{{0, count}})
		done <- errors.Join(err, c.flush())
		ours.Close()
	}()
	one := make([]byte, 1)
	_, err = io.ReadFull(theirs, one) // it waits for the client to read on
	must(t, err)
	last := v.uids()[count-1:]
	keyword, err := v.keywordFlags([]string{"$Late"})
	must(t, err)
	_, err = v.store(last, mailboxAdd, keyword, false, 0)
	must(t, err)
	rest, err := io.ReadAll(theirs)
	must(t, errors.Join(err, <-done))
	want := fmt.Sprintf(" $Late) MODSEQ (%d))\r\n", v.messages(last)[0].modSeq)
	if !strings.HasSuffix(string(rest), want) {
		t.Errorf("%q, want %q", rest[max(0, len(rest)-200):], want)
	}
}
