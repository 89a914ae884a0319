package main

import (
	"errors"
	"strings"
	"testing"
)

func TestAddressParsePath(t *testing.T) {
	long := strings.Repeat("l", 64)
	for _, test := range []struct {
		in     string
		local  string
		domain string
		rest   string
		err    error
	}{
		{"<>", "", "", "", nil},
		{"<> BODY=8BITMIME", "", "", " BODY=8BITMIME", nil},
		{"<alice@Example.ORG>", "alice", "example.org", "", nil},
		{"<Alice@example.org> SIZE=1", "Alice", "example.org", " SIZE=1", nil},
		{"<alice>", "alice", "", "", nil},
		{"<postmaster>", "postmaster", "", "", nil},
		{"<root@localhost>", "root", "localhost", "", nil},
		{"<alice+printer@pi.lan>", "alice+printer", "pi.lan", "", nil},
		{"<!#$%&'*+-/=?^_`{|}~@a>", "!#$%&'*+-/=?^_`{|}~", "a", "", nil},
		{`<"alice"@example.org>`, "alice", "example.org", "", nil},
		{`<"a b"@example.org>`, "a b", "example.org", "", nil},
		{`<"a\"b\\c@d>"@example.org>`, `a"b\c@d>`, "example.org", "", nil},
		{`<""@example.org>`, "", "example.org", "", nil},
		{`<"alice">`, "alice", "", "", nil},
		{"<@one.org,@two.org:alice@three.org>", "alice", "three.org", "", nil},
		{"<@one.org:alice@three.org> X", "alice", "three.org", " X", nil},
		{"<alice@[192.0.2.1]>", "alice", "[192.0.2.1]", "", nil},
		{"<alice@[IPv6:2001:db8::1]>", "alice", "[ipv6:2001:db8::1]", "", nil},
		{"<alice@[x400:abc]>", "alice", "[x400:abc]", "", nil},
		{"<a..b@example.org>", "a..b", "example.org", "", nil},
		{"<.a.@example.org>", ".a.", "example.org", "", nil},
		{"<a@my_pc.lan>", "a", "my_pc.lan", "", nil},
		{"<jürgen@bücher.example>", "jürgen", "bücher.example", "", nil},
		{"<x@BÜCHER.example>", "x", "bücher.example", "", nil},
		{"<x@Bu\u0308cher.example>", "x", "bücher.example", "", nil},
		{`<"jür gen"@a>`, "jür gen", "a", "", nil},
		{"<用户@例子.公司>", "用户", "例子.公司", "", nil},
		{"alice@example.org", "alice", "example.org", "", nil},
		{"alice@example.org SIZE=5", "alice", "example.org", " SIZE=5", nil},
		{"<" + long + "@example.org>", long, "example.org", "", nil},

		{"", "", "", "", errAddressSyntax},
		{" ", "", "", "", errAddressSyntax},
		{"<", "", "", "", errAddressSyntax},
		{"<alice", "", "", "", errAddressSyntax},
		{"<alice@example.org", "", "", "", errAddressSyntax},
		{"<alice@>", "", "", "", errAddressSyntax},
		{"<@example.org>", "", "", "", errAddressSyntax},
		{"<@a,b:alice@c>", "", "", "", errAddressSyntax},
		{"<@a:>", "", "", "", errAddressSyntax},
		{"<a b@example.org>", "", "", "", errAddressSyntax},
		{"<a@b@c>", "", "", "", errAddressSyntax},
		{"<a@b..c>", "", "", "", errAddressSyntax},
		{"<a@.b>", "", "", "", errAddressSyntax},
		{"<a@b.>", "", "", "", errAddressSyntax},
		{"<a@-b>", "", "", "", errAddressSyntax},
		{"<a@b->", "", "", "", errAddressSyntax},
		{"<a@b c>", "", "", "", errAddressSyntax},
		{"<a@b/c>", "", "", "", errAddressSyntax},
		{"<a@[1.2.3]>", "", "", "", errAddressSyntax},
		{"<a@[1.2.3.4>", "", "", "", errAddressSyntax},
		{"<a@[2001:db8::1]>", "a", "[2001:db8::1]", "", nil}, // General-address-literal, by its form
		{"<a@[IPv6:1.2.3.4]>", "", "", "", errAddressSyntax},
		{"<a@[IPv6:fe80::1%eth0]>", "", "", "", errAddressSyntax},
		{"<a@[]>", "", "", "", errAddressSyntax},
		{`<"alice@example.org>`, "", "", "", errAddressSyntax},
		{`<"alice"bob@example.org>`, "", "", "", errAddressSyntax},
		{"<\"a\x01b\"@example.org>", "", "", "", errAddressSyntax},
		{"<\"a\\\x01b\"@example.org>", "", "", "", errAddressSyntax},
		{"<a\x00b@example.org>", "", "", "", errAddressSyntax},
		{"<a\xff@example.org>", "", "", "", errAddressSyntax},
		{"<a@b\xff.org>", "", "", "", errAddressSyntax},
		{"<a@\u2028.org>", "", "", "", errAddressSyntax},
		{"alice@example.org>", "", "", "", errAddressSyntax},
		{"<a@" + strings.Repeat("d", 256) + ">", "", "", "", errAddressTooLong},
		{"<" + strings.Repeat("l", 200) + "@" + strings.Repeat("d", 60) + ">", "", "", "", errAddressTooLong},
	} {
		a, rest, err := addressParsePath(test.in)
		if !errors.Is(err, test.err) || err == nil && test.err != nil {
			t.Errorf("%q: error %v, want %v", test.in, err, test.err)
		} else if err == nil && (a != address{test.local, test.domain} || rest != test.rest) {
			t.Errorf("%q: %q %q rest %q", test.in, a.local, a.domain, rest)
		}
	}
}

