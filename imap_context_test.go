package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestImapContextMerge puts messages into a sorted result one by one, a few at a time and many at once: it must
// be as sorted as if it had been sorted anew.
func TestImapContextMerge(t *testing.T) {
	dir := t.TempDir()
	d := testImapDoor(t, dir)
	tree, err := d.store.tree("alice")
	if err != nil {
		t.Fatal(err)
	}
	const count = 3 * imapContextSingly
	for i := range count {
		name := filepath.Join(dir, "alice", "cur", fmt.Sprintf("%d.M1P%d.pi:2,", 1000+i, i))
		text := fmt.Sprintf("Subject: %d\r\nFrom: %d@example.org\r\n\r\n", i*7%10, i*5%13)
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	view, err := tree.view("INBOX", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer view.close()
	if _, err := view.sync(true); err != nil || len(view.uids()) != count {
		t.Fatal(len(view.uids()), err)
	}
	r := &imapReader{line: []byte("(SUBJECT REVERSE FROM) ")}
	keys, err := r.readSortKeys()
	if err != nil {
		t.Fatal(err)
	}
	want, err := (&imapContext{order: keys}).sort(view, view.uids())
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{1, 5, imapContextSingly + 1, count} {
		s := &imapSession{selected: &imapSelected{view: view}}
		c := &imapContext{tag: "a", head: imapTagCorrelator("a"), byUID: true, order: keys}
		order := rand.Perm(count)
		var told []uint32 // as the client has it
		for len(order) > 0 {
			n := min(most, len(order))
			var uids []uint32
			for _, i := range order[:n] {
				uids = append(uids, view.uids()[i])
			}
			order = order[n:]
			slices.Sort(uids)
			out, err := c.add(nil, uids, s)
			if err != nil {
				t.Fatal(err)
			}
			told = testImapContextTold(t, told, out)
		}
		if !slices.Equal(c.hits, want) || !slices.Equal(told, want) {
			t.Errorf("%d at a time: %v, told %v, want %v", most, c.hits, told, want)
		}
		half := slices.Clone(want[:count/2])
		slices.Sort(half)
		told = testImapContextTold(t, told, c.remove(nil, half, view.uids()))
		if !slices.Equal(told, want[count/2:]) || !slices.Equal(told, c.hits) {
			t.Errorf("half of it removed: %v, told %v", c.hits, told)
		}
	}
}

// testImapContextTold does to a client's list what an ESEARCH response says.
func testImapContextTold(t *testing.T, list []uint32, line []byte) []uint32 {
	line, add := bytes.CutPrefix(line, []byte(`* ESEARCH (TAG "a") UID ADDTO (`))
	line, remove := bytes.CutPrefix(line, []byte(`* ESEARCH (TAG "a") UID REMOVEFROM (`))
	line, ended := bytes.CutSuffix(line, []byte(")\r\n"))
	if add == remove || !ended {
		t.Fatalf("%q", line)
	}
	for r := (&imapReader{line: line}); len(r.line) > 0; r.take(' ') {
		position, err := r.readNumber()
		if err == nil {
			err = r.readSpace()
		}
		set, err2 := r.readSet()
		if err != nil || err2 != nil || position == 0 {
			t.Fatalf("%q: %v %v", line, err, err2)
		}
		at := int(position) - 1
		for _, span := range set.ranges {
			for uid := span.a; uid <= span.b; uid++ {
				if add {
					list = slices.Insert(list, at, uid)
					at++
				} else if list[at] != uid {
					t.Fatalf("%d is not at %d", uid, position)
				} else {
					list = slices.Delete(list, at, at+1)
				}
			}
		}
	}
	return list
}
