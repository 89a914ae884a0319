package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Reading byte by byte gives what reading at once gives, and the tree's sizes are
// those of the wire form, for every message of the corpus.
func TestMessageCorpusConsistent(t *testing.T) {
	for _, m := range testCorpus() {
		s, err := messageSummarize(strings.NewReader(m.text))
		must(t, err)
		slow, err := messageSummarize(iotest.OneByteReader(strings.NewReader(m.text)))
		must(t, err)
		if !bytes.Equal(s.bodyStructure, slow.bodyStructure) || !bytes.Equal(s.envelope, slow.envelope) || s.wireSize != slow.wireSize {
			t.Errorf("%s: reading byte by byte differs:\n%s\n%s", m.name, s.bodyStructure, slow.bodyStructure)
		}
		r := strings.NewReader(m.text)
		root, err := messageParse(r, int64(len(m.text)))
		must(t, err)
		if size := testWireSize(t, m.text, 0, int64(len(m.text))); size != s.wireSize {
			t.Errorf("%s: %d bytes on the wire, summary says %d", m.name, size, s.wireSize)
		}
		testPartSizes(t, m, root)
	}
}

func testWireSize(t *testing.T, text string, from, to int64) int64 {
	n, err := io.Copy(io.Discard, messageWire(strings.NewReader(text), from, to-from))
	must(t, err)
	return n
}

func testPartSizes(t *testing.T, m testMessage, p *messagePart) {
	if p.headerStart > p.bodyStart || p.bodyStart > p.bodyEnd || p.bodyEnd > int64(len(m.text)) {
		t.Fatalf("%s: part at %d, %d, %d of %d", m.name, p.headerStart, p.bodyStart, p.bodyEnd, len(m.text))
	}
	if size := testWireSize(t, m.text, p.bodyStart, p.bodyEnd); size != p.bodySize {
		t.Errorf("%s: body of %d bytes, the tree says %d", m.name, size, p.bodySize)
	}
	if size := testWireSize(t, m.text, p.headerStart, p.bodyStart); size != p.headerSize {
		t.Errorf("%s: header of %d bytes, the tree says %d", m.name, size, p.headerSize)
	}
	for _, child := range p.children {
		testPartSizes(t, m, child)
	}
}

func TestMessageWire(t *testing.T) {
	for text, want := range map[string]string{
		"":            "",
		"a\nb\n":      "a\r\nb\r\n",
		"a\r\nb":      "a\r\nb",
		"\n\n":        "\r\n\r\n",
		"\r\r\n\r":    "\r\r\n\r",
		"a\x00b\n":    "a\x80b\r\n",
		"a\rb\n\r\nc": "a\rb\r\n\r\nc",
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			got, err := io.ReadAll(wrap(messageWire(strings.NewReader(text), 0, int64(len(text)))))
			if must(t, err); string(got) != want {
				t.Errorf("%q, %s: %q, want %q", text, name, got, want)
			}
		}
	}
	if got, _ := io.ReadAll(messageWire(strings.NewReader("a\r\nb"), 2, 2)); string(got) != "\nb" {
		t.Errorf("from within a CRLF: %q", got)
	}
}

func TestMessageDecode(t *testing.T) {
	for _, c := range []struct{ encoding, body, want string }{
		{"7bit", "a\r\nb", "a\r\nb"},
		{"base64", "SGVsbG8=\r\n", "Hello"},
		{"base64", "SGVs\r\nbG8", "Hello"},
		{"base64", "SGVs!bG8=garbage", "Hello"},
		{"base64", "SGVsbG", "Hell"},
		{"base64", "SGVsb", "Hel"},
		{"quoted-printable", "caf=C3=A9=\r\n x=\r\n", "café x"},
		{"quoted-printable", "a=zz", "a"},
		{"x-uuencode", "begin 644 x\r\n#0V%T\r\n`\r\nend\r\n", "Cat"},
	} {
		r := strings.NewReader(c.body)
		body, known := messageDecode(r, &messagePart{bodyEnd: int64(len(c.body)), encoding: c.encoding})
		got, err := io.ReadAll(body)
		if must(t, err); !known || !strings.HasPrefix(string(got), c.want) || len(got) > len(c.want) && c.body != "a=zz" {
			t.Errorf("%s %q: %q, want %q", c.encoding, c.body, got, c.want)
		}
	}
	if _, known := messageDecode(strings.NewReader(""), &messagePart{encoding: "strange"}); known {
		t.Error("a strange encoding is known")
	}
}

// The empty line counts if there is one (RFC 9051, section 6.4.5.1).
func TestMessageHeaderOnly(t *testing.T) {
	for text, want := range map[string]bool{"Subject: x\r\n": true, "Subj": true, "Subject: x\r\n\r\n": false, "": true} {
		s, err := messageSummarize(strings.NewReader(text))
		if must(t, err); s.headerOnly != want {
			t.Errorf("%q: ends in its header: %v", text, s.headerOnly)
		}
	}
}

