package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// imapTestReader reads from text as if a client had sent it as one command.
func imapTestReader(text string) *imapReader { return &imapReader{line: []byte(text)} }

func TestImapFetchItems(t *testing.T) {
	for text, want := range map[string]string{
		"FLAGS":                      "FLAGS",
		"flags":                      "FLAGS",
		"(FLAGS)":                    "FLAGS",
		"FAST":                       "FLAGS|INTERNALDATE|RFC822.SIZE",
		"ALL":                        "FLAGS|INTERNALDATE|RFC822.SIZE|ENVELOPE summary",
		"FULL":                       "FLAGS|INTERNALDATE|RFC822.SIZE|ENVELOPE|BODY summary",
		"(FLAGS FLAGS UID)":          "UID|FLAGS",
		"(BODY[] UID)":               "UID|BODY[] seen",
		"(BODY[]<0.10> BODY.PEEK[])": "BODY[]<0>|BODY[] seen",
		"BODY.PEEK[]<10>":            "BODY[]<10>",
		"BODY.PEEK[1.2.HEADER]":      "BODY[1.2.HEADER]",
		"BODY.PEEK[1.MIME]<5.6>":     "BODY[1.MIME]<5>",
		"body.peek[text]":            "BODY[TEXT] summary",
		"BODY.PEEK[HEADER.FIELDS (Subject \"from\")]": "BODY[HEADER.FIELDS (SUBJECT FROM)] summary",
		"BODY.PEEK[2.HEADER.FIELDS.NOT (To)]<0.9>":    "BODY[2.HEADER.FIELDS.NOT (TO)]<0>",
		"BODY.PEEK[4294967296.99999999999999999999]":  "BODY[4294967296.99999999999999999999]",
		"(RFC822.HEADER RFC822.SIZE)":                 "RFC822.SIZE|RFC822.HEADER summary",
		"RFC822":                                      "RFC822 seen",
		"RFC822.TEXT":                                 "RFC822.TEXT seen summary",
		"BINARY[1]":                                   "BINARY[1] seen",
		"BINARY.PEEK[]<1.2>":                          "BINARY[]<1>",
		"BINARY.SIZE[1.2]":                            "BINARY.SIZE[1.2]",
		"BODYSTRUCTURE":                               "BODYSTRUCTURE summary",
		"BODY":                                        "BODY",
		"":                                            "-",
		"()":                                          "-",
		"(FLAGS":                                      "-",
		"(FLAGS  UID)":                                "-",
		"( FLAGS)":                                    "-",
		"(FLAGS )":                                    "-",
		"(ALL)":                                       "-",
		"(FAST UID)":                                  "-",
		"FOO":                                         "-",
		"BODY[":                                       "-",
		"BODY[1":                                      "-",
		"BODY[1.":                                     "-",
		"BODY[1.]":                                    "-",
		"BODY[0]":                                     "-",
		"BODY[01]":                                    "-",
		"BODY[.1]":                                    "-",
		"BODY[MIME]":                                  "-",
		"BODY[HEADER.1]":                              "-",
		"BODY[FOO]":                                   "-",
		"BODY[HEADER.FIELDS]":                         "-",
		"BODY[HEADER.FIELDS ()]":                      "-",
		"BODY[HEADER.FIELDS (a)":                      "-",
		"BODY[HEADER.FIELDS (a ]":                     "-",
		"BODY[]<":                                     "-",
		"BODY[]<1":                                    "-",
		"BODY[]<.1>":                                  "-",
		"BODY[]<1.>":                                  "-",
		"BODY[]<-1.2>":                                "-",
		"BODY[]<18446744073709551616.1>":              "-",
		"BINARY[TEXT]":                                "-",
		"BINARY[1.MIME]":                              "-",
		"BINARY.SIZE[1]<1.2>":                         "BINARY.SIZE[1] rest <1.2>",
		"BINARY":                                      "-",
		"BINARY.SIZE":                                 "-",
		"BODY.PEEK":                                   "-",
		"BODY.SIZE[]":                                 "-",
		"RFC822.PEEK":                                 "-",
		"PREVIEW":                                     "PREVIEW summary",
		"PREVIEW (LAZY)":                              "PREVIEW",
		"(preview (lazy LAZY) UID)":                   "UID|PREVIEW",
		"(PREVIEW (LAZY) PREVIEW)":                    "PREVIEW summary",
		"(PREVIEW PREVIEW (LAZY) FLAGS)":              "FLAGS|PREVIEW summary",
		"PREVIEW (CHANGEDSINCE 5)":                    "PREVIEW summary rest  (CHANGEDSINCE 5)",
		"PREVIEW (LAZY) (CHANGEDSINCE 5)":             "PREVIEW rest  (CHANGEDSINCE 5)",
		"(PREVIEW (CHANGEDSINCE 5))":                  "-",
		"(PREVIEW ())":                                "-",
		"PREVIEW (LAZY":                               "-",
		"PREVIEW (LAZY )":                             "-",
		"PREVIEW (LAZY EAGER)":                        "-",
		"PREVIEW (LAZYBONES)":                         "-",
		"PREVIEW[1]":                                  "-",
		"ENVELOPE[1]":                                 "-",
	} {
		r := imapTestReader(text)
		items, err := r.readFetchItems(false)
		got := "-"
		if err == nil {
			got = ""
			for _, item := range items.list {
				got += "|" + strings.TrimSuffix(item.label, " ")
			}
			got = got[1:]
			if items.seen {
				got += " seen"
			}
			if items.summary {
				got += " summary"
			}
			if rest := imapTestRest(r); rest != "" {
				got += " rest " + rest
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s (%v)", text, got, want, err)
		}
	}
}

func imapTestRest(r *imapReader) string { return string(r.line) }

func FuzzIMAPFetchItems(f *testing.F) {
	for _, seed := range []string{"ALL", "(UID FLAGS BODY.PEEK[1.2.HEADER.FIELDS (a \"b\")]<0.10>)", "BINARY.SIZE[1]", "BODY[]", "(RFC822.TEXT BODY)", "(PREVIEW (LAZY) UID)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items, err := imapTestReader(text).readFetchItems(true)
		if err != nil {
			return
		}
		// What is told of an item can be asked for.
		for _, item := range items.list {
			again := strings.Replace(strings.TrimSuffix(item.label, " "), "]<", "]<", 1)
			if _, err := imapTestReader(again).readFetchItems(false); err != nil && !strings.Contains(text, "{") {
				t.Fatalf("%q: %q: %v", text, again, err)
			}
		}
	})
}

