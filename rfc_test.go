package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRFCs wants each RFC that the source names in RFC.md, and each room that
// RFC.md names in the source.
func TestRFCs(t *testing.T) {
	page, err := os.ReadFile("RFC.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	number := regexp.MustCompile(`\d+`)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !number.MatchString(cells[1]) {
			continue
		}
		for _, n := range number.FindAllString(cells[1], -1) {
			listed[n] = true
		}
		switch done := strings.TrimSpace(cells[3]); done {
		case "yes", "partly", "no":
		default:
			t.Errorf("RFC.md: %q is not yes, partly or no, in: %s", done, strings.TrimSpace(line))
		}
		for _, r := range strings.Fields(cells[4]) {
			if roomsAllowed(t)[r] == nil {
				t.Errorf("RFC.md: there is no room %q, in: %s", r, strings.TrimSpace(line))
			}
		}
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile(`RFCs? (\d+)`)
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range cited.FindAllStringSubmatch(string(source), -1) {
			if !listed[m[1]] {
				t.Errorf("%s: RFC %s is not listed in RFC.md", name, m[1])
			}
		}
	}
}
