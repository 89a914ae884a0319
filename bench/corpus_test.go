package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readCorpus returns the names and contents of a corpus, in order.
func readCorpus(t *testing.T, c *corpus) (names []string, mails [][]byte) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "cur"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(c.dir, "cur", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		names, mails = append(names, e.Name()), append(mails, b)
	}
	return names, mails
}

func mustCorpus(t *testing.T, p corpusParams) *corpus {
	t.Helper()
	c, err := openCorpus(t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCorpus(t *testing.T) {
	p := corpusParams{Messages: 600, Seed: 7, Median: 4096}
	c := mustCorpus(t, p)
	names, mails := readCorpus(t, c)
	if len(names) != 600 || c.Messages != 600 {
		t.Fatalf("%d files", len(names))
	}
	var disk, wire, dots int64
	for i, m := range mails {
		disk += int64(len(m))
		wire += int64(len(m) + bytes.Count(m, []byte("\n")))
		dots += int64(bytes.Count(m, []byte("\n.")))
		if bytes.Contains(m, []byte("\r")) || m[len(m)-1] != '\n' {
			t.Fatalf("%s: line ends", names[i])
		}
		for line := range bytes.Lines(m) {
			if len(line) > 990 {
				t.Fatalf("%s: a line of %d bytes", names[i], len(line))
			}
		}
		if !strings.Contains(names[i], ",S=") || !strings.Contains(names[i], ",W=") || !strings.Contains(names[i], ":2,") {
			t.Fatalf("file name %s", names[i])
		}
	}
	if disk != c.DiskBytes || wire != c.WireBytes || dots != c.DotLines || dots == 0 {
		t.Errorf("disk %d, wire %d, dots %d; facts %+v", disk, wire, dots, c.facts)
	}
	if c.MedianSize < 3500 || c.MedianSize > 5000 || c.P95Size < 12000 || c.P95Size > 25000 {
		t.Errorf("sizes: median %d, p95 %d", c.MedianSize, c.P95Size)
	}
	if c.Needle != 1 || c.Subject == 0 || c.Seen < 360 || c.Seen > 480 || c.Flagged == 0 {
		t.Errorf("%+v", c.facts)
	}

	// The same parameters give the same mail; the cache gives the same facts.
	again := mustCorpus(t, p)
	if again.facts != c.facts {
		t.Errorf("second time: %+v, first: %+v", again.facts, c.facts)
	}
	names2, mails2 := readCorpus(t, again)
	for i := range names {
		if names[i] != names2[i] || !bytes.Equal(mails[i], mails2[i]) {
			t.Fatalf("%s and %s differ", names[i], names2[i])
		}
	}
	cached, err := openCorpus(filepath.Dir(c.dir), p)
	if err != nil || cached.facts != c.facts {
		t.Errorf("from the cache: %+v %v", cached.facts, err)
	}
	p.Seed = 8
	if mustCorpus(t, p).BodySum == c.BodySum {
		t.Error("another seed gives the same mail")
	}
}

// The wire form depends neither on how mail is stored nor on how it is named.
func TestCorpusStorage(t *testing.T) {
	lf := mustCorpus(t, corpusParams{Messages: 50, Seed: 7, Median: 4096})
	crlf := mustCorpus(t, corpusParams{Messages: 50, Seed: 7, Median: 4096, CRLF: true, Plain: true})
	if lf.BodySum != crlf.BodySum || lf.WireBytes != crlf.WireBytes || crlf.DiskBytes != crlf.WireBytes || lf.DiskBytes >= lf.WireBytes {
		t.Errorf("LF %+v, CRLF %+v", lf.facts, crlf.facts)
	}
	names, mails := readCorpus(t, crlf)
	for i, m := range mails {
		if bytes.Count(m, []byte("\n")) != bytes.Count(m, []byte("\r\n")) || strings.Contains(names[i], ",") != strings.Contains(names[i], ":2,") ||
			strings.Contains(names[i], "S=") {
			t.Fatal(names[i])
		}
	}
}

func TestPickFields(t *testing.T) {
	head := "Received: x\n\tfrom: y\nFROM: a\nTo: b,\n c\nX-To: d\nsubject: e\n f\nDate: g"
	if got, want := string(pickFields([]byte(head))), "FROM: a\nTo: b,\n c\nsubject: e\n f\nDate: g\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
