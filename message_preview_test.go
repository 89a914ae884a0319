package main

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMessagePreview(t *testing.T) {
	long := strings.Repeat("\u00fc", 300)
	for mail, want := range map[string]string{
		"":                               "",
		"Subject: a\n":                   "",
		"\n":                             "",
		"\nHello":                        "Hello",
		"\n \t Hello,\r\n\r\n  you\n":    "Hello, you",
		"\na\x00b\x1bc\x7fd":             "abcd",
		"\n\xff\xfe":                     "\ufffd\ufffd",
		"\n\ufeffBOM and so\u00adft":     "BOM and soft",
		"\nline1\n>quote2\nline2\n":      "line1 line2",
		"\n> quote\n>> more\n":           "quote more",
		"\n> quote\n\n":                  "quote",
		"\n > no quote\n":                "> no quote",
		"\n" + long:                      long[:400],
		"\n" + strings.Repeat("a ", 200): strings.TrimSpace(strings.Repeat("a ", 100)),
		"\n" + strings.Repeat(">q\n", 1000) + "answer":                                                                               "answer",
		"\n-----BEGIN PGP MESSAGE-----\n\nhQEMA\n":                                                                                   "",
		"\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nsigned\n-----BEGIN PGP SIGNATURE-----\n\niQ\n":                        "signed",
		"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9 =\nau lait":             "caf\u00e9 au lait",
		"Content-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B$3$s\x1b(B":                                                          "\u3053\u3093",
		"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7xi\nZXI=\n":                                 "\u00fcber",
		"Content-Type: text/plain\nContent-Transfer-Encoding: x-unknown\n\ntext":                                                     "",
		"Content-Type: image/png\n\ntext":                                                                                            "",
		"Content-Type: text/calendar\n\nBEGIN:VCALENDAR":                                                                             "",
		"Content-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\ntext":                                          "",
		"Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nVersion: 1\n--b--\n":                                                "",
		"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nno\n--b\n\n \n--b\n\nyes\n--b--\n":     "yes",
		"Content-Type: multipart/alternative; boundary=b\n\n--b\n\n\n--b\nContent-Type: text/html\n\n<p>two</p>\n--b--\n":            "two",
		"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\ninner\n--b--\n":             "inner",
		"Content-Type: text/html\n\n" + strings.Repeat("<style>p{}</style>", 1000) + "text":                                          "text",
		"Content-Type: text/html; charset=windows-1252\n\n<b>\x80</b>5":                                                              "\u20ac5",
		"Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n \n", messagePreviewParts) + "--b\n\nlate\n--b--\n": "",
	} {
		r := strings.NewReader(mail)
		root, err := messageParse(r, r.Size())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := messagePreview(r, root); err != nil || string(got) != want {
			t.Errorf("%.80q: %q, %v, want %q", mail, got, err, want)
		}
	}
}

func TestMessagePreviewHTML(t *testing.T) {
	for html, want := range map[string]string{
		"plain":               "plain",
		"a<b>b</b>c<br>d":     "abc d",
		"<p>a</p><p>b</p>":    "a b",
		"<TD>a</TD\n><td>b":   "a b",
		"1 < 2 & 3 > 2 <3 </": "1 < 2 & 3 > 2 <3 </",
		"<html><head><title>no</title><style>p { a > b }</style><script>if (a</b/) '</p>'</script></head>yes": "yes",
		"<STYLE>a</style >b": "b",
		"<style>never ends":  "",
		"<style>a</sty":      "",
		"a<!-- <p>no</p> > -->b<!-->c<!---->d<!-- rest":            "abcd",
		"<!DOCTYPE html><?xml version='1'?><![if mso]>a</>b":       "ab",
		`<img alt="a > b">c<a href='x">y'>d</a>`:                   "cd",
		`<p don't>a<p title=it's>b`:                                "a b",
		"a <unfinished":                                            "a",
		"&amp;&lt;p&gt;&quot;&nbsp;&uuml;&#252;&#xFC;&#XfC;x":      `&<p>" üüüüx`,
		"&amp no; &nosuch; &; &#; &#x; &#0; &#xD800; &#9999999; &": "& no; &nosuch; &; &#; &#x; \ufffd \ufffd &#9999999; &",
		"&#8199;&zwnj;&nbsp;&#847;&zwnj;&nbsp;&shy;a":              "a",
		"\U0001f468&zwj;\U0001f469":                                "\U0001f468\u200d\U0001f469",
		"answer<blockquote>quote</blockquote>more":                 "answer more",
		"<blockquote>a<blockquote>b</blockquote>c</blockquote>":    "a b c",
		"</blockquote>a":                                           "a",
		"&#10;&#13;&#27;[0m":                                       "[0m",
		"a\xc3":                                                    "a\ufffd",
	} {
		if got, _ := messagePreviewText([]byte(html), true); string(got) != want {
			t.Errorf("%q: %q, want %q", html, got, want)
		}
	}
}

// A disk that fails is not a message without text.
func TestMessagePreviewError(t *testing.T) {
	text := "\nHello"
	root, err := messageParse(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := messagePreview(messageTestBroken{}, root); !errors.Is(err, errMessageTestBroken) {
		t.Fatal(err)
	}
}

var errMessageTestBroken = errors.New("broken")

type messageTestBroken struct{}

func (messageTestBroken) ReadAt([]byte, int64) (int, error) { return 0, errMessageTestBroken }

func FuzzMessagePreview(f *testing.F) {
	for _, seed := range []string{"<p a='>'>x</p><!-- y -->&uuml;&#x41;", "> quote\ntext\n-----BEGIN PGP SIGNED MESSAGE-----\n\n", "<style></style", "</", "<!", "&"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, html bool) {
		got, full := messagePreviewText(text, html)
		if !utf8.Valid(got) || utf8.RuneCount(got) > messagePreviewMost || strings.TrimSpace(string(got)) != string(got) {
			t.Fatalf("%q", got)
		}
		for _, c := range got {
			if c < ' ' || c == 0x7f {
				t.Fatalf("%q", got)
			}
		}
		if more, _ := messagePreviewText(append(text, "<p>more</p>\nmore"...), html); full && string(more) != string(got) {
			t.Fatalf("full %q, then %q", got, more)
		}
	})
}

func BenchmarkMessagePreview(b *testing.B) {
	plain := "Subject: x\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 100)
	html := "Content-Type: text/html\r\n\r\n<style>" + strings.Repeat("p.a { color: red }\r\n", 300) + "</style>" + strings.Repeat("<p class=\"a\">The quick <b>brown</b> fox&nbsp;jumps</p>\r\n", 100)
	for name, text := range map[string]string{"plain": plain, "html": html} {
		r := strings.NewReader(text)
		root, err := messageParse(r, r.Size())
		must(b, err)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := messagePreview(r, root); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
