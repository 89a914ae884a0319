package main

import (
	"os"
	"slices"
	"testing"
)

func TestServerUnwritten(t *testing.T) {
	const smaps = `00400000-00a51000 r-xp 00000000 fe:00 10068741                           /opt/my box/letterbox
Size:               6468 kB
Rss:                5572 kB
Anonymous:             0 kB
Swap:                  0 kB
SwapPss:               0 kB
VmFlags: rd ex mr mw me 
00a51000-010b2000 r--p 00651000 fe:00 10068741                           /opt/my box/letterbox (deleted)
Anonymous:             0 kB
Swap:                  0 kB
010b2000-011c8000 rw-p 00cb2000 fe:00 10068741                           /opt/my box/letterbox
Anonymous:             0 kB
Swap:                  0 kB
02000000-02001000 r--p 00cb2000 fe:00 10068741                           /opt/relocated
Anonymous:             4 kB
Swap:                  0 kB
02001000-02002000 r--p 00cb2000 fe:00 10068741                           /opt/relocated and swapped out
Anonymous:             0 kB
Swap:                  4 kB
02002000-02003000 r--s 00cb2000 fe:00 10068741                           /opt/shared
Anonymous:             0 kB
Swap:                  0 kB
02003000-02004000 r--p 00cb2000 fe:00 10068741                           /opt/told by a kernel that counts no swap
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
Swap:                  0 kB
fffffffffffffffffff-ffffffffffffffffffff r--p 00000000 fe:00 12                     /opt/out of range
Anonymous:             0 kB
Swap:                  0 kB
7ffc8d820000-7ffc8d822000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
Swap:                  0 kB
`
	want := []serverMapping{{0x400000, 0xa51000}, {0xa51000, 0x10b2000}}
	if got := serverUnwritten(smaps); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// Nothing that is in use may get lost with it.
func TestServerForgetStart(t *testing.T) {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	if len(serverUnwritten(string(smaps))) == 0 {
		t.Error("nothing is mapped from the program's file")
	}
	serverForgetStart()
	serverForgetStart()
}
