package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testDeliverer(t testing.TB, root string, aliases map[string][]string, a *auth) *deliverer {
	t.Helper()
	store, err := newMailboxStore(mailboxSettings{root: root, now: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	return newDeliverer(deliverSettings{hostname: "pi.lan", domains: []string{"example.org", "xn--bcher-kva.example"}, aliases: aliases,
		userExists: a.exists, users: a.users, store: store, log: slog.New(slog.DiscardHandler)})
}

func TestDeliverRecipient(t *testing.T) {
	users := []string{"alice", "bob", "jürgen", "first.last"}
	usersErr := error(nil)
	d := newDeliverer(deliverSettings{
		hostname: "Pi.LAN",
		domains:  []string{"Example.org", "bücher.example"},
		aliases: map[string][]string{
			"Family":            {"alice", "Bob", "kids"},
			"kids":              {"jürgen", "family", "alice"},
			"info@example.org":  {"bob"},
			"info@PI.lan":       {"alice"},
			"alice":             {"alice", "bob+copies"},
			"a":                 {"b"},
			"b":                 {"a"},
			"gone":              {"nobody"},
			"half":              {"nobody", "bob"},
			"out":               {"someone@example.com"},
			"sorted":            {"first.last+in/box"},
			"*@bücher.example":  {"jürgen"},
			"x+y":               {"bob"},
			"bad":               {"a b", ""},
			"everyone":          {"family+all", "first.last"},
			`"with space"`:      {"bob"},
			"postmaster@pi.lan": {"bob"},
		},
		userExists: func(name string) bool { return slices.Contains(users, name) },
		users:      func() ([]string, error) { return users, usersErr },
		log:        slog.New(slog.DiscardHandler),
	})
	for _, test := range []struct{ path, want string }{
		{"<bob>", "bob"},
		{"<BOB@EXAMPLE.ORG>", "bob"},
		{"<root>", "alice"},
		{"<Root@pi.lan>", "alice"},
		{"<root@bücher.example>", "jürgen"},
		{"<bob@pi.lan>", "bob"},
		{"<bob@pi>", "bob"},
		{"<bob@pi.local>", "bob"},
		{"<bob@localhost>", "bob"},
		{"<bob@[127.0.0.1]>", "bob"},
		{"<bob@[IPv6:::1]>", "bob"},
		{"<bob+Detail@example.org>", "bob+Detail"},
		{"<bob+a+b>", "bob+a+b"},
		{"<bob+>", "bob"},
		{"<+bob>", errDeliverNoUser.Error()},
		{"<+>", errDeliverNoUser.Error()},
		{`<"bob">`, "bob"},
		{`<"">`, errDeliverNoUser.Error()},
		{`<"With Space"@pi>`, "bob"},
		{"<first.last>", "first.last"},
		{"<JÜRGEN@example.org>", "jürgen"},
		{"<ju\u0308rgen@example.org>", "jürgen"},
		{"<family>", "alice bob+copies bob jürgen"},
		{"<family+x@pi.lan>", "alice+x bob+copies bob+x jürgen+x"},
		{"<kids>", "jürgen alice bob+copies bob"},
		{"<everyone>", "alice+all bob+copies bob+all jürgen+all first.last"},
		{"<info>", errDeliverNoUser.Error()},
		{"<info@example.org>", "bob"},
		{"<info+x@example.org>", "bob+x"},
		{"<info@pi.lan>", "alice bob+copies"},
		{"<alice>", "alice bob+copies"},
		{"<a>", errDeliverNoUser.Error()},
		{"<gone>", errDeliverNoUser.Error()},
		{"<half>", "bob"},
		{"<out>", errDeliverNoUser.Error()},
		{"<bad>", errDeliverNoUser.Error()},
		{"<sorted>", "first.last+in/box"},
		{"<x+y>", "bob"},
		{"<x+z>", errDeliverNoUser.Error()},
		{"<anybody@bücher.example>", "jürgen"},
		{"<anybody@xn--BCHER-kva.example>", "jürgen"},
		{"<bob@bücher.example>", "bob"},
		{"<*>", errDeliverNoUser.Error()},
		{"<postmaster>", "alice"}, // the user, not the alias of that name
		{"<PostMaster@example.org>", "alice"},
		{"<postmaster@pi.lan>", "bob"},
		{"<bob@example.com>", errDeliverNotLocal.Error()},
		{"<bob@[192.0.2.1]>", errDeliverNotLocal.Error()},
		{"<bob@sub.pi.lan>", errDeliverNotLocal.Error()},
	} {
		a, _, err := addressParsePath(test.path)
		if err != nil {
			t.Fatal(err)
		}
		rcpt, err := d.recipient(a)
		var got []string
		if err != nil {
			got = []string{err.Error()}
		} else {
			for _, box := range rcpt.boxes {
				got = append(got, strings.TrimSuffix(box.user+"+"+box.detail, "+"))
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %s, want %s", test.path, strings.Join(got, " "), test.want)
		}
	}
	usersErr = errors.New("no list")
	if _, err := d.recipient(address{"postmaster", ""}); !errors.Is(err, usersErr) {
		t.Errorf("postmaster without a list of users: %v", err)
	}
}

// testEnvelope delivers a message and gives the errors.
func testEnvelope(t *testing.T, d *deliverer, eachAlone bool, body string, to ...string) []error {
	t.Helper()
	var rcpts []*deliverRecipient
	for _, local := range to {
		rcpt, err := d.recipient(address{local, ""})
		if err != nil {
			t.Fatal(err)
		}
		rcpts = append(rcpts, rcpt)
	}
	trace := deliverTrace{from: address{"root", ""}, helo: "pc", by: "pi.lan", protocol: "ESMTP", id: "ID",
		date: time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)}
	m := d.begin(trace, rcpts)
	for chunk := range slices.Chunk([]byte(body), 5000) {
		m.Write(chunk)
	}
	return m.commit(eachAlone)
}

// testEnvelopeFiles gives the files of a user's folder.
func testEnvelopeFiles(t *testing.T, root, folder string) (files []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if tmp, _ := filepath.Glob(filepath.Join(root, folder, "tmp", "*")); len(tmp) > 0 {
		t.Errorf("left behind: %q", tmp)
	}
	return files
}

// A recipient's users share a file, recipients don't; each file has the whole message,
// small or large, and the date.
func TestDeliverCopies(t *testing.T) {
	for _, size := range []int{0, 10, deliverMemory - 1, deliverMemory, deliverMemory + 1, 5*deliverMemory + 17} {
		root := t.TempDir()
		d := testDeliverer(t, root, map[string][]string{"both": {"alice", "bob"}}, testAuth(t, "alice", "bob"))
		body := strings.Repeat("0123456789\r\n", size/12+1)[:size]
		for i, err := range testEnvelope(t, d, false, body, "both", "alice", "bob", "bob+x") {
			if err != nil {
				t.Fatalf("%d bytes, recipient %d: %v", size, i, err)
			}
		}
		alice, bob := testEnvelopeFiles(t, root, "alice"), testEnvelopeFiles(t, root, "bob")
		if len(alice) != 2 || len(bob) != 3 {
			t.Fatalf("%d bytes: alice has %q, bob %q", size, alice, bob)
		}
		shared := 0
		for _, file := range append(alice, bob...) {
			text, err := os.ReadFile(file)
			if err != nil || !strings.HasSuffix(string(text), "+0000\r\n"+body) || !strings.HasPrefix(string(text), "Return-Path: <root>\r\nDelivered-To: ") {
				t.Errorf("%d bytes: %s has %d bytes, begins with %.200q (%v)", size, file, len(text), text, err)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if date := info.ModTime().Unix(); date != 1706933106 {
				t.Errorf("%s is of %d", file, date)
			}
			if strings.Contains(string(text), "Delivered-To: both\r\n") {
				shared++
				other, _ := os.Stat(alice[0])
				other2, _ := os.Stat(alice[1])
				if !os.SameFile(info, other) && !os.SameFile(info, other2) {
					t.Errorf("%s is no link", file)
				}
			}
		}
		if shared != 2 {
			t.Errorf("%d files are for both", shared)
		}
	}
}

// Whatever step fails for one recipient, an envelope of SMTP is delivered to nobody, one of
// LMTP to the others, and nothing is left behind.
func TestDeliverFaults(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "link", "rename"} {
		for _, size := range []int{10, 4 * deliverMemory} {
			for _, eachAlone := range []bool{false, true} {
				name := fmt.Sprintf("%s, %d bytes, each alone %v", step, size, eachAlone)
				root := t.TempDir()
				d := testDeliverer(t, root, map[string][]string{"family": {"alice", "carol"}}, testAuth(t, "alice", "bob", "carol"))
				for _, user := range []string{"alice", "bob", "carol"} {
					if _, err := d.store.tree(user); err != nil {
						t.Fatal(err)
					}
				}
				victim := filepath.Join(root, "carol")
				if step == "create" || step == "write" || step == "sync" {
					victim = filepath.Join(root, "alice")
				}
				fault := func(at, path string) error {
					if at == step && strings.HasPrefix(path, victim) {
						return fmt.Errorf("%s: %w", at, syscall.ENOSPC)
					}
					return nil
				}
				fileFault.Store(&fault)
				errs := testEnvelope(t, d, eachAlone, strings.Repeat("x", size), "family", "bob")
				fileFault.Store(nil)
				if !errors.Is(errs[0], errDeliverFull) {
					t.Errorf("%s: family: %v", name, errs[0])
				}
				alice, bob, carol := len(testEnvelopeFiles(t, root, "alice")), len(testEnvelopeFiles(t, root, "bob")), len(testEnvelopeFiles(t, root, "carol"))
				switch {
				case step == "rename": // D4: the others have it
					if errs[1] != nil || alice != 1 || bob != 1 || carol != 0 {
						t.Errorf("%s: %v, %d %d %d", name, errs, alice, bob, carol)
					}
				case eachAlone:
					if errs[1] != nil || alice != 0 || bob != 1 || carol != 0 {
						t.Errorf("%s: %v, %d %d %d", name, errs, alice, bob, carol)
					}
				default:
					if !errors.Is(errs[1], errDeliverFull) || alice != 0 || bob != 0 || carol != 0 {
						t.Errorf("%s: %v, %d %d %d", name, errs, alice, bob, carol)
					}
				}
			}
		}
	}
}

// A disk that gets full in the middle of a large message: the copy of the next recipient
// takes over what there was.
func TestDeliverTakesOver(t *testing.T) {
	root := t.TempDir()
	d := testDeliverer(t, root, nil, testAuth(t, "alice", "bob", "carol"))
	for _, user := range []string{"alice", "bob", "carol"} {
		if _, err := d.store.tree(user); err != nil {
			t.Fatal(err)
		}
	}
	writes := 0
	fault := func(at, path string) error {
		if at == "write" && strings.HasPrefix(path, filepath.Join(root, "alice")) {
			if writes++; writes > 3 {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	fileFault.Store(&fault)
	defer fileFault.Store(nil)
	var b strings.Builder
	for i := range 50000 {
		fmt.Fprintf(&b, "%d\r\n", i)
	}
	errs := testEnvelope(t, d, true, b.String(), "alice", "bob", "carol")
	if !errors.Is(errs[0], errDeliverFull) || errs[1] != nil || errs[2] != nil {
		t.Fatal(errs)
	}
	if files := testEnvelopeFiles(t, root, "alice"); len(files) != 0 {
		t.Errorf("alice has %q", files)
	}
	for _, user := range []string{"bob", "carol"} {
		files := testEnvelopeFiles(t, root, user)
		if len(files) != 1 {
			t.Fatalf("%s has %q", user, files)
		}
		text, err := os.ReadFile(files[0])
		if _, body, _ := strings.Cut(string(text), "+0000\r\n"); body != b.String() || err != nil {
			t.Errorf("%s has %d of %d bytes (%v)", user, len(body), b.Len(), err)
		}
	}
}

func TestDeliverHead(t *testing.T) {
	for in, want := range map[string]int{
		"": 0,
		"Received: x\r\nreceived:\nRECEIVED : x\r\n": 2,
		"\r\nReceived: x\r\n":                        0,
		"\nReceived: x\n":                            0,
		"Received: x\n\nReceived: x\n":               1,
		" Received: x\nXReceived: x\nReceived":       0,
		"\rReceived: x\nReceived: x\n":               1,
		"A: b\r\n\rReceived: x\nReceived: x":         1,
	} {
		for chunk := 1; chunk <= len(in); chunk++ {
			var h deliverHead
			for p := range slices.Chunk([]byte(in), chunk) {
				h.scan(p)
			}
			if h.received != want {
				t.Errorf("%q by %d: %d, want %d", in, chunk, h.received, want)
			}
		}
	}
}

func TestDeliverTrace(t *testing.T) {
	trace := deliverTrace{from: address{"a b", "example.com"}, helo: "evil (x)\r\nBcc: y", ip: netip.MustParseAddr("2001:db8::1"), by: "pi.lan",
		protocol: "ESMTPS", tls: "TLS 1.3", id: "ID", date: time.Date(2024, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))}
	want := "Return-Path: <\"a b\"@example.com>\r\nDelivered-To: Alice@example.org\r\nReceived: from unknown ([IPv6:2001:db8::1])\r\n" +
		"\tby pi.lan with ESMTPS (TLS 1.3) id ID; Sat, 3 Feb 2024 04:05:06 +0100\r\n"
	if got := string(trace.header(address{"Alice", "example.org"}, false)); got != want {
		t.Errorf("%q", got)
	}
}
