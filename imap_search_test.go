package main

import (
	"testing"
)

func TestImapAppendEsearch(t *testing.T) {
	found := []uint32{2, 10, 11, 15}
	for _, c := range []struct {
		ret     imapSearchReturn
		numbers []uint32
		byUID   bool
		want    string
		saves   string
	}{
		{imapSearchReturn{all: true}, found, false, "ALL 2,10:11,15", "2,10:11,15"},
		{imapSearchReturn{min: true, max: true, all: true, count: true}, found, true, "UID MIN 2 MAX 15 ALL 2,10:11,15 COUNT 4", "2,10:11,15"},
		{imapSearchReturn{min: true}, found, false, "MIN 2", "2"},
		{imapSearchReturn{max: true}, found, false, "MAX 15", "15"},
		{imapSearchReturn{min: true, max: true}, found, false, "MIN 2 MAX 15", "2,15"},
		{imapSearchReturn{min: true, max: true}, found[:1], false, "MIN 2 MAX 2", "2"},
		{imapSearchReturn{min: true, count: true}, found, false, "MIN 2 COUNT 4", "2,10:11,15"},
		{imapSearchReturn{min: true, all: true, count: true}, nil, false, "COUNT 0", ""},
		{imapSearchReturn{all: true}, nil, true, "UID", ""},
	} {
		want := `* ESEARCH (TAG "a1") ` + c.want + "\r\n"
		if got := string(imapAppendEsearch(nil, imapTagCorrelator("a1"), c.byUID, c.ret, c.numbers, nil, 0)); got != want {
			t.Errorf("%+v: %q, want %q", c.ret, got, want)
		}
		if got := string(imapAppendSet(nil, c.ret.saves(c.numbers))); got != c.saves {
			t.Errorf("%+v saves %s, want %s", c.ret, got, c.saves)
		}
	}
}

func TestImapDay(t *testing.T) {
	for seconds, want := range map[int64]int64{0: 0, 86399: 0, 86400: 1, -1: -1, -86400: -1, -86401: -2} {
		if got := imapDay(seconds); got != want {
			t.Errorf("%d: %d, want %d", seconds, got, want)
		}
	}
}

// TestImapSearchMaybe holds keys against messages of which not all is known.
func TestImapSearchMaybe(t *testing.T) {
	seen := imapSearchKey{kind: imapSearchFlags, flags: mailboxFlagSeen}
	unseen := imapSearchKey{kind: imapSearchFlags, flags: mailboxFlagSeen, not: true}
	body := imapSearchKey{kind: imapSearchBody, text: "x"}
	notBody := imapSearchKey{kind: imapSearchBody, text: "x", not: true}
	both := func(kind imapSearchKind, not bool, keys ...imapSearchKey) imapSearchKey {
		return imapSearchKey{kind: kind, not: not, keys: keys}
	}
	m := imapSearchMessage{mailboxMessage: mailboxMessage{flags: mailboxFlagSeen, date: -1, size: -1}}
	for i, c := range []struct {
		key  imapSearchKey
		want imapMaybe
	}{
		{both(imapSearchAnd, false), imapSurely},
		{seen, imapSurely},
		{unseen, imapNever},
		{body, imapUnknown},
		{notBody, imapUnknown},
		{both(imapSearchAnd, false, body, unseen), imapNever},
		{both(imapSearchAnd, true, body, unseen), imapSurely},
		{both(imapSearchAnd, false, body, seen), imapUnknown},
		{both(imapSearchOr, false, body, seen), imapSurely},
		{both(imapSearchOr, true, body, seen), imapNever},
		{both(imapSearchOr, true, body, unseen), imapUnknown},
		{imapSearchKey{kind: imapSearchDate}, imapUnknown},
		{imapSearchKey{kind: imapSearchSize, not: true}, imapUnknown},
		{imapSearchKey{kind: imapSearchFlags, never: true}, imapNever},
		{imapSearchKey{kind: imapSearchFlags, never: true, not: true}, imapSurely},
	} {
		if got := c.key.match(&m); got != c.want {
			t.Errorf("key %d: %v, want %v", i, got, c.want)
		}
	}
}
