package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// imapURLText shows what was read of a URL.
func imapURLText(u *imapURL) string {
	text := ""
	if u.absolute {
		text = fmt.Sprintf("[%s|%s|%s] ", u.user, u.auth, u.host)
	}
	if u.relative {
		text += "here"
	}
	text += fmt.Sprintf("%s;%d;%d", u.mailbox, u.validity, u.uid)
	if sec := u.section; len(sec.path) > 0 || sec.what != imapSectionAll {
		text += fmt.Sprintf(" %v %d %v", sec.path, sec.what, sec.names)
	}
	if p := u.partial; p != nil {
		text += fmt.Sprintf(" <%d.%d>", p.start, min(p.count, 1e9))
	}
	if !u.expire.IsZero() {
		text += " " + u.expire.UTC().Format(time.RFC3339)
	}
	if u.access != "" {
		text += fmt.Sprintf(" %s %s %s %s %s", u.access, u.of, u.mech, u.token, u.rump)
	}
	return strings.TrimRight(text, " ")
}

func TestImapURL(t *testing.T) {
	const token = "91354a473744909de610943775f92038"
	for url, want := range map[string]string{
		"/INBOX/;UID=20": "INBOX;0;20",
		"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME":       "Drafts;385759045;20 [1] 5 []",
		"/Drafts/;uid=20/;Section=HEADER/;PARTIAL=5.10":               "Drafts;0;20 [] 1 [] <5.10>",
		"/a/b%20c%3Bd/;UID=1/;PARTIAL=0":                              "a/b c;d;0;1 <0.1000000000>",
		"/%E6%97%A5/;UID=4294967295":                                  "日;0;4294967295",
		"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject%20%22To%22)": "INBOX;0;1 [] 2 [SUBJECT TO]",
		";UID=20":                       "here;0;20",
		";UID=20/;SECTION=TEXT":         "here;0;20 [] 4 []",
		"imap://alice@box/INBOX/;UID=1": "[alice||box] INBOX;0;1",
		"IMAP://al%69ce;AUTH=*@Box.Example:143/INBOX/;UID=1": "[alice|*|box.example:143] INBOX;0;1",
		"imap://;auth=PLAIN@box/INBOX/;UID=1":                "[|PLAIN|box] INBOX;0;1",
		"imap://box/INBOX/;UID=1":                            "[||box] INBOX;0;1",
		"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:" + token: "[joe||example.com] INBOX;0;20 [1 2] 0 [] submit fred INTERNAL " + token +
			" imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred",
		"imap://joe@b/INBOX/;uid=20;Expire=2030-01-02T03:04:05+01:00;URLAUTH=anonymous": "[joe||b] INBOX;0;20 2030-01-02T02:04:05Z anonymous    imap://joe@b/INBOX/;uid=20;Expire=2030-01-02T03:04:05+01:00;URLAUTH=anonymous",
		"imap://joe@b/INBOX/;uid=20;URLAUTH=AuthUser:x-1.y:" + strings.ToUpper(token):   "[joe||b] INBOX;0;20 authuser  X-1.Y " + token + " imap://joe@b/INBOX/;uid=20;URLAUTH=AuthUser",

		"": "-", "/": "-", "//": "-", ";": "-", "INBOX/;UID=1": "-", "/INBOX": "-", "/INBOX/": "-", "/INBOX;UID=1": "-", "/INBOX/;UID=": "-", "/INBOX/;UID=0": "-",
		"/INBOX/;UID=01": "-", "/INBOX/;UID=4294967296": "-", "/INBOX/;UID=1/": "-", "/INBOX/;UID=1;": "-", "/INBOX/;UID=1/;": "-", "/INBOX/;UID=*": "-", "/INBOX/;UID=1,2": "-",
		"/INBOX/;UID=1;UID=2": "-", "/INBOX/;UID=1/;UID=2": "-", "/INBOX/;UIDVALIDITY=1/;UID=1": "-", "/INBOX/;UID=1;UIDVALIDITY=1": "-", "/INBOX;UIDVALIDITY=0/;UID=1": "-",
		"/INBOX/;UID=1;SECTION=1": "-", "/INBOX/;UID=1/;SECTION=": "-", "/INBOX/;UID=1/;SECTION=0": "-", "/INBOX/;UID=1/;SECTION=1]": "-", "/INBOX/;UID=1/;SECTION=%5B1": "-",
		"/INBOX/;UID=1/;SECTION=1%5D%5B2": "-", "/INBOX/;UID=1/;SECTION=MIME": "-", "/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20({3}%0D%0Aabc)": "-",
		"/INBOX/;UID=1/;PARTIAL=": "-", "/INBOX/;UID=1/;PARTIAL=-1": "-", "/INBOX/;UID=1/;PARTIAL=1.0": "-", "/INBOX/;UID=1/;PARTIAL=1.": "-", "/INBOX/;UID=1/;PARTIAL=1.2/;SECTION=1": "-",
		"/INBOX/;UID=1/;PARTIAL=99999999999999999999": "-", "/INBOX/;UID=1/;FOO=1": "-", "/INBOX/;UID=1?x": "-", "/INBOX?UNSEEN": "-", "/INBOX/;UID=1/;SECTION=1/x": "-",
		"/in box/;UID=1": "-", "/%/;UID=1": "-", "/%4/;UID=1": "-", "/%zz/;UID=1": "-", "/a%00b/;UID=1": "-", "/%ff/;UID=1": "-", "/\xc3\xa9/;UID=1": "-", "/a\\b/;UID=1": "-",
		"/../bob/;UID=1": "-", "/a/../b/;UID=1": "-", "/./a/;UID=1": "-", "//bob@box/INBOX/;UID=1": "-", ";SECTION=1": "-", ";PARTIAL=1": "-", ";UIDVALIDITY=1/;UID=1": "-",
		"/foo/;UID=20/..": "-", "http://box/INBOX/;UID=1": "-", "imap:/INBOX/;UID=1": "-", "imap://box": "-", "imap:///INBOX/;UID=1": "-", "imap://@box/INBOX/;UID=1": "-",
		"imap://a;b@box/INBOX/;UID=1": "-", "imap://;AUTH=@box/INBOX/;UID=1": "-", "imap://a%@box/INBOX/;UID=1": "-", "imap://b ox/INBOX/;UID=1": "-",
		"imap://a@b/I/;UID=1;URLAUTH=": "-", "imap://a@b/I/;UID=1;URLAUTH=user+": "-", "imap://a@b/I/;UID=1;URLAUTH=user": "-", "imap://a@b/I/;UID=1;URLAUTH=anonymous+x": "-",
		"imap://a@b/I/;UID=1;URLAUTH=everybody": "-", "imap://a@b/I/;UID=1;URLAUTH=anonymous:internal": "-", "imap://a@b/I/;UID=1;URLAUTH=anonymous::" + token: "-",
		"imap://a@b/I/;UID=1;URLAUTH=anonymous:internal:" + token[1:]: "-", "imap://a@b/I/;UID=1;URLAUTH=anonymous:internal:" + token[1:] + "g": "-",
		"imap://a@b/I/;UID=1;URLAUTH=anonymous:internal:" + token + ";EXPIRE=2030-01-02T03:04:05Z": "-", "imap://a@b/I/;UID=1;EXPIRE=tomorrow;URLAUTH=anonymous": "-",
		"imap://a@b/I/;UID=1/;URLAUTH=anonymous": "-", "/" + strings.Repeat("a", imapURLMost) + "/;UID=1": "-",
	} {
		got := "-"
		if u, err := imapParseURL(url); err == nil {
			got = imapURLText(u)
		}
		if got != want {
			t.Errorf("%.200q: %s, want %s", url, got, want)
		}
	}
	if got := imapURLShown("/a]b\"\\\r\n\x00\xffc"); got != "/a%5Db%22%5C%0D%0A%00%FFc" {
		t.Error(got)
	}
}

