package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fakeServer is an IMAP server that answers from a table, tagged OK. It stands for a
// mailbox with the facts below.
func fakeServer(t *testing.T, label string, answers map[string]string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback here:", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err != nil {
		l.Close()
		t.Skip("no loopback here:", err)
	} else {
		c.Close()
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go fakeSession(c, answers)
		}
	}()
	c := &corpus{facts: facts{Messages: 10, Seen: 6, Subject: 2, Needle: 1, Since: 5, DayMost: 1}}
	return &server{label: label, name: "fake", adaptor: "/bin/false", dir: t.TempDir(), imap: l.Addr().String(), corpus: c,
		users: map[string]bool{"warm": true}}
}

func fakeSession(c net.Conn, answers map[string]string) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprint(c, "* OK hello\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		tag, command, _ := strings.Cut(in.Text(), " ")
		a := answers[command]
		if a == "NO" {
			fmt.Fprintf(c, "%s NO not today\r\n", tag)
			continue
		}
		fmt.Fprintf(c, "%s%s OK done\r\n", a, tag)
	}
}

// all matches all rows.
var all = regexp.MustCompile("")

// honest gives the right answers to the search rows.
func honest() map[string]string {
	return map[string]string{
		"SELECT INBOX":                "* 10 EXISTS\r\n",
		"UID SEARCH SUBJECT budget":   "* SEARCH 3 4\r\n",
		"UID SEARCH SINCE 1-Jan-2021": "* SEARCH 6 7 8 9 10\r\n",
		"UID SEARCH UNSEEN":           "* SEARCH 1 2 3 4\r\n",
		"UID SEARCH BODY xyzzyneedle": "* SEARCH 5\r\n",
		"UID SEARCH TEXT xyzzyneedle": "* SEARCH 5\r\n",
	}
}

// searchReport compares two fake servers on the search rows.
func searchReport(t *testing.T, a, b map[string]string) (*report, string) {
	t.Helper()
	s := &session{servers: []*server{fakeServer(t, "A", a), fakeServer(t, "B", b)}}
	o := options{rounds: 2, work: t.TempDir()}
	r := newReport(o, s.servers, s.run(o, pickScenes(scenes, regexp.MustCompile("SEARCH SUBJECT"))))
	var out bytes.Buffer
	r.markdown(&out)
	return r, out.String()
}

func rowOf(t *testing.T, table, name string) string {
	t.Helper()
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| "+name+",") {
			return line
		}
	}
	t.Fatalf("no row %s in\n%s", name, table)
	return ""
}

func TestHonestServers(t *testing.T) {
	r, table := searchReport(t, honest(), honest())
	if strings.Contains(table, "WRONG") || !r.fine(0, all) {
		t.Error(table)
	}
	if row := rowOf(t, table, "SEARCH UNSEEN"); !strings.Contains(row, "**") {
		t.Errorf("no ratio in %s", row)
	}
	if r.fine(1000, all) {
		t.Error("no server is a thousand times faster than itself")
	}
	if !r.fine(1000, regexp.MustCompile("memory")) {
		t.Error("these rows were not asked to reach anything")
	}
}

// A server that leaves one hit out, however fast, gets no ratio in that row, and
// keeps it in the others.
func TestLyingServer(t *testing.T) {
	lying := honest()
	lying["UID SEARCH UNSEEN"] = "* SEARCH 1 2 3\r\n"
	r, table := searchReport(t, honest(), lying)
	row := rowOf(t, table, "SEARCH UNSEEN")
	if !strings.Contains(row, "WRONG | WRONG | B hits: 3 instead of 4") || strings.Contains(row, "**") {
		t.Error(row)
	}
	if row := rowOf(t, table, "SEARCH SUBJECT"); strings.Contains(row, "WRONG") {
		t.Error(row)
	}
	if r.fine(0, all) {
		t.Error("the exit status would be 0")
	}
}

