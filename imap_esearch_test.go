package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestImapEsearchMany searches more folders than stay in memory, with one that is in trouble among them.
func TestImapEsearchMany(t *testing.T) {
	dir := t.TempDir()
	d := testImapDoor(t, dir)
	d.progressEach = time.Hour // a slow machine would hear of it in between
	tree, err := d.store.tree("alice")
	if err != nil {
		t.Fatal(err)
	}
	const folders = mailboxIdleMost + 20
	for i := range folders {
		path := filepath.Join(dir, "alice", fmt.Sprintf(".f%04d", i))
		for _, sub := range []string{"new", "cur", "tmp"} {
			if err := os.MkdirAll(filepath.Join(path, sub), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		name := filepath.Join(path, "new", "1700000000.M1P1.pi")
		if i == 7 { // a message that cannot be read
			err = os.Mkdir(name, 0o777)
		} else {
			err = os.WriteFile(name, fmt.Appendf(nil, "Subject: even %d\r\n\r\n", i%2), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	server, client := net.Pipe()
	c := newConn(server, slog.New(slog.DiscardHandler), time.Minute)
	s := &imapSession{door: d, c: c, r: imapReader{c: c}, state: imapAuthenticated, user: "alice", tree: testAccess(tree), tag: "a", name: "ESEARCH"}
	said := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(client)
		said <- all
	}()
	s.r.line = []byte(` IN (subtree "" personal) RETURN (COUNT) BODY "" SUBJECT "even 0"`)
	err = s.cmdEsearch()
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	all := <-said
	for i := range folders {
		want := fmt.Appendf(nil, "* ESEARCH (TAG \"a\" MAILBOX f%04d UIDVALIDITY ", i)
		if found := bytes.Count(all, want); found != (i+1)%2 {
			t.Errorf("folder %d was told %d times", i, found)
		}
	}
	if n := bytes.Count(all, []byte("\r\n")); n != folders/2 || bytes.Count(all, []byte(" UID COUNT 1\r\n")) != n {
		t.Errorf("%d lines: %.300s", n, all)
	}
	if err == nil {
		t.Error("nothing was said of the message that cannot be read")
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if n := len(d.store.idle); n > mailboxIdleMost || n < mailboxIdleMost/2 {
		t.Errorf("%d folders are idle in memory", n)
	}
	for _, mb := range d.store.folders {
		if mb.holders != 0 {
			t.Errorf("%s is held", mb.name)
		}
	}
}
