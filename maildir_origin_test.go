package main

import (
	"strings"
	"testing"
)

func TestMaildirOrigin(t *testing.T) {
	first := maildirOrigin("1700000001.M1P1.pi,S=4,W=5")
	if len(first) != maildirOriginSize {
		t.Errorf("%q has not %d characters", first, maildirOriginSize)
	}
	copied := maildirWithOrigin("1700000002.M1P1.pi,S=4,W=5", "1700000001.M1P1.pi,S=4,W=5")
	if got := maildirOrigin(copied); got != first {
		t.Errorf("a copy has the origin %q, not %q", got, first)
	}
	again := maildirWithOrigin("1700000003.M1P1.pi", copied)
	if got := maildirOrigin(again + ",X=1"); got != first {
		t.Errorf("a copy of a copy has the origin %q, not %q", got, first)
	}
	if disk, wire := maildirSizes(copied); disk != 4 || wire != 5 {
		t.Errorf("%s: sizes %d %d", copied, disk, wire)
	}
	for _, base := range []string{"a,E=", "a,E=short", "a,E=" + strings.ToUpper(first), "a,E=" + first + "0", "a,E=" + first[:15] + ")"} {
		if got := maildirOrigin(base); !imapIsObjectID(got) || got == first {
			t.Errorf("%s has the origin %q", base, got)
		}
	}
}
