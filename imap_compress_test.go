package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// COMPRESS to the end of UNAUTHENTICATE, and what is not compressed input.
func TestImapCompress(t *testing.T) {
	theirs, ours := net.Pipe()
	defer theirs.Close()
	go testImapDoor(t, t.TempDir()).serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
	r := bufio.NewReader(theirs)
	var w io.Writer = theirs
	until := func(tag string) (lines string) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if must(t, err); strings.HasPrefix(line, tag+" ") {
				return lines + line
			}
			lines += line
		}
	}
	ask := func(line, want string) {
		t.Helper()
		written := make(chan error, 1)
		go func() {
			_, err := fmt.Fprintf(w, "%s\r\n", line)
			written <- err
		}()
		defer func() { <-written }() // the server may have left
		tag, _, _ := strings.Cut(line, " ")
		if got := until(tag); !strings.Contains(got, want) {
			t.Errorf("%s: %q", line, got)
		}
	}
	ask("a LOGIN alice secret", "COMPRESS=DEFLATE")
	ask("b COMPRESS DEFLATE", "b OK")
	d := newTestDeflated(t, theirs)
	r, w = bufio.NewReader(d), d
	ask("c COMPRESS DEFLATE", "c BAD this connection is compressed already")
	ask("d CAPABILITY", "IMAP4rev1")
	text := strings.Repeat("Subject: again\r\n", 5000) + "\r\n"
	ask(fmt.Sprintf("e APPEND INBOX {%d+}\r\n%s", len(text), text), "e OK")
	ask("f SELECT INBOX", "* 1 EXISTS")
	ask("g FETCH 1 BODY[]", text)
	ask("h UNAUTHENTICATE", "h OK")
	r, w = bufio.NewReader(theirs), theirs
	ask("i LOGIN alice secret", "COMPRESS=DEFLATE")
	ask("j COMPRESS DEFLATE", "j OK")
	r = bufio.NewReader(newTestDeflated(t, theirs))
	go io.WriteString(theirs, "\x07") // a block of a kind that does not exist
	if line, err := r.ReadString('\n'); !strings.Contains(line, "* BYE [CLIENTBUG] the compressed input is broken") {
		t.Errorf("%q, %v", line, err)
	}
}
