package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestImapSetParse(t *testing.T) {
	for text, want := range map[string][]imapRange{
		"1":                           {{1, 1}},
		"*":                           {{imapStar, imapStar}},
		"1:*":                         {{1, imapStar}},
		"*:4,7,2:3":                   {{imapStar, 4}, {7, 7}, {2, 3}},
		"4294967295":                  {{4294967295, 4294967295}},
		"4294967295:1,4294967294":     {{4294967295, 1}, {4294967294, 4294967294}},
		"":                            nil,
		"0":                           nil,
		"01":                          nil,
		"1:0":                         nil,
		"4294967296":                  nil,
		"99999999999999999999999":     nil,
		"1,":                          nil,
		",1":                          nil,
		"1:":                          nil,
		":1":                          nil,
		"1:2:3":                       nil,
		"1;2":                         nil,
		"1 ":                          nil,
		"-1":                          nil,
		"**":                          nil,
		"$,1":                         nil, // RFC 5182, section 3: "$" stands alone
		"1,$":                         nil,
		"a":                           nil,
		strings.Repeat("1,", 9) + "1": slices.Repeat([]imapRange{{1, 1}}, 10),
	} {
		set, err := imapParseSet([]byte(text))
		if (err != nil) != (want == nil) || !slices.Equal(set.ranges, want) {
			t.Errorf("%q: %v, %v, want %v", text, set.ranges, err, want)
		}
	}
	if set, err := imapParseSet([]byte("$")); err != nil || !set.saved {
		t.Errorf("$: %v, %v", set, err)
	}
}

func TestImapSetResolve(t *testing.T) {
	uids := []uint32{3, 4, 5, 9, 4294967295}
	for _, c := range []struct {
		set          string
		bySeq, byUID string // "-": not valid
	}{
		{"1", "3", ""},
		{"1:*", "3:5,9,4294967295", "3:5,9,4294967295"},
		{"*", "4294967295", "4294967295"},
		{"5:2", "4:5,9,4294967295", "3:5"},
		{"4,2,3,2", "4:5,9", "3:4"},
		{"6", "-", ""},
		{"6:*", "-", "9,4294967295"},
		{"*:4294967295", "-", "4294967295"},
		{"1:4294967295", "-", "3:5,9,4294967295"},
		{"4294967294", "-", ""},
		{"1:2,2:3,3", "3:5", "3"},
	} {
		set, err := imapParseSet([]byte(c.set))
		if err != nil {
			t.Fatal(c.set, err)
		}
		spans, ok := set.bySeq(len(uids))
		got := string(imapAppendSet(nil, spans.pick(uids)))
		if !ok {
			got = "-"
		}
		if got != c.bySeq {
			t.Errorf("%s by number: %s, want %s", c.set, got, c.bySeq)
		}
		if got := string(imapAppendSet(nil, set.byUID(uids).pick(uids))); got != c.byUID {
			t.Errorf("%s by UID: %s, want %s", c.set, got, c.byUID)
		}
	}
	star, _ := imapParseSet([]byte("1:*"))
	if _, ok := star.bySeq(0); ok || len(star.byUID(nil)) != 0 {
		t.Error("an empty mailbox has no message 1")
	}
	if got := imapSpansOf(uids, []uint32{1, 4, 5, 6, 9, 12}); !slices.Equal(got, imapSpans{{1, 4}}) {
		t.Errorf("spans of UIDs: %v", got)
	}
}

func FuzzIMAPSet(f *testing.F) {
	for _, seed := range []string{"1", "1:*", "*:4,7,2:3", "$", "4294967295,1:4294967295", "1,", "0", "5:1,9:7,*"} {
		f.Add([]byte(seed), uint16(5), uint16(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, count, step uint16) {
		set, err := imapParseSet(text)
		if err != nil {
			return
		}
		uids := make([]uint32, count%200)
		for i := range uids {
			uids[i] = uint32(i)*uint32(step%9+1) + 1
		}
		inside := func(n, last uint32) bool {
			return slices.ContainsFunc(set.ranges, func(r imapRange) bool {
				if r.a == imapStar {
					r.a = last
				}
				if r.b == imapStar {
					r.b = last
				}
				return min(r.a, r.b) <= n && n <= max(r.a, r.b)
			})
		}
		spans := set.byUID(uids)
		if len(spans) > len(uids) {
			t.Fatalf("%d spans of %d messages", len(spans), len(uids))
		}
		for i, uid := range uids {
			if want := inside(uid, uids[len(uids)-1]); spans.contains(i) != want {
				t.Fatalf("%q: UID %d of %v: %v", text, uid, uids, !want)
			}
		}
		if spans, ok := set.bySeq(len(uids)); ok {
			for i := range uids {
				if want := inside(uint32(i+1), uint32(len(uids))); spans.contains(i) != want {
					t.Fatalf("%q: message %d of %d: %v", text, i+1, len(uids), !want)
				}
			}
		}
		if out := imapAppendSet(nil, spans.pick(uids)); len(out) > 0 {
			again, err := imapParseSet(out)
			if err != nil || !bytes.Equal(imapAppendSet(nil, again.byUID(uids).pick(uids)), out) {
				t.Fatalf("%q does not come back: %v", out, err)
			}
		}
	})
}

func BenchmarkImapSet(b *testing.B) {
	uids := make([]uint32, 10000)
	for i := range uids {
		uids[i] = uint32(i + 1)
	}
	text := []byte(strings.Repeat("1:4294967295,", 5000) + "*")
	for b.Loop() {
		set, err := imapParseSet(text)
		if err != nil || set.byUID(uids).count() != len(uids) {
			b.Fatal(err)
		}
	}
}