// The limits are RFC 5321's to the octet.
func TestAddressLimits(t *testing.T) {
	path := func(n int) string { // a path of n octets, with its brackets
		return "<a@" + strings.Repeat("d", n-4) + ">"
	}
	if _, _, err := addressParsePath(path(256)); err != nil {
		t.Error(err)
	}
	if _, _, err := addressParsePath(path(257)); !errors.Is(err, errAddressTooLong) {
		t.Error(err)
	}
	if a := (address{strings.Repeat("x", 64), ""}); a.localTooLong() {
		t.Error("64 octets are allowed")
	}
	if a := (address{strings.Repeat("x", 65), ""}); !a.localTooLong() {
		t.Error("65 octets are too many")
	}
}

func TestAddressString(t *testing.T) {
	for in, want := range map[string]string{
		"<>":                            "",
		"<alice>":                       "alice",
		"<Alice@Example.ORG>":           "Alice@example.org",
		`<"alice"@a>`:                   "alice@a",
		`<"a b"@a>`:                     `"a b"@a`,
		`<"a\"b\\"@a>`:                  `"a\"b\\"@a`,
		`<""@a>`:                        `""@a`,
		`<"@">`:                         `"@"`,
		"<@x:alice@[IPv6:2001:DB8::1]>": "alice@[ipv6:2001:db8::1]",
	} {
		a, _, err := addressParsePath(in)
		if got := a.String(); err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", in, got, err, want)
		}
	}
}

