package main

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testMessage is one message of the corpus.
type testMessage struct{ name, text string }

// testCorpus gives some hundred messages, whole and broken: written by hand, and made
// by combining and breaking parts, always the same.
func testCorpus() []testMessage {
	var corpus []testMessage
	add := func(name, text string) { corpus = append(corpus, testMessage{name, text}) }
	for _, m := range testCorpusByHand {
		add(m.name, strings.ReplaceAll(m.text, "\n", "\r\n"))
		if len(corpus)%3 == 0 {
			add(m.name+", bare LF", m.text)
		}
	}
	for i, field := range testCorpusFields {
		add(fmt.Sprintf("field %d", i), strings.ReplaceAll(field, "\n", "\r\n")+"\r\nSubject: after\r\n\r\nbody\r\n")
	}
	for i, params := range testCorpusTypes {
		add(fmt.Sprintf("type %d", i), strings.ReplaceAll("Subject: t\nContent-Type: "+params+"\n\n--b\n\npart\n--b--\n", "\n", "\r\n"))
	}
	add("empty", "")
	add("one line end", "\r\n")
	add("header only", "Subject: x\r\n")
	add("header cut", "Subject: x")
	add("header without end", "Subject: x\r\nFrom: a@b")
	add("no header", "\r\nbody\r\n")
	add("NULs", "Subject: a\x00b\r\n\r\nbo\x00dy\x00\r\n")
	add("bare CRs", "Subject: a\rb\r\n\r\none\rtwo\r\r\nthree\r")
	add("mixed line ends", "Subject: a\nFrom: b@c\r\n\nx\r\ny\nz")
	add("8-bit header", "Subject: caf\xe9\r\nFrom: \xc3\xa9 <a@b>\r\n\r\nx\r\n")
	add("64 KiB field", "Subject: "+strings.Repeat("x", 64<<10)+"\r\nFrom: a@b\r\n\r\nx\r\n")
	add("64 KiB folded", "To: "+strings.Repeat("a@example.org,\r\n ", 4<<10)+"z@y\r\n\r\nx\r\n")
	add("100,000 byte line", "Subject: x\r\n\r\n"+strings.Repeat("y", 100000)+"\r\nz")
	add("nested 150 deep", testNested(150))
	add("nested 10,000 deep", testNested(10000))
	add("rfc822 150 deep", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 150)+"Subject: in\r\n\r\nx\r\n")
	add("many parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat("--b\r\n\r\nx\r\n", 300)+"--b--\r\n")
	for i, text := range corpus[:60] {
		for _, cut := range []int{1, 2, 3} {
			add(fmt.Sprintf("%s, cut %d", text.name, cut), text.text[:len(text.text)*cut/4])
		}
		if i%4 == 0 {
			add(text.name+", cut at the end", strings.TrimSuffix(text.text, "\r\n"))
		}
	}
	return append(corpus, testCorpusMade(120)...)
}

func testNested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\ninnermost\r\n")
	for i := depth - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.String()
}

