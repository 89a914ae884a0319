package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestImapProgressFiles stops commands in the middle of changing files, until they have told how far they are.
func TestImapProgressFiles(t *testing.T) {
	for _, c := range []struct {
		command, step, where string
		at                   int32 // of these steps
		want                 string
	}{
		{"UID COPY 1:4 Archive", "link", ".Archive/cur/", 3, `* OK [INPROGRESS ("b" 2 4)] UID COPY is under way`},
		{"MOVE 1:4 Archive", "rename", ".Archive/cur/", 3, `* OK [INPROGRESS ("b" 2 4)] MOVE is under way`},
		{"STORE 1:4 -FLAGS (\\Seen)", "rename", "/cur/", 2, `* OK [INPROGRESS ("b" NIL NIL)] STORE is under way`},
		{"SELECT Archive", "open", ".Archive/cur/", 1, `* OK [INPROGRESS ("b" NIL NIL)] SELECT is under way`},
		{"STATUS Archive (MESSAGES)", "open", ".Archive/cur/", 1, `* OK [INPROGRESS ("b" NIL NIL)] STATUS is under way`},
	} {
		t.Run(c.command, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 4 {
				path := filepath.Join(dir, "alice", "cur", fmt.Sprintf("%d.M1P1.pi:2,S", i+1))
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				must(t, os.WriteFile(path, []byte("Subject: x\r\n\r\n"), 0o600))
			}
			theirs, ours := net.Pipe()
			defer theirs.Close()
			door := testImapDoor(t, dir)
			door.progressEach = time.Millisecond
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
			}()
			defer func() { theirs.Close(); <-ended }()
			r := bufio.NewReader(theirs)
			ask := func(tag, command string, hear func(line string)) {
				go fmt.Fprintf(theirs, "%s %s\r\n", tag, command)
				for {
					line, err := r.ReadString('\n')
					must(t, err)
					hear(strings.TrimSpace(line))
					if strings.HasPrefix(line, tag+" ") {
						if !strings.HasPrefix(line, tag+" OK") {
							t.Fatal(line)
						}
						return
					}
				}
			}
			ask("a", "LOGIN alice secret", func(string) {})
			ask("a", "SELECT INBOX", func(string) {})
			var steps atomic.Int32
			told := make(chan struct{})
			fault := func(step, path string) error {
				if step == c.step && strings.Contains(path, c.where) && steps.Add(1) == c.at {
					<-told
				}
				return nil
			}
			fileFault.Store(&fault)
			defer fileFault.Store(nil)
			heard := false
			ask("b", c.command, func(line string) {
				if line == c.want && !heard {
					heard = true
					close(told)
				}
			})
			if !heard {
				t.Errorf("%s has not told how far it is", c.command)
			}
		})
	}
}

// TestImapProgress looks at when the client is told, and what, and that a panic reaches the session.
func TestImapProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		s := &imapSession{door: &imapDoor{}, c: newConn(server, slog.New(slog.DiscardHandler), time.Minute), tag: "a", name: "SEARCH"}
		start := time.Now()
		heard := make(chan []string)
		go func() {
			var lines []string
			for r := bufio.NewScanner(client); r.Scan(); {
				lines = append(lines, fmt.Sprint(time.Since(start), " ", r.Text()))
			}
			heard <- lines
		}()
		p := s.begins(100, 2)
		err := s.during(func() error {
			for range 50 { // 35 seconds
				time.Sleep(700 * time.Millisecond)
				p.done.Add(4)
			}
			return errMailboxGone
		})
		if err != errMailboxGone {
			t.Error(err)
		}
		p.delay() // the client was told something else
		if err := s.during(func() error { return nil }); err != nil {
			t.Error(err)
		}
		s.during(func() error { time.Sleep(11 * time.Second); return nil }) // all is done but the end
		s.tag, s.name, s.progress = "x]", "COPY", nil
		s.during(func() error { time.Sleep(11 * time.Second); return nil })
		func() {
			defer func() {
				if p := recover(); p != "out of ideas" {
					t.Errorf("recovered %q", p)
				}
			}()
			s.during(func() error { panic("out of ideas") })
		}()
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "divide by zero") || !strings.Contains(p, "tellProgress") {
					t.Errorf("recovered %q", p)
				}
			}()
			s.begins(1, 0) // a fault of ours, met in the timer's goroutine
			s.during(func() error { time.Sleep(11 * time.Second); return nil })
		}()
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "out of ideas") || !strings.Contains(p, "TestImapProgress") {
					t.Errorf("recovered %q", p)
				}
			}()
			imapParallel(1000, func(_, i int) { // in goroutines where there is more than one core
				if i == 500 {
					panic("out of ideas")
				}
			})
		}()
		server.Close()
		want := []string{
			`10s * OK [INPROGRESS ("a" 28 100)] SEARCH is under way`,
			`20s * OK [INPROGRESS ("a" 56 100)] SEARCH is under way`,
			`30s * OK [INPROGRESS ("a" 84 100)] SEARCH is under way`,
			`45s * OK [INPROGRESS ("a" 99 100)] SEARCH is under way`,
			`56s * OK [INPROGRESS (NIL NIL NIL)] COPY is under way`,
		}
		if got := <-heard; !slices.Equal(got, want) {
			t.Errorf("told:\n%s", strings.Join(got, "\n"))
		}
	})
}