func TestAddressDomain(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG":            "example.org",
		"xn--bcher-kva.example":  "bücher.example",
		"XN--BCHER-KVA.example":  "bücher.example",
		"BÜCHER.example":         "bücher.example",
		"xn--fsqu00a.xn--55qx5d": "例子.公司",
		"xn--":                   "",
		"xn--\x00":               "xn--\x00",
		"xn--99999999":           "xn--99999999",
		"localhost":              "localhost",
	} {
		if got := addressDomain(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAddressLiteral(t *testing.T) {
	for in, want := range map[string]string{"[192.0.2.1]": "192.0.2.1", "[ipv6:::1]": "::1", "[ipv6:::ffff:1.2.3.4]": "1.2.3.4"} {
		if ip, ok := addressLiteral(in); !ok || ip.String() != want {
			t.Errorf("%s: %v %v", in, ip, ok)
		}
	}
	for _, in := range []string{"", "[", "[]", "192.0.2.1", "[::1]", "[x:1]"} {
		if ip, ok := addressLiteral(in); ok {
			t.Errorf("%s: %v", in, ip)
		}
	}
}

// What is parsed is written so that it parses to the same.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"<>", "<alice@example.org> SIZE=1", `<"a\"b c"@[IPv6:::1]>`, "<@a,@b:c@d>",
		"alice", "<jürgen@bücher.example>", "<a@xn--bcher-kva>", `<""@a>`, "<a\xff@b>", "<a@[x:y]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, rest, err := addressParsePath(s)
		if err != nil {
			if !a.isNull() {
				t.Fatalf("%q: %q with an error", s, a)
			}
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("%q: rest %q", s, rest)
		}
		if strings.ContainsAny(a.String(), "\x00\r\n") {
			t.Fatalf("%q: %q would break a header line", s, a)
		}
		addressDomain(a.domain)
		if len(a.String()) > addressMaxPath-2 { // quoting may have made it longer
			return
		}
		again, _, err := addressParsePath("<" + a.String() + ">")
		if err != nil || again != a {
			t.Fatalf("%q: %+v, written %q, read again %+v (%v)", s, a, a, again, err)
		}
	})
}

func TestAddressList(t *testing.T) {
	for _, test := range []struct{ text, want, bad string }{
		{"alice", "alice", ""},
		{" root (Cron Daemon), bob@pi.lan ", "root bob@pi.lan", ""},
		{"Alice <alice@pi.lan>,\r\n\tBob\r\n <bob>", "alice@pi.lan bob", ""},
		{`"Doe, Jane" <jane@pi>, "a b"@pi`, `jane@pi "a b"@pi`, ""},
		{`"say \"<x>\", \\" <x@pi>`, "x@pi", ""},
		{"family: alice, Bob <bob@pi>;, carol", "alice bob@pi carol", ""},
		{"undisclosed-recipients:;", "", ""},
		{"a:b;c:d,e;", "b d e", ""},
		{"(a (nested \\) comment), with <x@y>) alice (,)", "alice", ""},
		{",, ,alice,;,", "alice", ""},
		{"alice @ pi . lan", "alice@pi.lan", ""},
		{"< alice @ pi . lan >", "alice@pi.lan", ""},
		{"X <@a,@b:c@d>", "c@d", ""},
		{"me@[192.168.1.2], you@[IPv6:::1]", "me@[192.168.1.2] you@[ipv6:::1]", ""},
		{"jürgen@bücher.example", "jürgen@bücher.example", ""},
		{"two words, alice", "alice", "two words"},
		{"a@b@c", "", "a@b@c"},
		{"<>", "", "<>"},
		{"X <alice> junk@pi", "alice", ""},
		{"alice, <never closed", "alice", "<never closed"},
		{`alice, "never closed`, "alice", `"never closed`},
		{"alice, (never closed", "alice", "(never closed"},
		{"alice, me@[1.2", "alice", "me@[1.2"},
		{"alice\x00, bob\r\nRCPT", "", "alice\x00|bob\r\nRCPT"},
		{"\xff@pi", "", "\xff@pi"},
		{"", "", ""},
	} {
		list, bad := addressList(test.text)
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != test.want || strings.Join(bad, "|") != test.bad {
			t.Errorf("%q: %q, bad %q", test.text, got, bad)
		}
	}
}

func FuzzAddressList(f *testing.F) {
	for _, text := range []string{"alice, Bob <bob@pi>", "g: a, \"b c\"@d (e);", "<@a:b@c>, \\", "x@[IPv6:::1]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, bad := addressList(text)
		if n := len(list) + len(bad); n > 1+strings.Count(text, ",")+strings.Count(text, ";") {
			t.Errorf("%d entries", n)
		}
		for _, a := range list {
			if again, err := addressParse(a.String()); err != nil || strings.ContainsAny(a.String(), "\r\n\x00") {
				t.Errorf("%q gives %q, which is read as %q, %v", text, a, again, err)
			}
		}
	})
}
