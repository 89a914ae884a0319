package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A table of early lines does what a map would do, whatever comes in which order.
func TestMailboxEarly(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var early mailboxEarly
	model := map[string]maildirUidline{}
	for step := range 20_000 {
		base := fmt.Sprintf("%d.host", random.IntN(500))
		switch random.IntN(3) {
		case 0:
			line := maildirUidline{uint32(step + 1), "", base}
			early.put(line)
			model[base] = line
		case 1:
			early.remove(base)
			delete(model, base)
		case 2:
			if line, ok := early.get(base); line != model[base] || ok != (model[base].uid != 0) {
				t.Fatalf("step %d: %v for %s, not %v", step, line, base, model[base])
			}
		}
		if early.count != len(model) {
			t.Fatalf("step %d: %d lines, not %d", step, early.count, len(model))
		}
	}
	early.each(func(line maildirUidline) bool {
		if model[line.base] != line {
			t.Errorf("%v is there, not %v", line, model[line.base])
		}
		delete(model, line.base)
		early.remove(line.base)
		return true
	})
	if len(model) > 0 || early.count != 0 {
		t.Errorf("each did not give %v; %d are left", model, early.count)
	}
}

// Names that are kept stay what they were.
func TestMailboxKeptNames(t *testing.T) {
	var names mailboxNames
	var kept []string
	for i := range 5000 {
		kept = append(kept, names.keep(fmt.Sprintf("%0*d", 1+i%300, i)))
	}
	for i, name := range kept {
		if want := fmt.Sprintf("%0*d", 1+i%300, i); name != want {
			t.Fatalf("%q has become %q", want, name)
		}
	}
}

// Of two records with one base name the file is the later one's: the message was moved away and
// back by a program that leaves files their names, and only the new/ was looked at since.
func TestMailboxReturnedUnseen(t *testing.T) {
	tree := testTree(t, testStore(t, t.TempDir()))
	testDeliver(t, tree, "INBOX", testMail(1), testMail(2), testMail(3))
	v := testView(t, tree, "INBOX")
	names := testFiles(t, tree, "cur")
	base, _, _ := strings.Cut(names[0], ":2,")
	var old uint32
	for _, uid := range v.uids() {
		if v.fileBase(uid) == base {
			old = uid
		}
	}
	must(t, os.Rename(filepath.Join(tree.root, "cur", names[0]), filepath.Join(tree.root, "new", base)))
	list, err := os.OpenFile(filepath.Join(tree.root, maildirUidlistName), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = fmt.Fprintf(list, "4 :%s\n", base)
	must(t, err)
	must(t, list.Close())
	v.mb.mu.Lock()
	_, v.mb.curStamp, err = v.mb.md.stamp() // as if cur/ had changed just before it was looked at
	v.mb.mu.Unlock()
	must(t, err)
	testSync(t, v, true)
	if _, there := slices.BinarySearch(v.uids(), 4); !there {
		t.Fatalf("UIDs %v: the message that came back is not there", v.uids())
	}
	for range mailboxMissesMost + 1 {
		must(t, v.mb.locked(nil, v.mb.rescan))
		testSync(t, v, true)
	}
	if _, there := slices.BinarySearch(v.uids(), old); there || len(v.uids()) != 3 || v.fileBase(4) != base {
		t.Errorf("UIDs %v, and %d should be gone", v.uids(), old)
	}
}
