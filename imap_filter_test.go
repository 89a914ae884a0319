package main

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// testImapFilterSession is a session of alice's with some folders, one of them selected, that has
// line before it.
func testImapFilterSession(t testing.TB, separator byte, prefix string) *imapSession {
	d := testImapDoor(t, t.TempDir())
	d.separator, d.prefix = separator, prefix
	tree, err := d.store.tree("alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "a/b/c", "ab", "INBOX/x"} {
		if err := tree.create(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.subscribe("ab", true); err != nil {
		t.Fatal(err)
	}
	if err := tree.subscribe("not/there", true); err != nil {
		t.Fatal(err)
	}
	view, err := tree.view("a/b", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.close)
	here, there := net.Pipe()
	there.Close()
	c := newConn(here, nil, time.Hour)
	t.Cleanup(func() { c.Close() })
	return &imapSession{door: d, c: c, r: imapReader{c: c}, tree: testAccess(tree), selected: &imapSelected{view: view}}
}

func TestImapFilter(t *testing.T) {
	const all = "INBOX INBOX/x a/b a/b/c ab Archive Drafts Junk Sent Trash"
	for _, c := range []struct{ separator, prefix, filter, want string }{
		{"/", "", "selected", "a/b"},
		{"/", "", "Selected-Delayed", "a/b"},
		{"/", "", "personal", all},
		{"/", "", "INBOXES", all},
		{"/", "", "subscribed", "ab Archive Drafts Junk Sent Trash"},
		{"/", "", "subtree a", "a/b a/b/c"},
		{"/", "", "subtree a/", "a/b a/b/c"},
		{"/", "", `subtree ("a/b" {3+}`, ""}, // the literal never comes
		{"/", "", `subtree ("a/b" inbox)`, "INBOX INBOX/x a/b a/b/c"},
		{"/", "", `subtree ""`, all},
		{"/", "", "subtree-one a", "a/b"},
		{"/", "", "subtree-one inbox/", "INBOX INBOX/x"},
		{"/", "", `subtree-one ""`, "INBOX ab Archive Drafts Junk Sent Trash"},
		{"/", "", "mailboxes (ab a \"a/%\" ab inbox not/there)", "INBOX ab"},
		{"/", "", "mailboxes (&bad ../../etc)", "none"},
		{"/", "", "mailboxes (&bad)", "none"},
		{"/", "", "mailboxes ()", ""},
		{"/", "", "mailboxes", ""},
		{"/", "", "mailboxes (a", ""},
		{"/", "", "all", ""},
		{".", "INBOX.", "subtree INBOX.a", "a/b a/b/c"},
		{".", "INBOX.", "subtree inbox", all},
		{".", "INBOX.", "mailboxes inbox.ab", "ab"},
		{".", "INBOX.", "mailboxes a.b", "none"},
		{".", "", "subtree-one a", "a/b"},
	} {
		s := testImapFilterSession(t, c.separator[0], c.prefix)
		s.r.line = []byte(c.filter)
		f, err := s.readMailboxFilter()
		if c.want == "" {
			if err == nil {
				t.Errorf("%s was read", c.filter)
			}
			continue
		}
		got, err2 := s.filterFolders(f)
		want := strings.Fields(strings.TrimPrefix(c.want, "none"))
		slices.SortFunc(want, mailboxCompareNames)
		if err != nil || err2 != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v %v, want %v", c.filter, got, err, err2, want)
		}
		for _, name := range strings.Fields(all) {
			if has, err := f.has(s, name); err != nil || has != slices.Contains(want, name) {
				t.Errorf("%s: %s: %v %v", c.filter, name, has, err)
			}
		}
	}
}

// TestImapSources reads the source options of ESEARCH.
func TestImapSources(t *testing.T) {
	s := testImapFilterSession(t, '/', "")
	for _, c := range []struct{ sources, want string }{
		{"(selected) x", "a/b"},
		{"(mailboxes ab subtree a) x", "a/b a/b/c ab"},
		{"(mailboxes ab subtree a mailboxes (ab INBOX) Subtree-One INBOX) x", "INBOX INBOX/x a/b a/b/c ab"},
		{"(selected mailboxes a/b) x", "a/b"},
		{"(subscribed inboxes personal) x", "INBOX INBOX/x a/b a/b/c ab Archive Drafts Junk Sent Trash"},
		{"(mailboxes (not/there)) x", "none"},
		{"(mailboxes (a" + strings.Repeat(" a", imapFilterNames-1) + ")) x", "none"},
		{"(mailboxes (a" + strings.Repeat(" a", imapFilterNames-1) + ") mailboxes ab) x", ""},
		{"(" + strings.Repeat("personal subtree ab ", 500) + "inboxes) x", "INBOX INBOX/x a/b a/b/c ab Archive Drafts Junk Sent Trash"},
		{"() x", ""},
		{"(personal)", ""},
		{"(personal)x", ""},
		{"(personal x", ""},
		{"(personal ) x", ""},
		{"(personal  inboxes) x", ""},
		{"(selected-delayed) x", ""},
		{"(personal (depth 1)) x", ""},
		{"(personal ()) x", ""},
		{"(personal (", ""},
		{"personal x", ""},
		{"", ""},
	} {
		s.r.line = []byte(c.sources)
		sources, err := s.readSources()
		if c.want == "" {
			if err == nil {
				t.Errorf("%.60s was read", c.sources)
			}
			continue
		}
		got, err2 := s.filterFolders(sources...)
		want := strings.Fields(strings.TrimPrefix(c.want, "none"))
		slices.SortFunc(want, mailboxCompareNames)
		if err != nil || err2 != nil || !slices.Equal(got, want) || len(sources) > len(imapFilterKinds) {
			t.Errorf("%.60s: %v %v %v, want %v", c.sources, got, err, err2, want)
		}
	}
}

func FuzzIMAPSources(f *testing.F) {
	for _, seed := range []string{"(selected) x", `(mailboxes "a/b" subtree (a b) personal) x`, "(personal (depth 1)) x", "(inboxes"} {
		f.Add(seed)
	}
	s := testImapFilterSession(f, '/', "")
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > 1000 || strings.ContainsAny(line, "\r\n") {
			return
		}
		s.r.line, s.r.literals, s.r.broken = []byte(line), 0, nil
		sources, err := s.readSources()
		if err != nil {
			return
		}
		if len(sources) == 0 || len(sources) >= len(imapFilterKinds) {
			t.Fatalf("%q: %v", line, sources)
		}
		if _, err := s.filterFolders(sources...); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzIMAPFilter(f *testing.F) {
	for _, seed := range []string{"selected", "subtree (a b)", `mailboxes "a/b"`, "subtree-one &-", "personal ("} {
		f.Add(seed)
	}
	s := testImapFilterSession(f, '/', "")
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > 1000 || strings.ContainsAny(line, "\r\n") {
			return
		}
		s.r.line, s.r.literals, s.r.broken = []byte(line), 0, nil
		filter, err := s.readMailboxFilter()
		if err != nil {
			return
		}
		names, err := s.filterFolders(filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if has, err := filter.has(s, name); !has || err != nil {
				t.Errorf("%q has %s, and has not: %v", line, name, err)
			}
		}
	})
}