func TestMessagePart(t *testing.T) {
	text := strings.ReplaceAll("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ninner one\n--c\n\ninner two\n--c--\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\nsimple\n--b--\n", "\n", "\r\n")
	root, err := messageParse(strings.NewReader(text), int64(len(text)))
	must(t, err)
	for _, c := range []struct {
		path []int
		want string
	}{
		{[]int{1}, "one"}, {[]int{2, 1}, "inner one"}, {[]int{2, 2}, "inner two"}, {[]int{3, 1}, "simple"},
		{[]int{4}, "none"}, {[]int{1, 1}, "one"}, {[]int{2, 3}, "none"}, {[]int{3, 2}, "none"}, {[]int{0}, "none"}, {[]int{2, 1, 1}, "inner one"}, {[]int{1, 1, 1}, "none"},
	} {
		got := "none"
		if p := root.part(c.path); p != nil {
			got = text[p.bodyStart:p.bodyEnd]
		}
		if got != c.want {
			t.Errorf("part %d is %q, want %q", c.path, got, c.want)
		}
	}
	simple, err := messageParse(strings.NewReader("\r\nbody"), 6)
	if must(t, err); simple.part([]int{1}) != simple || simple.part([]int{2}) != nil || simple.part([]int{1, 1}) != nil {
		t.Error("part 1 of a message that is not multipart is its body")
	}
}

func TestMessageFields(t *testing.T) {
	header := []byte("Subject: a\r\n b\r\nTo: x\r\nbroken line\r\nsubject: c\r\n\r\n")
	for _, c := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"SUBJECT"}, false, "Subject: a\r\n b\r\nsubject: c\r\n\r\n"},
		{[]string{"Subject"}, true, "To: x\r\nbroken line\r\n\r\n"},
		{[]string{"Cc"}, false, "\r\n"},
	} {
		if got := messageFields(nil, header, c.names, c.not); string(got) != c.want {
			t.Errorf("%q, %v: %q", c.names, c.not, got)
		}
	}
	if value, ok := messageFieldOf(header, "subject"); !ok || string(value) != "a b" {
		t.Errorf("%q", value)
	}
}