func FuzzIMAPURL(f *testing.F) {
	for _, seed := range []string{"/INBOX/;UID=20", ";UID=1/;SECTION=1.MIME/;PARTIAL=1.2", "imap://a;AUTH=*@b:1/c%20d;UIDVALIDITY=3/;UID=4;EXPIRE=2030-01-02T03:04:05Z;URLAUTH=user+x:INTERNAL:91354a473744909de610943775f92038",
		"/a/../b/;UID=1", "/%00/;UID=1"} {
		f.Add(seed)
	}
	s := testImapFilterSession(f, '/', "")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range []byte(imapURLShown(text)) {
			if c <= ' ' || c > '~' || c == ']' {
				t.Fatalf("%q is shown with %q", text, c)
			}
		}
		u, err := imapParseURL(text)
		if err != nil {
			return
		}
		if u.uid == 0 || u.absolute == u.relative && u.mailbox == "" || !strings.HasPrefix(text, u.rump) || strings.ContainsRune(u.mailbox, 0) {
			t.Fatalf("%q: %+v", text, u)
		}
		// It leads into no folder but one that there is, and to no message there.
		urls := &imapURLReader{tree: s.tree}
		defer urls.close()
		if _, err := s.openURL(urls, text); err == nil {
			t.Fatalf("%q is there", text)
		} else if err != errImapURL {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func TestImapURLCutShort(t *testing.T) {
	for size, want := range map[int64]error{5: nil, 6: io.ErrUnexpectedEOF} {
		text, err := io.ReadAll(messageWire(imapWhole{strings.NewReader("a\r\nbc"), size}, 1, size-1))
		if string(text) != "\r\nbc" || err != want {
			t.Errorf("of %d bytes: %q, %v", size, text, err)
		}
	}
}
