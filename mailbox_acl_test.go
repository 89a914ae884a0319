package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Who has what, as Dovecot's plugin reads the same files. The owner is alice.
func TestMailboxRights(t *testing.T) {
	const all = "lrswipkxtea"
	for _, c := range []struct{ text, bob, alice string }{
		{"", "", all},
		{"user=bob lrk\n", "lrk", all},
		{"# a comment\n\nuser=bob lr \r\n", "lr", all},
		{"user=bob lr", "lr", all},
		{"user=bob :lookup read\n", "lr", all},
		{"user=bob l :read\n", "lr", all},
		{"user=bob lr:insert\n", "lri", all},
		{"user=bob\n", "", all},
		{"user=Bob lr\n", "", all},
		{"\"user=bob\" lr\n", "lr", all},
		{"\"-user=bob\" r\nanyone lr\n", "l", all},
		{"user=bob lr\nuser=bob lrw\n", "lrw", all},
		{"anyone lrw\nuser=bob l\n", "l", all},
		{"anyone l\nuser=bob \n", "", all},
		{"anyone lr\n-user=bob r\n", "l", all},
		{"user=bob lr\n-anyone r\n", "l", all},
		{"authenticated lr\nanyone lrw\n", "lr", all},
		{"group=family lr\nanyone l\n", "l", all},
		{"group-override=family l\nuser=bob lr\n", "lr", all},
		{"-owner w\n", "", "lrsipkxtea"},
		{"user=bob\tlr\n", "", all}, // a user of that name
		// Dovecot lets the owner go without l and a.
		{"owner l\n", "", "la"},
		{"user=alice l\nowner lr\n", "", "la"},
		{"owner lr\nowner s\nuser=bob l\n", "l", "lrsa"},
		{"-user=alice la\n", "", all},
		// Of several that take away, only the most specific does so for Dovecot.
		{"anyone lrw\n-anyone r\n-user=bob w\n", "l", all},
		// There are no groups here.
		{"anyone lr\n-group=kids r\n", "l", all},
		// What Dovecot does not understand lets nobody in there.
		{"user=bob lr\ngarbage\n", "", all},
		{"user=bob lr\ngarbage lr\n", "", all},
		{"user=bob lrQ\n", "", all},
		{"user=bob lcd\n", "", all},
		{"USER=bob lr\n", "", all},
		{"  user=bob lr\n", "", all},
		{"user=bob lr extra\n", "", all},
		{"user=bob l r\n", "", all},
		{"user=bob :nothing\n", "", all},
		{"user= lr\n", "", all},
		{"anyoneelse lr\n", "", all},
		{"\"user=bob lr\n", "", all},
		{"user=bob lr\n\x00\n", "", all},
		{strings.Repeat("#", maildirACLMost+1) + "\nuser=bob lr\n", "", all},
	} {
		tree := testTree(t, testStore(t, t.TempDir()))
		must(t, os.WriteFile(filepath.Join(tree.root, maildirACLName), []byte(c.text), 0o600))
		bob, alice := tree.rights("bob", "INBOX").String(), tree.rights("alice", "INBOX").String()
		if bob != c.bob || alice != c.alice {
			t.Errorf("%.40q: bob %q, alice %q", c.text, bob, alice)
		}
	}
}

// A file is read again only when it has changed, or may have.
func TestMailboxACLKept(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	path := filepath.Join(tree.root, maildirACLName)
	put := func(text string, age time.Duration) {
		must(t, fileReplace(path, []byte(text), 0o600))
		must(t, os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age)))
	}
	put("user=bob lr\n", time.Hour)
	first := tree.acl(tree.root)
	if tree.acl(tree.root) != first {
		t.Error("an old file is read twice")
	}
	put("user=bob li\n", time.Hour)
	if got := tree.rights("bob", "INBOX").String(); got != "li" {
		t.Errorf("after a change bob has %q", got)
	}
	put("user=bob li\n", 0)
	fresh := tree.acl(tree.root)
	if tree.acl(tree.root) == fresh {
		t.Error("a file that may be changed within the same tick is not read again")
	}
	put("nonsense\n", time.Hour)
	damaged := tree.acl(tree.root)
	if damaged.damaged == nil || tree.acl(tree.root) != damaged {
		t.Error("a damaged file is read, and logged, each time")
	}
	must(t, os.Remove(path))
	if tree.acl(tree.root) != mailboxNoACL {
		t.Error("a file is believed that is not there")
	}
}

// What cannot be written changes nothing, and leaves nothing.
func TestMailboxACLFault(t *testing.T) {
	rights := mailboxRightRead | mailboxRightLookup
	for _, step := range []string{"create", "write", "sync", "rename"} {
		t.Run(step, func(t *testing.T) {
			tree := testTree(t, testStore(t, t.TempDir()))
			must(t, tree.changeACL("Sent", mailboxACLChange{"bob", mailboxSet, &rights}))
			testFault(t, step, maildirACLName, syscall.ENOSPC)
			err := tree.changeACL("Sent", mailboxACLChange{"carol", mailboxSet, &rights})
			fileFault.Store(nil)
			if !errors.Is(err, errMailboxFull) {
				t.Errorf("a full disk gives %v", err)
			}
			if got := tree.rights("bob", "Sent") | tree.rights("carol", "Sent")<<11; got != rights {
				t.Errorf("bob and carol have %b", got)
			}
			names, err := filepath.Glob(filepath.Join(tree.root, ".Sent", maildirACLName+"*"))
			if err != nil || len(names) != 1 {
				t.Errorf("left: %q, %v", names, err)
			}
		})
	}
	t.Run("inherit", func(t *testing.T) {
		tree := testTree(t, testStore(t, t.TempDir()))
		must(t, tree.changeACL("Sent", mailboxACLChange{"bob", mailboxSet, &rights}))
		testFault(t, "rename", maildirACLName, syscall.ENOSPC)
		err := tree.create("Sent/x", "")
		fileFault.Store(nil)
		if err == nil || tree.exists("Sent/x") {
			t.Errorf("a folder without its rights is made: %v", err)
		}
	})
}