// imapKeyText shows a key's tree.
func imapKeyText(k *imapSearchKey) string {
	text := ""
	switch k.kind {
	case imapSearchAnd, imapSearchOr:
		var all []string
		for i := range k.keys {
			all = append(all, imapKeyText(&k.keys[i]))
		}
		text = map[imapSearchKind]string{imapSearchAnd: "and", imapSearchOr: "or"}[k.kind] + "(" + strings.Join(all, " ") + ")"
	case imapSearchSeqs, imapSearchUIDs:
		text = fmt.Sprintf("set%v%v", k.kind == imapSearchUIDs, k.set.ranges)
	case imapSearchFlags:
		text = fmt.Sprintf("flags%s%v", imapAppendFlags(nil, k.flags, false, nil), k.words)
	case imapSearchRecent:
		text = "recent"
	case imapSearchDate, imapSearchSent, imapSearchSize:
		text = map[imapSearchKind]string{imapSearchDate: "date", imapSearchSent: "sent", imapSearchSize: "size"}[k.kind]
		text += fmt.Sprintf("[%d,%d]", k.from, k.to)
	default:
		text = fmt.Sprintf("text%d[%s:%s]", k.kind, k.name, k.text)
	}
	if k.not {
		return "!" + text
	}
	return text
}

func TestImapSearchKeys(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("(", n) + "SEEN" + strings.Repeat(")", n) }
	for text, want := range map[string]string{
		"ALL":                                 "and()",
		"SEEN unseen":                         `and(flags(\Seen)[] !flags(\Seen)[])`,
		"NOT NOT SEEN":                        `flags(\Seen)[]`,
		"NOT (SEEN DELETED)":                  `!and(flags(\Seen)[] flags(\Deleted)[])`,
		"OR SEEN OR DRAFT RECENT":             `or(flags(\Seen)[] or(flags(\Draft)[] recent))`,
		"NEW":                                 `and(recent !flags(\Seen)[])`,
		"OLD":                                 "!recent",
		"1:3,*":                               "setfalse[{1 3} {0 0}]",
		"UID 7":                               "settrue[{7 7}]",
		"KEYWORD foo UNKEYWORD $Bar":          `and(flags()[foo] !flags()[$Bar])`,
		"LARGER 10":                           "size[10,9223372036854775807]",
		"SMALLER 10":                          "size[-1,10]",
		"BEFORE 1-Feb-1994":                   "date[-9223372036854775808,760060800]",
		"ON \"01-feb-1994\"":                  "date[760060800,760147200]",
		"SINCE 1-FEB-1994":                    "date[760060800,9223372036854775807]",
		"SENTON 1-Feb-1994":                   "sent[8797,8798]",
		"SENTBEFORE 2-Jan-1970":               "sent[-9223372036854775808,1]",
		"YOUNGER 10":                          "date[990,9223372036854775807]",
		"OLDER 10":                            "date[-9223372036854775808,991]",
		deep(999):                             `flags(\Seen)[]`,
		deep(1000):                            "-",
		strings.Repeat("NOT ", 1000) + "SEEN": "-",
		strings.Repeat("OR SEEN ", 1000) + "SEEN": "-",
		strings.Repeat("SEEN ", 1001) + "SEEN":    "-",
		"":                                        "-",
		"()":                                      "-",
		"(SEEN":                                   "-",
		"( SEEN)":                                 "-",
		"(SEEN )":                                 "-",
		"SEEN ":                                   "-",
		"FOO":                                     "-",
		"NOT":                                     "-",
		"OR SEEN":                                 "-",
		"OR":                                      "-",
		"UID":                                     "-",
		"UID 0":                                   "-",
		"0":                                       "-",
		"1,x":                                     "-",
		"LARGER":                                  "-",
		"LARGER x":                                "-",
		"LARGER -1":                               "-",
		"YOUNGER 0":                               "-",
		"OLDER 99999999999999999999":              "-",
		"OLDER 4294967296":                        "-",
		"SINCE 1-Foo-1994":                        "-",
		"SINCE 31-Feb-1994":                       "-",
		"SINCE 1-Feb-94":                          "-",
		"SINCE":                                   "-",
		"KEYWORD":                                 "-",
		"SUBJECT":                                 "-",
		"HEADER a":                                "-",
		"BODY \"\xff\"":                           "-",
	} {
		r := imapTestReader(text)
		convert, _ := imapCharset("utf-8")
		p := &imapSearchParser{r: r, now: time.Unix(1000, 0), convert: convert}
		key, err := p.readCriteria()
		got := "-"
		if err == nil && imapTestRest(r) == "" {
			got = imapKeyText(&key)
		}
		if got != want {
			t.Errorf("%.100q: %.200s, want %s (%v)", text, got, want, err)
		}
	}
}

