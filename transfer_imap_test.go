package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTransferIMAPParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"imaps://alice@host.example", "host.example:993 alice true"}, {"imap://alice%40example.org@host", "host:143 alice@example.org false"},
		{"imaps://a@[::1]:2993/", "[::1]:2993 a true"}, {"imaps://host", "should be like"}, {"imaps://a@", "should be like"},
		{"imaps://a:secret@host", "can be read by everybody"}, {"imaps://a@host/INBOX", "should be like"}, {"imaps://a@host:x", "no address"},
	} {
		got := ""
		if s, err := transferIMAPParse(c.text); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(s.address, " ", s.user, " ", s.tls)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
}

// testIMAPSource is alice's account on a server of our own.
func testIMAPSource(t *testing.T, s *server, service string) *transferIMAP {
	t.Helper()
	host, port, err := net.SplitHostPort(s.address(t, service))
	must(t, err)
	source, err := transferIMAPParse(map[bool]string{true: "imaps", false: "imap"}[service == "imaps"] + "://alice@" + net.JoinHostPort(host, port))
	must(t, err)
	source.password = "secret"
	must(t, source.trust(filepath.Join(s.config.storage.path, serverDirectory, "ca.pem")))
	return source
}

// An account on another server comes in: folders, special uses, flags, keywords, dates; interrupted, it goes on; a second run
// fetches what is new and nothing else.
func TestTransferIMAP(t *testing.T) {
	s, _ := serverTest(t, serverTestConfig(t.TempDir()), nil)
	tree, err := s.store.tree("alice")
	must(t, err)
	must(t, tree.create("Gesendet", "Sent"))
	must(t, tree.create("Work/März", ""))
	must(t, tree.create("Empty", ""))
	for i := range 10 {
		testDeliver(t, tree, "INBOX", testMail(i))
	}
	testDeliver(t, tree, "Work/März", "Subject: x\n\n\x00"+strings.Repeat("large\r\n", transferInMemory/5))
	testDeliver(t, tree, "Gesendet", testMail(20))
	v := testView(t, tree, "INBOX")
	work, err := v.keywordFlags([]string{"work"})
	must(t, err)
	_, err = v.store(v.uids()[2:4], mailboxAdd, work|mailboxFlagSeen|mailboxFlagForwarded|mailboxFlagDeleted, false, 0)
	must(t, err)
	want := testContents(t, tree)
	for i := range want {
		want[i] = strings.Replace(want[i], "Gesendet", "Sent", 1)
		want[i] = strings.Replace(want[i], "Subject: x\n\n\x00", "Subject: x\r\n\r\n\x80", 1) // as on the wire
	}
	slices.Sort(want)
	for _, service := range []string{"imaps", "imap"} {
		t.Run(service, func(t *testing.T) {
			st := testStore(t, t.TempDir())
			job := testJob(st)
			ctx, cancel := context.WithCancel(context.Background())
			job.tell = func(n *transferCounts) {
				if n.done == 5 {
					cancel()
				}
			}
			counts, err := job.run(ctx, testIMAPSource(t, s, service))
			if !errors.Is(err, context.Canceled) || counts.imported != 5 {
				t.Errorf("interrupted: %d, %v", counts.imported, err)
			}
			counts, err = testJob(st).run(context.Background(), testIMAPSource(t, s, service))
			if err != nil || counts.imported != 7 || counts.skipped != 5 || counts.done != counts.total {
				t.Errorf("again: %+v, %v", counts, err)
			}
			got := testContents(t, testTree(t, st))
			slices.Sort(got)
			if len(got) != len(want) {
				t.Fatalf("%d messages, want %d", len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("there is %.200q, %d bytes, want %.200q, %d bytes", got[i], len(got[i]), want[i], len(want[i]))
				}
			}
			if !testTree(t, st).exists("Empty") {
				t.Error("an empty folder is missing")
			}
			// What was deleted here stays so, unless it is asked for again.
			here := testView(t, testTree(t, st), "INBOX")
			must(t, here.remove(here.uids()[:1]))
			for _, again := range []bool{false, true} {
				source := testIMAPSource(t, s, service)
				source.again = again
				counts, err := testJob(st).run(context.Background(), source)
				if n := map[bool]int{true: 1}[again]; err != nil || counts.imported != n || counts.skipped != 12-n {
					t.Errorf("again %v: %+v, %v", again, counts, err)
				}
			}
		})
	}
}

// A certificate that nobody vouches for, a wrong password.
func TestTransferIMAPRefused(t *testing.T) {
	s, _ := serverTest(t, serverTestConfig(t.TempDir()), nil)
	stranger := testIMAPSource(t, s, "imaps")
	stranger.roots = nil
	wrong := testIMAPSource(t, s, "imaps")
	wrong.password = "wrong"
	for want, source := range map[string]*transferIMAP{"certificate": stranger, "logging in to": wrong} {
		if _, err := testJob(testStore(t, t.TempDir())).run(context.Background(), source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

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
