package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// testReadMbox gives what a file's messages are, a line for each: "date flags keywords text".
func testReadMbox(r io.Reader) (list []string, err error) {
	m := newTransferMboxReader(r)
	for {
		msg, err := m.next()
		if err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, err
		}
		date := "-"
		if !msg.date.IsZero() {
			date = msg.date.UTC().Format(time.RFC3339)
		}
		text, err := io.ReadAll(m)
		if err != nil {
			return list, err
		}
		internal := ""
		if msg.internal {
			internal = "internal "
		}
		list = append(list, fmt.Sprintf("%s%s %d %s %q", internal, date, msg.flags, strings.Join(msg.keywords, ","), text))
	}
}

func TestTransferMboxReader(t *testing.T) {
	const from = "From a@b Mon Mar  2 10:00:00 2026\n"
	const at = "2026-03-02T10:00:00Z 0  "
	long := strings.Repeat("x", 2*transferMboxLine)
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"empty", "", nil},
		{"empty lines", "\n\r\n\n", nil},
		{"one", from + "A: b\n\ntext\n\n", []string{at + `"A: b\r\n\r\ntext\r\n"`}},
		{"no empty line at the end", from + "A: b\n\ntext", []string{at + `"A: b\r\n\r\ntext"`}},
		{"CRLF", strings.ReplaceAll(from+"A: b\n\ntext\n\n"+from+"C: d\n\n", "\n", "\r\n"), []string{at + `"A: b\r\n\r\ntext\r\n"`, at + `"C: d\r\n"`}},
		{"empty lines belong to the text", from + "A: b\n\n\n\ntext\n\n\n" + from + "A: b\n\n\n", []string{at + `"A: b\r\n\r\n\r\n\r\ntext\r\n\r\n"`, at + `"A: b\r\n\r\n"`}},
		{"no empty line between", from + "A: b\n\ntext\n" + from + "C: d\n\n", []string{at + `"A: b\r\n\r\ntext\r\n"`, at + `"C: d\r\n"`}},
		{"quoted", from + "A: b\n\n>From a\n>>From b\n>From\n> From c\nFrom here\n\n", []string{at + `"A: b\r\n\r\nFrom a\r\n>From b\r\n>From\r\n> From c\r\nFrom here\r\n"`}},
		{"no header", from + "\ntext\n\n", []string{at + `"\r\ntext\r\n"`}},
		{"nothing at all", from + from, []string{at + `""`, at + `""`}},
		{"a bare CR", from + "A: b\rc\n\nd\r\r\n\r\n\n", []string{at + `"A: b\rc\r\n\r\nd\r\r\n\r\n"`}},
		{"long lines", from + "A: " + long + "\n\n" + long + "\n\n", []string{at + `"A: ` + long + `\r\n\r\n` + long + `\r\n"`}},
		{"a line that looks so only after 64 KiB", from + "A: b\n\n" + long + from + "\n", []string{at + `"A: b\r\n\r\n` + long + strings.TrimSpace(from) + `\r\n"`}},
		{"first line without a date", "From me\nA: b\n\n", []string{`- 0  "A: b\r\n"`}},
		{"no line with a date", "From me\nA: b\n\nc\nFrom x\nA: y\n\nFrom here on\nit is text\n\nFrom you 2026-03-02\nD: e\n\n",
			[]string{`- 0  "A: b\r\n\r\nc\r\nFrom x\r\nA: y\r\n\r\nFrom here on\r\nit is text\r\n"`, `- 0  "D: e\r\n"`}},
		{"zones and years", "From - Mon Mar 02 10:00:00 +0100 2026\n\nFrom a b c Mon Mar 2 10:00 CET 2026\n\nFrom a Mon Mar 2 10:00:00 2026 -0200\n",
			[]string{`2026-03-02T09:00:00Z 0  ""`, at + `""`, `2026-03-02T12:00:00Z 0  ""`}},
		{"not a date", from + "\nFrom a@b Mon Foo  2 10:00:00 2026\nFrom a@b Mon Mar  2 10:00:00 26\nFrom a@b Mon Mar 32 10:00:00 2026\n",
			[]string{at + `"\r\nFrom a@b Mon Foo  2 10:00:00 2026\r\nFrom a@b Mon Mar  2 10:00:00 26\r\nFrom a@b Mon Mar 32 10:00:00 2026\r\n"`}},
		{"flags", from + "A: b\nX-UID: 12\nStatus: RO\nX-Status: AFDT\nX-Keywords: one $forwarded\n two \nContent-Length: 3\nLines: 1\n\nc\n\n",
			[]string{fmt.Sprintf(`2026-03-02T10:00:00Z %d one,two "A: b\r\n\r\nc\r\n"`, mailboxSystemFlags)}},
		{"somebody else's status", from + "Status: RO\nA: b\nStatus: open\n\n" + from + "A: b\nContent-Length: 12\nLines: 3\n\n" + from + "A: b\nStatus: R\nStatus: O\n\n",
			[]string{at + `"Status: RO\r\nA: b\r\nStatus: open\r\n"`, at + `"A: b\r\nContent-Length: 12\r\nLines: 3\r\n"`, at + `"A: b\r\nStatus: R\r\n"`}},
		{"Thunderbird", from + "X-Mozilla-Status: 1007\nX-Mozilla-Status2: 00800000\nX-Mozilla-Keys: $label1 work      \nA: b\n\n" + from + "X-Mozilla-Status: 0009\nA: b\n\n",
			[]string{fmt.Sprintf(`2026-03-02T10:00:00Z %d $label1,work "A: b\r\n"`, mailboxFlagSeen|mailboxFlagAnswered|mailboxFlagFlagged|mailboxFlagForwarded),
				fmt.Sprintf(`internal 2026-03-02T10:00:00Z %d  "A: b\r\n"`, mailboxFlagSeen)}},
		{"a program's own message", from + "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\nStatus: RO\n\nx\n\n",
			[]string{fmt.Sprintf(`internal 2026-03-02T10:00:00Z %d  "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\r\nx\r\n"`, mailboxFlagSeen)}},
		{"only a status", from + "Status: RO\n\n\ntext\n\n", []string{fmt.Sprintf(`2026-03-02T10:00:00Z %d  "\r\n\r\ntext\r\n"`, mailboxFlagSeen)}},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.file), iotest.OneByteReader(strings.NewReader(c.file))} {
			got, err := testReadMbox(r)
			if err != nil || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%s: %v\n%.500s\nwant:\n%.500s", c.name, err, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		}
	}
	for _, file := range []string{"x", "\nSubject: x\n", ">From x\n"} {
		if _, err := testReadMbox(strings.NewReader(file)); err != errTransferNoMbox {
			t.Errorf("%q: %v", file, err)
		}
	}
	if _, err := testReadMbox(io.MultiReader(strings.NewReader(from+"A: b\n\nte"), iotest.ErrReader(io.ErrClosedPipe))); err != io.ErrClosedPipe {
		t.Errorf("a disk that fails: %v", err)
	}
}