// testCorpusMade makes messages out of parts by chance, with a fixed seed.
func testCorpusMade(n int) (made []testMessage) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var part func(depth int) string
	part = func(depth int) string {
		head := ""
		if random.IntN(3) > 0 {
			head += pick("Content-Disposition: attachment; filename=\"a b.txt\"\r\n", "Content-Disposition: inline\r\n", "Content-ID: <x@y>\r\n",
				"Content-Description: some words\r\n", "Content-Language: de, en\r\n", "Content-Location: http://example.org/\r\n", "Content-MD5: Q2hlY2s=\r\n", "")
		}
		switch k := random.IntN(8); {
		case k < 2 && depth < 4:
			b := fmt.Sprintf("bound%d", random.IntN(5))
			text := head + "Content-Type: multipart/" + pick("mixed", "alternative", "digest", "related; type=\"text/html\"") + "; boundary=" + pick(b, `"`+b+`"`) + "\r\n\r\n" + pick("", "preamble\r\n", "\r\n")
			for range random.IntN(4) {
				text += "--" + b + pick("", " ", "\t", "x") + "\r\n" + part(depth+1) + pick("\r\n", "", "\n")
			}
			return text + pick("--"+b+"--\r\n", "--"+b+"--", "--"+b+"--\r\nepilogue\r\n", "", "\r\n--"+b+"--\r\n")
		case k == 2 && depth < 4:
			return head + "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: " + pick("a@b", "A B <c@d>", "") + "\r\n" + part(depth+1)
		case k == 3:
			return head + "Content-Type: text/html; charset=" + pick("utf-8", "ISO-8859-1", "x-unknown") + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>caf=C3=A9 =E9</b>=\r\n soft\r\n"
		case k == 4:
			return head + "Content-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("bytes", random.IntN(50)))) + "\r\n"
		case k == 5:
			return head + "\r\n" + strings.Repeat("line "+pick("one", "two\r\n"), random.IntN(20))
		}
		return head + "Content-Type: " + pick("text/plain", "TEXT/PLAIN; Charset=UTF-8", "image/png", "text", "/", "text/plain; charset") + "\r\n\r\nplain\r\n" + pick("", "more\n", "\r\n\r\n")
	}
	for i := range n {
		text := "From: " + pick("a@example.org", "\"A, B\" <a@b>", "undisclosed:;") + "\r\nSubject: made " + fmt.Sprint(i) + "\r\n" + part(0)
		if random.IntN(5) == 0 {
			text = text[:random.IntN(len(text)+1)]
		}
		if random.IntN(6) == 0 {
			text = strings.ReplaceAll(text, "\r\n", "\n")
		}
		made = append(made, testMessage{fmt.Sprintf("made %d", i), text})
	}
	return made
}

// LETTERBOX_CORPUS=DIR go test -run TestMessageCorpus writes the corpus to a folder, a
// file a message, for comparing with other servers.
func TestMessageCorpus(t *testing.T) {
	corpus := testCorpus()
	if len(corpus) < 300 {
		t.Errorf("%d messages", len(corpus))
	}
	dir := os.Getenv("LETTERBOX_CORPUS")
	if dir == "" {
		return
	}
	for i, m := range corpus {
		name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(m.name)
		path := filepath.Join(dir, fmt.Sprintf("%d.M%dP1Q%d.%s:2,S", 1700000000+i, i, i, name))
		must(t, os.WriteFile(path, []byte(m.text), 0o600))
	}
}

