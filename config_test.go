package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// Each file says in its "# dies:" lines with which words it must die.
func TestConfigDies(t *testing.T) {
	paths, err := filepath.Glob("testdata/config/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = configLoad(path, serverCapabilities())
			var bad *configError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want findings", err)
			}
			said := strings.ReplaceAll(bad.Error(), filepath.Dir(path)+string(filepath.Separator), "")
			for line := range strings.Lines(string(text)) {
				if want, ok := strings.CutPrefix(line, "# dies: "); ok && !strings.Contains(said, strings.TrimSpace(want)) {
					t.Errorf("it does not say %q but:\n%s", strings.TrimSpace(want), said)
				}
			}
		})
	}
}

func TestConfigEmbeddedIsDefault(t *testing.T) {
	c, findings := configParse(configEmbedded)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	want := configDefault()
	for _, list := range []*[]string{&want.domains, &want.listen.lmtp, &want.legacy.smtp, &want.legacy.submission, &want.legacy.submissions, &want.imap.without, &want.oauth.audience, &want.limits.quotaAdmins} {
		*list = nil
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("config.toml says %+v, the defaults are %+v", c, want)
	}
	lines := configLines(configEmbedded)
	for _, key := range configKeys {
		if path := configPath(strings.Fields(key.section + " " + key.name)...); lines[path] == 0 {
			t.Errorf("config.toml does not show %s", path)
		}
	}
	for _, section := range []string{configAliases, configMetadata, configRetention} {
		if lines[section] == 0 {
			t.Errorf("config.toml does not show [%s]", section)
		}
	}
}

func TestConfigLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("a.toml", "\ufeffhostname = \"Mail.Example.ORG\"\r\ndomains = ['example.org']\r\n[storage]\r\nusers = \"/etc/users\"\r\n"+
		"[aliases]\r\n\"*\" = \"alice\"\r\npostmaster = [\"alice\", \"bob@example.org\"]\r\n[smtp]\r\nmax_message_size = \"2GiB\"\r\n")
	c, err := configLoad(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.hostname != "mail.example.org" || !c.given || c.storage.path != filepath.Join(dir, "data/mail") || c.storage.users != "/etc/users" ||
		c.smtp.maxMessageSize != 2<<30 || len(c.aliases["postmaster"]) != 2 || c.aliases["*"][0] != "alice" {
		t.Errorf("%+v", c)
	}
	t.Chdir(dir)
	saved := configPlaces
	defer func() { configPlaces = saved }()
	configPlaces = []string{"config.toml", "none/config.toml"}
	if c, err = configLoad("", nil); err != nil || c.name != configEmbeddedName || c.storage.path != "data/mail" || c.hostname == "" {
		t.Errorf("%+v, %v", c, err)
	}
	write("config.toml", "hostname = 'pi'")
	if c, err = configLoad("", nil); err != nil || c.hostname != "pi" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err = configLoad("none.toml", nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestConfigSize(t *testing.T) {
	for text, want := range map[string]configSize{"0B": 0, "25MiB": 25 << 20, "1 GiB": 1 << 30, "500KiB": 500 << 10, "1TiB": 1 << 40} {
		if got, err := configParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "25", "25MB", "MiB", "-1MiB", "1.5GiB", "9999999999GiB", "25mib", "0x1KiB", "1KiB2"} {
		if got, err := configParseSize(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func TestConfigNearest(t *testing.T) {
	names := []string{"max_message_size", "max_recipients", "trusted_networks", "public"}
	for typed, want := range map[string]string{"max_size": "max_message_size", "max-recipients": "max_recipients", "publik": "public",
		"trusted": "trusted_networks", "maxrecipients": "max_recipients", "greylist": "", "x": ""} {
		if got := configNearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func TestConfigLines(t *testing.T) {
	lines := configLines("a = 1\n\n[b.\"c d\"]\nx.y = [1, # ] }\n 2]\nz = \"\"\"\n[no]\n\\\"\"\"\"\"\nq = { r = 1, 's' = { t = '''\n''' } }\n" +
		"\"\\u0041\\t\" = 1\n[[l]]\nm = 'x'\n[ \"b\" . n ]\n")
	want := map[string]int{"a": 1, "b": 3, `b."c d"`: 3, `b."c d".x`: 4, `b."c d".x.y`: 4, `b."c d".z`: 6, `b."c d".q`: 9, `b."c d".q.r`: 9,
		`b."c d".q.s`: 9, `b."c d".q.s.t`: 9, `b."c d"."A\t"`: 11, "l": 12, "l.m": 13, "b.n": 14}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %v, want %v", lines, want)
	}
}

// Every key of a file that decodes must have a line.
func FuzzConfigLines(f *testing.F) {
	f.Add(configEmbedded)
	f.Add("[users.\"a b\"]\nx = 1\n[[a]]\nb.c = {d = 1}\n'q.r'.s = \"\"\"x\\\n y\"\"\"")
	f.Add("a=1#\r\n\"\"=[[[{b=''}]],]\n[x]#]\ny=\"\\\"\"")
	paths, _ := filepath.Glob("testdata/config/*.toml")
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := configLines(text)
		configParse(text)
		var file map[string]any
		meta, err := toml.Decode(strings.TrimPrefix(text, "\ufeff"), &file)
		if err != nil {
			return
		}
		last := strings.Count(text, "\n") + 1
		for _, key := range meta.Keys() {
			if line := lines[configPath(key...)]; line < 1 || line > last {
				t.Errorf("key %q has line %d of %d", key, line, last)
			}
		}
	})
}

// A directory that we may not look into, as another's home, has no configuration; a
// file that is there and may not be read ends the start.
func TestConfigHidden(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	places := configPlaces
	defer func() { configPlaces = places }()
	configPlaces = []string{"config.toml"}
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("config.toml", nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := configRead(""); err == nil {
		t.Error("a file that may not be read was passed over")
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if name, _, err := configRead(""); err != nil || name != configEmbeddedName {
		t.Errorf("%s, %v", name, err)
	}
}

// The README has a line for each setting, with its default.
func TestConfigInReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("## All settings"))
	page, _, _ = bytes.Cut(page, []byte("\n## "))
	for _, key := range configKeys {
		text := string(page)
		if key.section != "" {
			_, text, _ = strings.Cut(text, "**`["+key.section+"]`**")
			text, _, _ = strings.Cut(text, "**`[")
		}
		if !strings.Contains(text, "`"+key.name+"`") {
			t.Errorf("%s is not in the README", key.label())
			continue
		}
		var want string
		switch field := key.field(configDefault()).(type) {
		case *string:
			want = fmt.Sprintf("%q", *field)
		case *[]string:
			want = strings.ReplaceAll(fmt.Sprintf("%q", *field), `" "`, `", "`)
		case *configSize:
			want = fmt.Sprintf("\"%dMiB\"", *field>>20)
		case *configQuota:
			want = `""` // no limit
		default:
			want = fmt.Sprint(reflect.ValueOf(field).Elem())
		}
		if !strings.Contains(text, "`"+want+"`") {
			t.Errorf("%s: the README does not say that the default is %s", key.label(), want)
		}
	}
}
