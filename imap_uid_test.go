package main

import (
	"math"
	"slices"
	"testing"
)

func TestImapBatches(t *testing.T) {
	var uids []uint32 // 1 to 50 without some
	for uid := uint32(1); uid <= 50; uid++ {
		if !slices.Contains([]uint32{1, 14, 15, 16, 17, 41, 43, 45}, uid) {
			uids = append(uids, uid)
		}
	}
	for _, c := range []struct {
		uids              []uint32
		size, first, last uint32
		want              string
	}{
		{nil, 10, 0, 0, ""},
		{nil, 10, 1, 5, ""},
		{uids, 50, 0, 0, " 50:1"},
		{uids, 42, 0, 0, " 50:1"},
		{uids, 41, 0, 0, " 50:3,2:1"},
		{uids, 25, 0, 0, " 50:23,22:1"},
		{uids, 10, 0, 0, " 50:38,37:28,27:18,17:4,3:1"},
		{uids, 10, 1, 1, " 50:38"},
		{uids, 10, 2, 3, " 37:28,27:18"},
		{uids, 10, 5, 6, " 3:1"},
		{uids, 10, 5, math.MaxUint32, " 3:1"},
		{uids, 10, 6, 6, ""},
		{uids, 10, math.MaxUint32, math.MaxUint32, ""},
		{uids, math.MaxUint32, 0, 0, " 50:1"},
		{uids, math.MaxUint32, 2, math.MaxUint32, ""},
		{[]uint32{1}, 10, 0, 0, " 1:1"},
		{[]uint32{math.MaxUint32}, 10, 0, 0, " 4294967295:1"},
	} {
		if got := string(imapAppendBatches(nil, c.uids, c.size, c.first, c.last)); got != c.want {
			t.Errorf("%d messages, batches %d:%d of %d: %q, not %q", len(c.uids), c.first, c.last, c.size, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { imapAppendBatches(make([]byte, 0, 100), uids, 1<<20, 1, 1<<31) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzIMAPBatches wants batches to hold each message once, and as many each as was asked for, but the last one.
func FuzzIMAPBatches(f *testing.F) {
	f.Add([]byte{1, 1, 3, 200, 1}, uint32(2))
	f.Fuzz(func(t *testing.T, steps []byte, size uint32) {
		if size == 0 {
			return
		}
		var uids []uint32
		uid := uint32(0)
		for _, step := range steps {
			uid += uint32(step) + 1
			uids = append(uids, uid)
		}
		text := imapAppendBatches(nil, uids, size, 0, 0)
		if len(uids) == 0 {
			if len(text) > 0 {
				t.Errorf("no messages: %q", text)
			}
			return
		}
		set, err := imapParseSet(text[1:])
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		next, left := uids[len(uids)-1], len(uids)
		for i, r := range set.ranges {
			n := imapSet{ranges: []imapRange{r}}.byUID(uids).count()
			if r.a != next || r.b > r.a || n != min(left, int(min(size, 1<<30))) {
				t.Fatalf("%q of %v: batch %d has %d messages", text, uids, i+1, n)
			}
			next, left = r.b-1, left-n
		}
		if next != 0 || left != 0 {
			t.Errorf("%q of %v does not hold all", text, uids)
		}
	})
}