// A header that is too long to be looked through is told whole.
func TestTransferMboxLongHeader(t *testing.T) {
	header := strings.Repeat("A: "+strings.Repeat("b", 1000)+"\n", transferMboxHeader/900)
	got, err := testReadMbox(strings.NewReader("From a@b Mon Mar  2 10:00:00 2026\n" + header + "Status: R\n\ntext\n\n"))
	want := fmt.Sprintf("2026-03-02T10:00:00Z 0  %q", strings.ReplaceAll(header+"Status: R\n\ntext\n", "\n", "\r\n"))
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%v, %d messages", err, len(got))
	}
}

func FuzzTransferMbox(f *testing.F) {
	const from = "From a@b Mon Mar  2 10:00:00 2026\n"
	for _, seed := range []string{"", from, from + "A: b\n\n>From c\n\n" + from + "Status: R\n\n\n", "From x\r\n\r\n\r\n" + from, from + "X-Mozilla-Status: 0001\n y\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := testReadMbox(bytes.NewReader(file))
		again, againErr := testReadMbox(iotest.HalfReader(bytes.NewReader(file)))
		if err != againErr || strings.Join(got, "\n") != strings.Join(again, "\n") {
			t.Errorf("read otherwise it is otherwise: %v, %v\n%q\n%q", err, againErr, got, again)
		}
		m := newTransferMboxReader(bytes.NewReader(file))
		for {
			if _, err := m.next(); err != nil {
				break
			}
			text, _ := io.ReadAll(m)
			if bytes.Count(text, []byte("\n")) != bytes.Count(text, []byte("\r\n")) {
				t.Errorf("a line ends with a bare LF: %q", text)
			}
		}
	})
}

// testMboxMessage is a message to be written.
func testMboxMessage(text string, flags mailboxFlags, keywords ...string) *transferExported {
	r := bufio.NewReader(strings.NewReader(text))
	return &transferExported{mailboxMessage: mailboxMessage{flags: flags}, when: time.Unix(1772445600, 0), keywords: keywords, head: []byte(text), text: r}
}

// What is written is read again as it was, whatever it is, but for a last line without an end.
func FuzzTransferMboxWrite(f *testing.F) {
	for _, seed := range []string{"", "A: b\n", "A: b\r\n\r\nFrom x\r\n>From y\r\n\r\n", "\n\n", "Status: RO\nLines: 3\nX-Keywords: x\n\n", "From a@b Mon Mar  2 10:00:00 2026\n",
		"X-Mozilla-Status: 0001\n\nx\n", "A: b\r\r\n\r\n\r", "Return-Path: <a@b>\nX-UID: 1\nContent-Length: 2\n\n"} {
		f.Add([]byte(seed), uint32(mailboxFlagSeen))
	}
	f.Fuzz(func(t *testing.T, text []byte, bits uint32) {
		if len(text) > transferMboxHeader/2 || len(text) > 0 && text[len(text)-1] != '\n' {
			return
		}
		flags := mailboxFlags(bits) & mailboxSystemFlags
		var file bytes.Buffer
		w := bufio.NewWriter(&file)
		for range 2 {
			must(t, transferWriteMbox(w, testMboxMessage(string(text), flags, "work")))
		}
		must(t, w.Flush())
		got, err := testReadMbox(bytes.NewReader(file.Bytes()))
		wire, _ := io.ReadAll(messageWireNULs(bytes.NewReader(text), 0, int64(len(text))))
		want := fmt.Sprintf("2026-03-02T10:00:00Z %d work %q", flags, wire)
		if err != nil || len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("%v: %q\nwant twice: %q\nfile: %q", err, got, want, file.Bytes())
		}
	})
}

// Lines longer than any buffer, with ends that are split between two.
func TestTransferMboxWriteLong(t *testing.T) {
	for more := range 3 {
		text := "A: b\r\n\r\n" + strings.Repeat("x", transferMboxLine-1+more) + "\r\n" + strings.Repeat("y", transferMboxLine-more) + "\rz\r\n"
		var file bytes.Buffer
		w := bufio.NewWriter(&file)
		must(t, transferWriteMbox(w, testMboxMessage(text, 0)))
		must(t, w.Flush())
		if got, err := testReadMbox(&file); err != nil || len(got) != 1 || got[0] != fmt.Sprintf("2026-03-02T10:00:00Z 0  %q", text) {
			t.Errorf("%d: %v, %d messages", more, err, len(got))
		}
	}
}
