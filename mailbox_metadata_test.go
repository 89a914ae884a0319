package main

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Private annotations are their user's, in a folder of another's as well; what does not fit
// changes nothing.
func TestMailboxAnnotations(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	set := func(user, entry, value string) error {
		return tree.annotate(user, "Sent", []mailboxAnnotation{{entry, &value}}, nil)
	}
	for _, user := range []string{"alice", "bob"} {
		if err := set(user, "/private/comment", user+"\t\x00\r\n\x01"); err != nil {
			t.Fatal(err)
		}
		if err := set(user, "/shared/comment", "last: "+user); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"alice", "bob"} {
		list, err := tree.annotations(user, "Sent")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, a := range list {
			got[a.entry] = *a.value
		}
		use := ""
		if user == "alice" {
			use = `\Sent`
		}
		if got["/private/comment"] != user+"\t\x00\r\n\x01" || got["/shared/comment"] != "last: bob" || got["/private/specialuse"] != use {
			t.Errorf("%s: %q", user, got)
		}
	}
	if err := set("bob", mailboxSpecialUse, `\Junk`); !errors.Is(err, errMailboxUse) {
		t.Errorf("bob gives alice's folder a use: %v", err)
	}
	value, n := strings.Repeat("x", 64<<10), 0
	for ; n < 100; n++ {
		if err := set("alice", "/private/vendor/x/"+strconv.Itoa(n), value); errors.Is(err, errMailboxAnnotations) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 15 { // of 64 KiB each
		t.Errorf("%d values of 64 KiB fit", n)
	}
	if err := set("bob", "/private/vendor/x/full", value); err != nil { // alice's private ones are none of bob's
		t.Error(err)
	}
	before, err := maildirMetadata(filepath.Join(tree.root, mailboxDir("Sent"), maildirMetadataName))
	if err != nil || len(before) != 4+n {
		t.Errorf("%d annotations, %v", len(before), err)
	}
}

// A disk that fails leaves what was there, the special use included.
func TestMailboxAnnotationsFault(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	failed := errors.New("the disk says no")
	fault := func(step, path string) error {
		if step == "sync" && strings.Contains(path, maildirMetadataName) {
			return failed
		}
		return nil
	}
	fileFault.Store(&fault)
	defer fileFault.Store(nil)
	use, comment := `\Junk`, "x"
	err := tree.annotate("alice", "Sent", []mailboxAnnotation{{mailboxSpecialUse, &use}, {"/private/comment", &comment}}, nil)
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	list, err := tree.annotations("alice", "Sent")
	if err != nil || len(list) != 1 || *list[0].value != `\Sent` {
		t.Errorf("%v, %v", list, err)
	}
}

func FuzzMaildirTable(f *testing.F) {
	f.Add("alice\t/private/comment\tx\x01t\x01n\n\t/shared/comment\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		list := maildirTableParse(text)
		again := maildirTableParse(maildirTableText(list))
		if len(again) != len(list) {
			t.Fatalf("%q and %q", list, again)
		}
		for i := range list {
			if list[i] != again[i] {
				t.Errorf("%q and %q", list[i], again[i])
			}
		}
	})
}