func TestImapCharset(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"UTF-8", "é", "é"},
		{"utf-8", "\xe9", "-"},
		{"US-ASCII", "a", "a"},
		{"ISO-8859-1", "caf\xe9", "café"},
		{"koi8-r", "\xf0", "П"},
		{"x-nope", "a", "--"},
		{"", "a", "--"},
	} {
		got := "--"
		if convert, ok := imapCharset(c.name); ok {
			if got, ok = convert(c.in); !ok {
				got = "-"
			}
		}
		if got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func FuzzIMAPSearchKey(f *testing.F) {
	for _, seed := range []string{"ALL", "OR (SEEN 1:*) NOT (UID 3 KEYWORD x)", "SINCE 1-Feb-1994 LARGER 7", "NOT NOT NEW", "SENTON \"1-Feb-1994\" OLDER 3"} {
		f.Add(seed)
	}
	convert, _ := imapCharset("utf-8")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "{") {
			return
		}
		p := &imapSearchParser{r: imapTestReader(text), now: time.Unix(1000, 0), convert: convert}
		key, err := p.readCriteria()
		if err != nil {
			return
		}
		m := imapSearchMessage{mailboxMessage: mailboxMessage{date: -1, size: -1}}
		said := key.match(&m)
		key.not = !key.not
		if not := key.match(&m); said == imapUnknown && not != imapUnknown || said != imapUnknown && not != said^1 {
			t.Fatalf("%q is %v, its contrary %v", text, said, not)
		}
	})
}
