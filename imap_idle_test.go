//go:build !race

package main

import (
	"runtime"
	"testing"
)

// What an IDLE connection takes in memory, this test's own end of it included: the stack, above all, which the
// runtime halves when less than a quarter is used. One word too much in a function on the way to
// the wait doubles it.
func TestImapIdleMemory(t *testing.T) {
	const sessions, most = 100, 10 << 10
	c := serverTestConfig(t.TempDir())
	c.limits.connectionsPerAddress = 2 * sessions
	s, _ := serverTest(t, c, nil)
	idle := func() {
		l := serverDial(t, s.address(t, "imap"), nil)
		l.ask(t, "", "* OK")
		l.ask(t, "a LOGIN alice secret", "a OK")
		l.ask(t, "b SELECT INBOX", "b OK")
		l.ask(t, "c IDLE", "+ ")
	}
	used := func() uint64 {
		var m runtime.MemStats
		for range 2 { // a stack is halved once in each
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	idle()
	before := used()
	for range sessions {
		idle()
	}
	if each := (used() - before) / sessions; each > most {
		t.Errorf("an IDLE connection takes %d bytes, more than %d", each, most)
	}
}
