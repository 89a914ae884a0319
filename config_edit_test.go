package main

import (
	"strings"
	"testing"
)

// Values are put into files as people write them; every other byte stays.
func TestConfigEdit(t *testing.T) {
	hostname := configChange{name: "hostname", value: "pi"}
	networks := configChange{section: "smtp", name: "trusted_networks", value: []string{"loopback"}}
	for _, test := range []struct {
		name, text string
		changes    []configChange
		want       string // "": only its owner can change it
	}{
		{"empty", "", []configChange{hostname, networks}, "hostname = \"pi\"\n\n[smtp]\ntrusted_networks = [\"loopback\"]\n"},
		{"there", "# mine\nhostname =  'nas'  # of the cellar\n", []configChange{hostname}, "# mine\nhostname =  \"pi\"  # of the cellar\n"},
		{"head", "# All of it\n\n# the next\n[smtp]\npublic = true\n", []configChange{hostname}, "# All of it\n\nhostname = \"pi\"\n# the next\n[smtp]\npublic = true\n"},
		{"behind", "user = 'x' # y\n\n[smtp]\n", []configChange{hostname}, "user = 'x' # y\nhostname = \"pi\"\n\n[smtp]\n"},
		{"no end", "[smtp]\npublic = true", []configChange{networks}, "[smtp]\npublic = true\ntrusted_networks = [\"loopback\"]\n"},
		{"several lines", "[smtp]\ntrusted_networks = [\n  \"private\", # ours\n  \"loopback\"\n]\npublic = false\n", []configChange{networks},
			"[smtp]\ntrusted_networks = [\"loopback\"]\npublic = false\n"},
		{"Windows", "\ufeffhostname = 'a'\r\n[pop3]\r\nlock = true\r\n", []configChange{hostname, networks},
			"\ufeffhostname = \"pi\"\r\n[pop3]\r\nlock = true\r\n\r\n[smtp]\r\ntrusted_networks = [\"loopback\"]\r\n"},
		{"dotted", "smtp.trusted_networks = [\"private\"]\n", []configChange{networks}, "smtp.trusted_networks = [\"loopback\"]\n"},
		{"inline", "smtp = { public = true, trusted_networks = [ \"private\" ] }\n", []configChange{networks}, "smtp = { public = true, trusted_networks = [\"loopback\"] }\n"},
		{"inline without", "smtp = { public = true }\n", []configChange{networks}, ""},
		{"dotted without", "smtp.public = true\n[pop3]\n", []configChange{networks}, "smtp.public = true\nsmtp.trusted_networks = [\"loopback\"]\n[pop3]\n"},
		{"looks alike", "[aliases]\nhostname = \"alice\"\n", []configChange{hostname}, "hostname = \"pi\"\n[aliases]\nhostname = \"alice\"\n"},
		{"commented", "# hostname = \"no\"\n[users.alice]\nquota = \"1GiB\"\n[smtp] # mail\n", []configChange{networks},
			"# hostname = \"no\"\n[users.alice]\nquota = \"1GiB\"\n[smtp] # mail\ntrusted_networks = [\"loopback\"]\n"},
		{"explained", "[smtp]\n", []configChange{{"smtp", "trusted_networks", []string{}, "Nobody."}}, "[smtp]\n# Nobody.\ntrusted_networks = []\n"},
		{"odd", "", []configChange{{"storage", "path", "a\"b\\c\x01\x7f\tü\u200b", ""}}, "\n[storage]\npath = \"a\\\"b\\\\c\\u0001\\u007F\\u0009ü\u200b\"\n"},
		{"wrong before", "hostnam = 'x'\n", []configChange{hostname}, ""},
	} {
		got, err := configEdit(test.text, test.changes)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
		if err != nil && test.name != "wrong before" && !strings.Contains(err.Error(), `[smtp] trusted_networks = ["loopback"]`) {
			t.Errorf("%s: it does not say what to write: %v", test.name, err)
		}
	}
	// The file that comes with the source, every key of a kind that can be set.
	for _, key := range configKeys {
		change := configChange{section: key.section, name: key.name}
		switch key.field(configDefault()).(type) {
		case *string:
			change.value = "changed"
		case *[]string:
			change.value = []string{"a", "b"}
		default:
			continue
		}
		out, err := configEdit(configEmbedded, []configChange{change})
		if err != nil {
			t.Errorf("%s: %v", key.label(), err)
			continue
		}
		before, after := strings.Split(configEmbedded, "\n"), strings.Split(out, "\n")
		differ := 0
		for i := range min(len(before), len(after)) {
			if before[i] != after[i] {
				differ++
			}
		}
		if len(before) != len(after) || differ != 1 {
			t.Errorf("%s: %d lines of %d are others, now there are %d", key.label(), differ, len(before), len(after))
		}
	}
}