// Many at once: nothing is lost.
func TestMailboxACLTogether(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	var wg sync.WaitGroup
	for _, name := range strings.Fields("a b c d e f g h") {
		wg.Go(func() {
			for _, right := range []mailboxRights{mailboxRightLookup, mailboxRightRead, mailboxRightSeen} {
				if err := tree.changeACL("Sent", mailboxACLChange{name, mailboxAdd, &right}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list := tree.aclOf("Sent").list("alice")
	if len(list) != 9 || slices.ContainsFunc(list[1:], func(e mailboxACLEntry) bool { return e.rights.String() != "lrs" }) {
		t.Errorf("%v", list)
	}
}

// One user's trouble hides nobody else's folders, nor one's own.
func TestMailboxSharedTrouble(t *testing.T) {
	st := testStore(t, t.TempDir())
	rights := mailboxRightRead | mailboxRightLookup
	for _, user := range []string{"alice", "carol"} {
		tree, err := st.tree(user)
		must(t, err)
		must(t, tree.changeACL("Sent", mailboxACLChange{"dave", mailboxSet, &rights}))
	}
	must(t, os.Symlink("bob", filepath.Join(st.root, "bob"))) // a loop
	var failed error
	dave, err := st.access("dave", mailboxSharing{word: "Shared", shadows: true,
		users: func() ([]string, error) {
			return []string{"alice", "bob", "carol", "dave", "erin"}, failed
		},
		exists: func(string) bool { return true }})
	must(t, err)
	names := func() string {
		folders, err := dave.folders(true)
		must(t, err)
		var names []string
		for _, f := range folders {
			names = append(names, f.name)
		}
		return strings.Join(names, " ")
	}
	const own = "INBOX Archive Drafts Junk Sent Trash"
	if got := names(); got != own+" ~/alice/Sent ~/carol/Sent" {
		t.Errorf("%s", got)
	}
	failed = errors.New("no users file")
	if got := names(); !strings.HasPrefix(got, own) {
		t.Errorf("without a list of users: %s", got)
	}
	if _, err := os.Stat(filepath.Join(st.root, "erin")); err == nil {
		t.Error("a look at who shares makes a Maildir")
	}
	must(t, dave.own.create("Shared/mine", ""))
	if got := names(); strings.Contains(got, "Shared") {
		t.Errorf("%s", got)
	}
}

// A list of subscriptions is changed line by line, whatever way a line splits its parts.
func TestMaildirSubscribeBelow(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, maildirSubscriptionsName)
	must(t, os.WriteFile(path, []byte("V\t2\n\nown\tsub\nShared/alice/P\tq\n"), 0o600))
	must(t, maildirSubscribeBelow(root, true, "Shared/bob/", "a/b", "INBOX"))
	must(t, maildirSubscribeBelow(root, true, "Shared\talice\t", "P/q"))
	must(t, maildirSubscribe(root, true, "own/sub", "x/y"))
	text, err := os.ReadFile(path)
	if want := "V\t2\n\nown\tsub\nShared/alice/P\tq\nShared/bob/a\tb\nShared/bob/INBOX\nx\ty\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	must(t, maildirSubscribeBelow(root, false, "Shared\talice\t", "P/q"))
	must(t, maildirSubscribe(root, false, "Shared/bob/INBOX"))
	text, err = os.ReadFile(path)
	if want := "V\t2\n\nown\tsub\nShared/bob/a\tb\nx\ty\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
}

// Whatever a file has: it is understood as a whole or not at all, an entry that is changed leaves all other lines as they
// were, and nobody gets a right by that but the one it is given to.
func FuzzMaildirACL(f *testing.F) {
	for _, text := range []string{"user=bob lr\n", "# x\n\n-user=bob r\nanyone lr\nowner lrswipkxtea\n", "\"user=a b\" l :read write-seen\n", "group=x l\r\n",
		"\"-user=a\\\"b\" l\n", "user=bob\nuser=bob l\n", "user=\n", "anyone lr:\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := maildirACLParse(text)
		if err != nil {
			if entries != nil {
				t.Fatalf("%q: %v and %v", text, entries, err)
			}
			return
		}
		if got := maildirACLText(entries); got != text && got != text+"\n" {
			t.Fatalf("%q is written as %q", text, got)
		}
		before := &mailboxACL{entries: slices.Clone(entries)}
		for i := range entries { // and as if all were new
			if entries[i].kind != maildirACLComment {
				entries[i].line = ""
			}
		}
		again, err := maildirACLParse(maildirACLText(entries))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%q: %q is not read again: %v", text, maildirACLText(entries), err)
		}
		rights := mailboxRightRead
		entry, err := mailboxParseIdentifier("zoe")
		if err != nil {
			t.Fatal(err)
		}
		changed, err := mailboxChangeEntries(again, entry, mailboxACLChange{"zoe", mailboxAdd, &rights}, "alice")
		if err != nil {
			t.Fatal(err)
		}
		after := &mailboxACL{entries: changed}
		for _, user := range []string{"alice", "bob", "x"} {
			if was, is := before.of(user, "alice"), after.of(user, "alice"); was != is {
				t.Fatalf("%q: %s had %s and has %s", text, user, was, is)
			}
		}
		if before.of("alice", "alice")&mailboxRightsOwner != mailboxRightsOwner {
			t.Fatalf("%q: the owner is shut out", text)
		}
	})
}