var testCorpusByHand = []testMessage{
	{"plain", "From: A <a@example.org>\nTo: b@example.org\nSubject: hello\nDate: Mon, 23 Nov 2026 10:00:00 +0100\nMessage-ID: <1@example.org>\n\nHello\n"},
	{"alternative", "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"b\"\n\npreamble\n--b\nContent-Type: text/plain; charset=utf-8\n\ntext\n--b\nContent-Type: text/html\n\n<p>\n--b--\nepilogue\n"},
	{"no closing boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n"},
	{"no boundary line", "Content-Type: multipart/mixed; boundary=b\n\ntext\n"},
	{"no boundary parameter", "Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n"},
	{"empty boundary", "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\none\n----\n"},
	{"only closing boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b--\n"},
	{"empty parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\n\n--b--\n"},
	{"boundary in header", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\n\nx\n--b--\n"},
	{"same boundary inside", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n\n--b--\n"},
	{"boundary is a prefix", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\nx\n--bb--\n--b\n\ny\n--b--\n"},
	{"boundary with spaces behind", "Content-Type: multipart/mixed; boundary=\"b\"\n\n--b  \n\nx\n--b-- \n"},
	{"boundary with spaces inside", "Content-Type: multipart/mixed; boundary=\"a b \"\n\n--a b \n\nx\n--a b --\n"},
	{"long boundary", "Content-Type: multipart/mixed; boundary=\"" + strings.Repeat("x", 100) + "\"\n\n--" + strings.Repeat("x", 100) + "\n\nx\n--" + strings.Repeat("x", 100) + "--\n"},
	{"inner not closed", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--a\n\ny\n--a--\n"},
	{"rfc822", "Content-Type: message/rfc822\n\nFrom: in@side\nSubject: inner\nContent-Type: text/html\n\n<p>\n"},
	{"rfc822 in multipart", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\nContent-Disposition: attachment\n\nSubject: in\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n\n--b--\n"},
	{"rfc822 base64", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA0KDQp5DQo=\n"},
	{"rfc822 empty", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n--b--\n"},
	{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b\nContent-Type: message/rfc822\n\nSubject: three\n\nz\n--b--\n"},
	{"text after epilogue", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n"},
	{"two content types", "Content-Type: text/html\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"},
	{"two subjects", "Subject: one\nSubject: two\nTo: a@b\nTo: c@d\nFrom: x@y\nFrom: z@w\n\nx\n"},
	{"line without colon", "Subject: one\nthis is no field\nFrom: a@b\n\nx\n"},
	{"mbox line", "From a@b Mon Nov 23 10:00:00 2026\nSubject: x\n\ny\n"},
	{"starts with a space", " folded first\nSubject: x\n\ny\n"},
	{"empty fields", "Subject:\nFrom:\nTo: \nDate:\nMessage-ID:\n\nx\n"},
	{"folded", "Subject: one\n two\n\tthree\nTo: a@b,\n c@d\n\nx\n"},
	{"folded with empty line", "Subject: one\n \n two\nFrom: a@b\n\nx\n"},
	{"space before colon", "Subject : x\nFrom : a@b\n\nx\n"},
	{"encoded words", "Subject: =?utf-8?q?caf=C3=A9?= =?utf-8?q?_x?=\nFrom: =?iso-8859-1?q?J=F6rg?= <j@example.org>\n\nx\n"},
	{"broken encoded words", "Subject: =?utf-8?q?caf= =?x?= =?utf-8?b?@@?= =?utf-8?z?x?=\n\nx\n"},
	{"all MIME fields", "Content-Type: text/plain; charset=utf-8; format=flowed\nContent-ID: <i@d>\nContent-Description: what\nContent-MD5: Q2hlY2s=\nContent-Disposition: attachment; filename=x\nContent-Language: en, de\nContent-Location: http://x/\nContent-Transfer-Encoding: 8BIT\n\nx\n"},
	{"strange encoding", "Content-Transfer-Encoding: strange stuff\n\nx\n"},
	{"uuencode", "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x\n#0V%T\n`\nend\n"},
	{"RFC 2231", "Content-Type: text/plain; name*0*=utf-8''a%20; name*1=b; title*=utf-8'en'x; x*1=no; y*0=yes; y*2=no\n\nx\n"},
	{"quoted parameters", "Content-Type: text/plain; name=\"a\\\"b\\\\c\"; x=\"not ended\n\nx\n"},
	{"parameters without values", "Content-Type: text/plain; name; =x; ; charset=\n\nx\n"},
	{"comments", "Content-Type: text/plain (a comment) ; (another) charset=utf-8 (third)\nFrom: a@b (A B)\n\nx\n"},
	{"base64 garbage", "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGVs!!bG8=\ngarbage\n"},
	{"message/partial", "Content-Type: message/partial; id=x; number=1\n\nSubject: x\n\ny\n"},
	{"dots", "Subject: dots\n\n.\n..\n.x\n"},
	{"upper case type", "CONTENT-TYPE: TEXT/HTML; CHARSET=UTF-8\n\nx\n"},
	{"multipart with encoding", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--\n"},
	{"line of dashes", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--\n---\n--c\n-- b\n--b--\n"},
}

var testCorpusFields = []string{
	"From: a@b", "From: <a@b>", "From: A <a@b>", "From: \"A B\" <a@b>", "From: A B", "From: a", "From: \"a\"", "From: a b@c", "From: <>",
	"From: <a>", "From: A <>", "From: A <a", "From: A <a@", "From: A <@b>", "From: A <a@b> trailing", "From: a@b, c@d", "From: a@b,, c@d", "From: ,a@b",
	"From: a@b;", "From: a@b; c@d", "From: a@b c@d", "From: group: a@b, c@d;", "From: group:;", "From: group: a@b", "From: group: ; x@y", "From: g: a@b;, c@d",
	"From: a@b (Comment)", "From: (Comment) a@b", "From: a(c)@(d)b", "From: a@b (nested (comment) x)", "From: a@b (open", "From: \"a@b", "From: \"a\\\"b\" <c@d>",
	"From: A. B. <a@b>", "From: A.B <a@b>", "From: .A <a@b>", "From: a.b@c.d", "From: a..b@c", "From: a.@b", "From: .a@b", "From: a@b.", "From: a@.b", "From: a@b..c",
	"From: a@[1.2.3.4]", "From: a@[1.2.3.4", "From: <@x,@y:a@b>", "From: <@x:a@b>", "From: <@x a@b>", "From: a @ b", "From: a . b @ c . d",
	"From: \"quoted local\"@b", "From: =?utf-8?q?J=C3=B6?= <a@b>", "From: J\u00f6 <a@b>", "From: a@b\\", "From: A [x] <a@b>", "From: A;B <a@b>", "From: A:B <a@b>",
	"From: a@b\n (folded\n comment)", "From: A\n B <a@b>", "From: \"A\n B\" <a@b>", "From: <a@b> (x)", "From: A<a@b>", "From: A <a@b>, B", "From: a@b, B <c@d>, e",
	"To: undisclosed-recipients:;", "Sender: s@t", "Reply-To:", "Reply-To: ,", "Sender: (none)", "Cc: \t", "Bcc: x@y, z", "Date: Mon, 1 Jan 2024 00:00:00 +0000",
	"Date: nonsense", "Date: 1 Jan 24 1:2 EST", "Message-ID: no brackets", "Message-ID: <a@b> <c@d>", "In-Reply-To: <a@b>\n <c@d>", "Subject:\tx", "Subject:   x   ", "Subject: a\\b\"c",
	"Subject: \"\"", "Subject: x\n\n", "Subject: a\n  b\n\tc", "subject: lower", "SUBJECT: UPPER", "Subject:x", "Subject", "Subject x: y", ": no name", "X-Y: z",
}

var testCorpusTypes = []string{
	"multipart/mixed; boundary=b", "multipart/mixed;boundary=\"b\"", "multipart/mixed; Boundary=b; x=y", "MULTIPART/MIXED; BOUNDARY=b", "multipart; boundary=b", "multipart/; boundary=b",
	"multipart/mixed boundary=b", "multipart/mixed; boundary = b", "multipart/mixed; boundary=b c", "multipart/mixed; boundary=\"b", "multipart/mixed; boundary*=b", "multipart/mixed; boundary*0=b",
	"multipart/mixed; boundary*0=\"\"; boundary*1=b", "multipart/mixed; x=\"boundary=c\"; boundary=b", "multipart/mixed; boundary=b; boundary=c", "multipart/mixed; boundary=c; boundary=b",
	"multipart /mixed; boundary=b", "multipart/ mixed; boundary=b", "multipart/mixed (c); boundary=b", "multipart/x-y.z+w; boundary=b", "text/plain", "text", "text/", "/plain", "", ";", "text/plain;", "text/plain; ",
	"text/plain; charset=utf-8; charset=latin1", "text/plain charset=utf-8", "text/plain; charset=\"utf-8\"; ", "text/plain; charset=us-ascii (comment)", "text/html; charset=\"\"",
	"text/plain; a=b=c", "text/plain; a=b,c", "text/plain; a=[b]", "text/plain; a=\"b\"c", "text/plain; a b=c", "text/plain,text/html", "text/plain;;a=b", "image/png; name=x.png", "message/rfc822", "Message/RFC822",
	"message/delivery-status", "message/global", "application/x; name*=utf-8''%C3%A9", "text/plain; name=caf\u00e9", "text\\plain", "text/plain\n ; charset=x", "a/b/c",
}
