//go:build !race

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Not under the race detector: when a connection breaks within a message, go-imap's client, version 2.0.0-beta.8, reads on
// in its own goroutine while the message's reader is still there. Nothing more is read from that connection.

// A connection that breaks in the middle of a message leaves nothing of it, and the next run has it whole.
func TestTransferIMAPBroken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for broken := true; ; broken = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			testIMAPServe(c, broken)
		}
	}()
	st := testStore(t, t.TempDir())
	for _, imported := range []int{1, 1, 0} {
		source, err := transferIMAPParse("imap://alice@" + l.Addr().String())
		must(t, err)
		counts, err := testJob(st).run(context.Background(), source)
		if counts.imported != imported || err == nil && len(testContents(t, testTree(t, st))) != 2 {
			t.Errorf("imported %d, want %d: %v", counts.imported, imported, err)
		}
	}
	names, err := filepath.Glob(filepath.Join(st.root, "alice/letterbox.import-*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%q, %v", names, err)
	}
	if text, err := os.ReadFile(names[0]); err != nil || string(text) != "7 9 \"INBOX\"\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// testIMAPServe plays a server with two messages that tells its folders in an old way, and perhaps breaks off.
func testIMAPServe(c net.Conn, broken bool) {
	defer c.Close()
	fmt.Fprint(c, "* OK [CAPABILITY IMAP4rev1] hello\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		tag, command, _ := strings.Cut(lines.Text(), " ")
		switch {
		case strings.HasPrefix(command, "LIST"):
			fmt.Fprint(c, "* LIST (\\Noselect) \".\" \"Old\"\r\n* LIST () \".\" INBOX\r\n")
		case strings.HasPrefix(command, "EXAMINE"):
			fmt.Fprint(c, "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n")
		case strings.HasPrefix(command, "UID SEARCH"):
			fmt.Fprint(c, "* SEARCH 9 4\r\n")
		case strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "BODY.PEEK"):
			for i, uid := range []string{"4", "9"} {
				if !strings.Contains(command, uid) {
					continue
				}
				text := testMail(i)
				fmt.Fprintf(c, "* %d FETCH (UID %s BODY[] {%d}\r\n", i+1, uid, len(text))
				if i == 1 && broken {
					io.WriteString(c, text[:9])
					return
				}
				fmt.Fprintf(c, "%s)\r\n", text)
			}
		case strings.HasPrefix(command, "UID FETCH"):
			fmt.Fprint(c, "* 1 FETCH (UID 4 FLAGS () INTERNALDATE \"02-Mar-2026 10:00:00 +0000\")\r\n* 2 FETCH (UID 9 FLAGS () INTERNALDATE \"02-Mar-2026 10:00:00 +0000\")\r\n")
		}
		fmt.Fprintf(c, "%s OK done\r\n", tag)
	}
}
