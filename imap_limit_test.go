package main

import (
	"strings"
	"testing"
)

// A client is told of one limit at most, and of none that does not hold (RFC 9738, section 3).
func TestImapLimitCapabilities(t *testing.T) {
	for _, c := range []struct {
		limit, saveLimit int
		without          string
		want             string
	}{
		{0, 0, "", ""},
		{3000, 0, "", "MESSAGELIMIT=3000"},
		{0, 2000, "", "SAVELIMIT=2000"},
		{3000, 2000, "", "MESSAGELIMIT=3000"},
		{3000, 0, "messagelimit", ""},
		{0, 2000, "SAVELIMIT", ""},
	} {
		door := testImapDoor(t, t.TempDir())
		door.limit, door.saveLimit, door.without = c.limit, c.saveLimit, imapCapabilitySet(strings.Fields(c.without))
		s := &imapSession{door: door, c: newConn(nil, nil, 0), state: imapAuthenticated}
		var told []string
		for _, name := range strings.Fields(s.capabilities()) {
			if strings.Contains(name, "LIMIT=") {
				told = append(told, name)
			}
		}
		if got := strings.Join(told, " "); got != c.want {
			t.Errorf("limits %d and %d, without %q: told %q, not %q", c.limit, c.saveLimit, c.without, got, c.want)
		}
		most, saved := s.mostMessages(), s.mostSaved()
		if (most > 0) != strings.HasPrefix(c.want, "MESSAGELIMIT") || (saved > 0) != (c.want != "") {
			t.Errorf("limits %d and %d, without %q: %d and %d hold", c.limit, c.saveLimit, c.without, most, saved)
		}
	}
}
