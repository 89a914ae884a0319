package main

import (
	"bytes"
	"testing"
)

func TestMessageBaseSubject(t *testing.T) {
	for _, c := range []struct {
		subject, base string
		reply         bool
	}{
		{"", "", false},
		{"Re", "Re", false},
		{"re:", "", true},
		{"Re: x", "x", true},
		{"RE : x", "x", true},
		{"Fw: re: FWD: x", "x", true},
		{"Re[2]: x", "x", true},
		{"[list] x", "x", false},
		{"[a] [b] Re: x", "x", true},
		{"[list]", "[list]", false},
		{"Re: [list]", "[list]", true},
		{"[a][b]", "[b]", false},
		{"x (fwd) (FWD) ", "x", true},
		{"(fwd)", "", true},
		{"[Fwd: x]", "x", true},
		{"[fwd: Re: [fwd: x] (fwd)]", "x", true},
		{"[fwd:]", "", true},
		{"[fwd: x", "[fwd: x", false},
		{"a \t\r\n b", "a b", false},
		{"Reply: x", "Reply: x", false},
		{"Re x", "Re x", false},
		{"[[a] x", "[[a] x", false},
		{"[] x", "x", false},
	} {
		if base, reply := messageBaseSubject(c.subject); base != c.base || reply != c.reply {
			t.Errorf("%q: %q, %v", c.subject, base, reply)
		}
	}
}

func TestMessageSortIDs(t *testing.T) {
	for _, c := range []struct{ header, own, references string }{
		{"Message-ID: <a@b>\r\nReferences: <c@d> <e@f>\r\n", "a@b", "c@d e@f"},
		{"Message-ID: <\"a\"@b> <x@y>\r\nIn-Reply-To: <c@d> <e@f>\r\n", "a@b", "c@d"},
		{"Message-ID: <\"a \\\"b\"@c>\r\n", `a "b@c`, ""},
		{"References: nonsense <c> <@d> <e@> <f@g <h@i>\r\nIn-Reply-To: <j@k>\r\n", "", "h@i"},
		{"References: none\r\n\t<>\r\nIn-Reply-To: alice <j@k>\r\n", "", "j@k"},
		{"References: <a.b@c>\r\n <(comment) d . e @ f>\r\n", "", "a.b@c d.e@f"},
		{"Message-ID: a@b\r\n", "", ""},
	} {
		own, references := messageSortIDs([]byte(c.header))
		if got := string(bytes.Join(references, []byte(" "))); string(own) != c.own || got != c.references {
			t.Errorf("%q: %q, %q", c.header, own, got)
		}
	}
}

func FuzzMessageBaseSubject(f *testing.F) {
	f.Add("Re: [a] [fwd: x] (fwd)")
	f.Fuzz(func(t *testing.T, subject string) {
		base, _ := messageBaseSubject(subject)
		if again, reply := messageBaseSubject(base); again != base || reply {
			t.Errorf("%q: %q, and of that %q, %v", subject, base, again, reply)
		}
		messageIDs([]byte("References: "+subject), "references", -1)
	})
}
