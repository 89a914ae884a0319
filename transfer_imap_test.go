package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
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

// testIMAPOdd plays a server that answers as it likes: the texts not in the order of their UIDs, one of them NIL, one before its UID, one too
// large, and one that was expunged since it was found. A folder it does not open.
func testIMAPOdd(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "* OK [CAPABILITY IMAP4rev1] hello\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		tag, command, _ := strings.Cut(lines.Text(), " ")
		switch {
		case strings.HasPrefix(command, "LIST"):
			fmt.Fprint(c, "* LIST () \".\" Closed\r\n* LIST () \".\" INBOX\r\n")
		case strings.HasPrefix(command, "EXAMINE") && strings.Contains(command, "Closed"):
			fmt.Fprintf(c, "%s NO not you\r\n", tag)
			continue
		case strings.HasPrefix(command, "EXAMINE"):
			fmt.Fprint(c, "* 6 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n")
		case strings.HasPrefix(command, "UID SEARCH UID 1:*"):
			fmt.Fprint(c, "* SEARCH 9 4 5 6 7 8\r\n")
		case strings.HasPrefix(command, "UID SEARCH"):
			fmt.Fprint(c, "* SEARCH 9\r\n")
		case strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "BODY.PEEK"):
			for _, uid := range []int{9, 4, 5, 6} {
				text := testMail(uid)
				switch uid {
				case 5:
					fmt.Fprint(c, "* 2 FETCH (UID 5 BODY[] NIL)\r\n")
				case 6:
					fmt.Fprintf(c, "* 3 FETCH (BODY[] {%d}\r\n%s UID 6)\r\n", len(text), text)
				default:
					fmt.Fprintf(c, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", uid-3, uid, len(text), text)
				}
			}
			fmt.Fprintf(c, "%s NO not all\r\n", tag)
			continue
		case strings.HasPrefix(command, "UID FETCH"):
			for uid := 4; uid <= 9; uid++ {
				if uid != 8 {
					fmt.Fprintf(c, "* %d FETCH (UID %d FLAGS () INTERNALDATE \"02-Mar-2026 10:00:00 +0000\" RFC822.SIZE %d)\r\n", uid-3, uid, map[bool]int64{true: 3 << 40}[uid == 7])
				}
			}
		}
		fmt.Fprintf(c, "%s OK done\r\n", tag)
	}
}

// What a server does not give is said, and counted as not read. Interrupted, nothing is passed over that had not come yet, in whatever order
// the texts come.
func TestTransferIMAPOdd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go testIMAPOdd(c)
		}
	}()
	st := testStore(t, t.TempDir())
	for _, run := range []struct{ imported, skipped, failed int }{{1, 0, 2}, {1, 1, 4}, {0, 6, 1}} {
		source, err := transferIMAPParse("imap://alice@" + l.Addr().String())
		must(t, err)
		job, failed := testJob(st), []string{}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if run.skipped == 0 {
			job.tell = func(*transferCounts) { cancel() }
		}
		job.failed = func(what string, err error) { failed = append(failed, what) }
		counts, err := job.run(ctx, source)
		if counts.imported != run.imported || counts.skipped != run.skipped || len(failed) != run.failed {
			t.Errorf("%+v, %q, want %+v: %v", counts, failed, run, err)
		}
	}
	if got := testContents(t, testTree(t, st)); len(got) != 2 {
		t.Errorf("there is %q", got)
	}
}

// A line that names more messages than there can be does not take the memory.
func TestTransferIMAPMany(t *testing.T) {
	if _, err := transferIMAPUIDs(&imap.SearchData{All: imap.UIDSet{{Start: 1, Stop: 1 << 31}}}); err == nil {
		t.Error("no error")
	}
	if got, err := transferIMAPUIDs(&imap.SearchData{All: imap.UIDSet{{Start: 4, Stop: 6}}}); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := transferIMAPUIDs(&imap.SearchData{}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
