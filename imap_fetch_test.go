package main

import (
	"strings"
	"testing"
)

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