// A refusal ends the scene: what was measured before it stands, the rest is wrong.
func TestRefusingServer(t *testing.T) {
	refusing := honest()
	refusing["UID SEARCH BODY xyzzyneedle"] = "NO"
	_, table := searchReport(t, refusing, honest())
	if row := rowOf(t, table, "SEARCH UNSEEN"); strings.Contains(row, "WRONG") {
		t.Error(row)
	}
	for _, name := range []string{"SEARCH BODY", "SEARCH TEXT"} {
		if row := rowOf(t, table, name); !strings.Contains(row, "| WRONG |") || !strings.Contains(row, "not today") {
			t.Error(row)
		}
	}
}

// What one server does not have is shown for the other alone, and is not wrong.
func TestNotOffered(t *testing.T) {
	s := &session{servers: []*server{fakeServer(t, "A", nil), fakeServer(t, "B", nil)}}
	s.servers[1].smtp = "127.0.0.1:25"
	scenes := []scene{
		{offered: hasSMTP, run: func(t *turn) { t.record("rate", 5) }, rows: []row{{name: "rate", unit: "/s"}}},
		{rows: []row{{name: "size", unit: "MiB"}}, run: func(t *turn) {
			if t.label == "A" {
				t.absent("size", "not told")
				return
			}
			t.record("size", 8)
		}},
	}
	o := options{rounds: 3, work: t.TempDir()}
	r := newReport(o, s.servers, s.run(o, scenes))
	var out bytes.Buffer
	r.markdown(&out)
	if row, want := rowOf(t, out.String(), "rate"), "| - | 5.00 (5.00–5.00) | - | not offered by A |"; !strings.Contains(row, want) {
		t.Errorf("%s, want %s", row, want)
	}
	if row, want := rowOf(t, out.String(), "size"), "| - | 8.00 (8.00–8.00) | - | A not told |"; !strings.Contains(row, want) {
		t.Errorf("%s, want %s", row, want)
	}
	if !r.fine(0.9, all) {
		t.Error("not fine")
	}
	if err := r.writeJSON(filepath.Join(t.TempDir(), "r.json")); err != nil {
		t.Error(err)
	}
}

// What is missing in one round makes no ratio with another round.
func TestAbsentRound(t *testing.T) {
	r := &result{sets: [][]sample{{{Absent: true}, {Value: 6}}, {{Value: 100}, {Value: 2}}}}
	if a, b := r.pairs(); len(a) != 1 || a[0] != 6 || b[0] != 2 {
		t.Error(a, b)
	}
}

// Answers of very different sizes cannot both be right, though each has the right
// number of lines.
func TestDiffer(t *testing.T) {
	r := &result{row: row{bytes: .1}, sets: [][]sample{{{Value: 1, Bytes: 1000}}, {{Value: 1, Bytes: 500}}}}
	if r.differ() == "" {
		t.Error("1000 and 500 bytes do not differ")
	}
	r.sets[1][0].Bytes = 950
	if d := r.differ(); d != "" {
		t.Error(d)
	}
}

// withDovecot is not the default: as root, the adaptor makes a system user.
var withDovecot = flag.Bool("dovecot", false, "test with Dovecot, which must be installed")

// The whole way, with Dovecot and an adaptor that takes a message away.
func TestLosingServer(t *testing.T) {
	if !*withDovecot {
		t.Skip("only with -dovecot")
	}
	losing, err := filepath.Abs("testdata/losing")
	if err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp("", "mailbench-test-") // t.TempDir is too long for Dovecot's sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	os.Chmod(work, 0o755)
	o := options{work: work, rounds: 1, count: 20, idleTotal: 2, limit: time.Minute, rows: regexp.MustCompile("cold$"),
		mail: corpusParams{Messages: 50, Seed: 7, Median: 1000}}
	s, err := openSession(o, []string{"dovecot", losing})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	r := newReport(o, s.servers, s.run(o, pickScenes(scenes, regexp.MustCompile("FETCH BODY.* cold"))))
	var out bytes.Buffer
	r.markdown(&out)
	if row := rowOf(t, out.String(), "SELECT cold"); !strings.Contains(row, "WRONG | WRONG | B EXISTS: 4") {
		t.Error(row)
	}
	if row := rowOf(t, out.String(), "FETCH BODY.PEEK[] cold"); !strings.Contains(row, "WRONG | WRONG | B literals: 4") {
		t.Error(row)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