func TestMessageDecodeHeader(t *testing.T) {
	for raw, want := range map[string]string{
		"plain":                             "plain",
		"=?utf-8?q?caf=C3=A9?=":             "café",
		"=?utf-8?q?a?= =?utf-8?q?b?=":       "ab",
		"=?utf-8?q?a?=\r\n =?utf-8?q?b?= c": "ab c",
		"x =?iso-8859-1?Q?=E9t=E9?= y":      "x été y",
		"=?windows-1252?B?gA==?=":           "€",
		"=?utf-8?q?open":                    "=?utf-8?q?open",
		"=?x-nobody?q?a?=":                  "=?x-nobody?q?a?=",
		"=?utf-8?z?a?= =?":                  "=?utf-8?z?a?= =?",
		"\xff":                              "\uFFFD",
	} {
		if got := messageDecodeHeader([]byte(raw)); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestMessageText(t *testing.T) {
	text := "Subject: =?utf-8?q?Caf=C3=A9?=\r\nFrom: Bob <bob@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe aus K=F6ln\r\n" +
		"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+c2VjcmV0PC9iPg==\r\n" +
		"--b\r\nContent-Type: application/pdf; name=hidden\r\n\r\nnot looked at\r\n--b--\r\n"
	r := strings.NewReader(text)
	root, err := messageParse(r, int64(len(text)))
	must(t, err)
	for _, c := range []struct {
		needle     string
		body, text bool
	}{
		{"grüße", true, true}, {"GRÜSSE", false, false}, {"ko", true, true}, {"KÖLN", true, true}, {"secret", true, true}, {"not looked", false, false},
		{"café", false, true}, {"cafe", false, true}, {"subject: caf", false, true}, {"hidden", false, true}, {"", true, true}, {"nowhere", false, false},
	} {
		needle := newMessageText(c.needle)
		for headers, want := range map[bool]bool{false: c.body, true: c.text} {
			if got, err := needle.inBody(r, root, headers); err != nil || got != want {
				t.Errorf("%q, headers %v: %v, %v", c.needle, headers, got, err)
			}
		}
	}
	header := []byte(text[:strings.Index(text, "\r\n\r\n")+4])
	if !newMessageText("").inHeader(header, "FROM") || newMessageText("").inHeader(header, "Cc") || !newMessageText("café").inHeader(header, "Subject") || newMessageText("bob").inHeader(header, "Subject") {
		t.Error("looking in one field")
	}
}

// A word that lies across the edges of what is read at a time is found.
func TestMessageTextEdges(t *testing.T) {
	for _, at := range []int{messageTextWindow - 20, messageTextWindow - 3, messageTextWindow - 1, messageTextWindow, messageTextWindow + 1} {
		text := "\r\n" + strings.Repeat("x", at) + "nädel" + strings.Repeat("y", 100)
		r := strings.NewReader(text)
		root, err := messageParse(r, int64(len(text)))
		must(t, err)
		if found, err := newMessageText("NÄDEL").inBody(r, root, false); !found || err != nil {
			t.Errorf("at %d: %v, %v", at, found, err)
		}
	}
}

func TestMessageParseDate(t *testing.T) {
	utc := func(y int, m time.Month, d, h, min, s int) time.Time {
		return time.Date(y, m, d, h, min, s, 0, time.UTC)
	}
	for text, want := range map[string]time.Time{
		"Mon, 23 Nov 2026 10:20:30 +0100":          utc(2026, 11, 23, 9, 20, 30),
		"23 Nov 2026 10:20 -0000":                  utc(2026, 11, 23, 10, 20, 0),
		"Mon, 23 Nov 26 10:20:30 EST":              utc(2026, 11, 23, 15, 20, 30),
		"Fri, 21 Nov 97 09(comment):55 : 06 -0600": utc(1997, 11, 21, 15, 55, 6),
		"1 Jan 1970 00:00:00 GMT (x)":              utc(1970, 1, 1, 0, 0, 0),
		"Mon,23 Nov 2026 10:20:30 +0100":           utc(2026, 11, 23, 9, 20, 30),
		"1 Jan 124 00:00:00 Z":                     utc(2024, 1, 1, 0, 0, 0),
	} {
		if got, ok := messageParseDate(text); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "nonsense", "Mon", "32 Jan 2024 00:00", "1 Foo 2024 00:00", "1 Jan", "1 Jan 2024", "1 Jan 2024 25:00", "1 Jan 2024 10"} {
		if got, ok := messageParseDate(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func FuzzMessageParse(f *testing.F) {
	for i, m := range testCorpus() {
		if i%7 == 0 && len(m.text) < 2000 {
			f.Add([]byte(m.text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := messageSummarize(bytes.NewReader(text))
		must(t, err)
		root, err := messageParse(bytes.NewReader(text), int64(len(text)))
		must(t, err)
		testPartSizes(t, testMessage{"fuzz", string(text)}, root)
		if s.headerSize != root.bodyStart || bytes.IndexByte(s.envelope, 0) >= 0 || bytes.IndexByte(s.bodyStructure, 0) >= 0 {
			t.Fatal("summary")
		}
		if _, err := newMessageText("x").inBody(bytes.NewReader(text), root, true); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzMessageHeader(f *testing.F) {
	for _, field := range testCorpusFields {
		f.Add([]byte(field + "\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		messageAppendEnvelope(nil, messageSplit(nil, header))
		messageFields(nil, header, []string{"subject"}, true)
		messageFieldOf(header, "from")
		messageDecodeHeader(header)
		messageParseDate(string(header))
	})
}

func BenchmarkMessageSummarize(b *testing.B) {
	text := "From: Alice Example <alice@example.org>\r\nTo: Bob <bob@example.org>, c@d\r\nSubject: a subject of the usual length\r\nDate: Mon, 23 Nov 2026 10:20:30 +0100\r\nMessage-ID: <1234567890@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"xyz\"\r\n\r\n--xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		strings.Repeat("some words in a line of the usual length, some sixty bytes.\r\n", 50) + "\r\n--xyz\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<p>some words in a line of the usual length, some sixty bytes.\r\n", 50) + "--xyz--\r\n"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := messageSummarize(strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageText(b *testing.B) {
	text := "Subject: x\r\n\r\n" + strings.Repeat("some words in a line of the usual length, some sixty bytes.\r\n", 100)
	r := strings.NewReader(text)
	root, err := messageParse(r, int64(len(text)))
	must(b, err)
	needle := newMessageText("nowhere")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if found, err := needle.inBody(r, root, false); found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func TestMessageFill(t *testing.T) {
	r := iotest.OneByteReader(strings.NewReader("abcdefgh"))
	for _, want := range []string{"abc", "def", "gh", ""} {
		var p [3]byte
		if n, err := messageFill(r, p[:]); string(p[:n]) != want || (err == nil) != (n == len(p)) {
			t.Errorf("%q, %v, not %q", p[:n], err, want)
		}
	}
	if n, err := messageFill(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("abc"))), make([]byte, 3)); n != 1 || err != iotest.ErrTimeout {
		t.Errorf("%d, %v", n, err)
	}
}
