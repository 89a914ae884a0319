package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Who may do what in a folder stands in the file dovecot-acl of its directory, as Dovecot's
// plugin acl has it. A line is an identifier and rights:
//
//	user=bob lrs
//	-user=carol w
//	anyone l
//	owner lrwstipekxa
//	"user=dave doe" l :read insert
//
// A "-" before an identifier takes rights away. Letters are RFC 4314's; behind a ":" rights may have names. Lines
// that are empty or begin with "#" say nothing, and are kept. A line that is
// not understood makes the whole file one: nobody can say what it would have taken away.
// The file cannot be recomputed, so it is synced.

const (
	maildirACLName = "dovecot-acl"
	maildirACLMost = 64 << 10 // bytes of a file

	// maildirACLListName is Dovecot's list of the folders that have such a file, in a user's root. Dovecot makes
	// it when it is not there, and believes it when it is.
	maildirACLListName = "dovecot-acl-list"

	maildirACLRights = "lrwstipekxa"
)

// errMaildirACL wraps what is wrong in a dovecot-acl.
var errMaildirACL = errors.New("dovecot-acl is not understood")

// maildirACLKind says whom an identifier means. A later one is the more specific.
type maildirACLKind uint8

const (
	maildirACLAnyone maildirACLKind = iota
	maildirACLAuthenticated
	maildirACLGroup
	maildirACLOwner
	maildirACLUser
	maildirACLGroupOverride
	maildirACLComment // no identifier: a line that says nothing
)

// maildirACLKinds are the words of a file. Those that end with "=" have a name behind them.
var maildirACLKinds = []string{"anyone", "authenticated", "group=", "owner", "user=", "group-override="}

// maildirACLEntry is a line of the file.
type maildirACLEntry struct {
	kind     maildirACLKind
	negative bool
	name     string // of a user or a group
	rights   string // of maildirACLRights, in that order
	line     string // as it was read; "" if it is new or changed
}

// maildirACLStat gives what tells whether the file has changed, nil if there is none.
func maildirACLStat(dir string) (os.FileInfo, error) {
	info, err := os.Stat(filepath.Join(dir, maildirACLName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// maildirReadACL reads a folder's file. Without one there are neither entries nor info.
func maildirReadACL(dir string) (entries []maildirACLEntry, info os.FileInfo, err error) {
	f, err := os.Open(filepath.Join(dir, maildirACLName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maildirACLMost+1))
	if err == nil && len(raw) > maildirACLMost {
		err = fmt.Errorf("%w: it has more than %d bytes", errMaildirACL, maildirACLMost)
	}
	if err == nil {
		entries, err = maildirACLParse(string(raw))
	}
	return entries, info, err
}

// maildirACLParse reads the text of a file.
func maildirACLParse(text string) (entries []maildirACLEntry, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		entry, why := maildirACLParseLine(strings.TrimRight(line, " \r"))
		if why != "" {
			return nil, fmt.Errorf("%w: line %d: %s", errMaildirACL, number, why)
		}
		entry.line = line
		entries = append(entries, entry)
	}
	return entries, nil
}

// maildirACLParseLine reads a line, or says why it cannot.
func maildirACLParseLine(line string) (entry maildirACLEntry, why string) {
	if line == "" || line[0] == '#' {
		return maildirACLEntry{kind: maildirACLComment}, ""
	}
	if strings.IndexByte(line, 0) >= 0 {
		return entry, "it has a NUL"
	}
	identifier, rest := line, ""
	if line[0] != '"' {
		identifier, rest, _ = strings.Cut(line, " ")
	} else if identifier, rest, why = maildirACLUnquote(line[1:]); why != "" {
		return entry, why
	}
	identifier, entry.negative = strings.CutPrefix(identifier, "-")
	known := false
	for kind, word := range maildirACLKinds {
		name, ok := strings.CutPrefix(identifier, word)
		if named := strings.HasSuffix(word, "="); ok && (name != "") == named {
			entry.kind, entry.name, known = maildirACLKind(kind), name, true
		}
	}
	if !known {
		return entry, "nobody is called so"
	}
	letters, names, _ := strings.Cut(rest, ":")
	rights := strings.TrimSpace(letters)
	for name := range strings.FieldsSeq(names) {
		i := slices.Index(maildirACLNames, name)
		if i < 0 {
			return entry, "there is no right " + name
		}
		rights += maildirACLRights[i : i+1]
	}
	if i := strings.IndexFunc(rights, func(r rune) bool { return !strings.ContainsRune(maildirACLRights, r) }); i >= 0 {
		return entry, "there is no right " + rights[i:i+1]
	}
	entry.rights = maildirACLSort(rights)
	return entry, ""
}

// maildirACLNames are the long names of maildirACLRights.
var maildirACLNames = []string{"lookup", "read", "write", "write-seen", "write-deleted", "insert", "post", "expunge", "create", "delete", "admin"}

// maildirACLUnquote reads up to the quote that ends an identifier.
func maildirACLUnquote(text string) (identifier, rest, why string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"' && i+1 < len(text) && text[i+1] != ' ':
			return "", "", "there is no space behind a quote"
		case text[i] == '"':
			return b.String(), text[i+1:], ""
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return "", "", "a quote does not end"
}

// maildirACLSort gives letters in their order, each once.
func maildirACLSort(rights string) string {
	var b strings.Builder
	for _, r := range maildirACLRights {
		if strings.ContainsRune(rights, r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// text is the line, without its end. Rights are told by letters. What has no rights has a space at the end, as
// Dovecot writes it.
func (e *maildirACLEntry) text() string {
	if e.line != "" || e.kind == maildirACLComment {
		return e.line
	}
	identifier := maildirACLKinds[e.kind] + e.name
	if e.negative {
		identifier = "-" + identifier
	}
	if strings.Contains(identifier, " ") {
		identifier = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(identifier) + `"`
	}
	return identifier + " " + e.rights
}

func maildirACLText(entries []maildirACLEntry) string {
	var text strings.Builder
	for i := range entries {
		text.WriteString(entries[i].text() + "\n")
	}
	return text.String()
}

// maildirChangeACL has change make new entries of the old ones, under Dovecot's lock and durably. root is the
// user's. A file that is not understood stays as it is.
func maildirChangeACL(root, dir string, change func(entries []maildirACLEntry) ([]maildirACLEntry, error)) error {
	path := filepath.Join(dir, maildirACLName)
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	entries, _, err := maildirReadACL(dir)
	if err != nil {
		return err
	}
	before := maildirACLText(entries)
	if entries, err = change(entries); err != nil {
		return err
	}
	after := maildirACLText(entries)
	if after == before {
		return nil
	}
	if len(after) > maildirACLMost {
		return fmt.Errorf("%w: it would have more than %d bytes", errMaildirACL, maildirACLMost)
	}
	if err := fileReplace(path, []byte(after), maildirFileMode); err != nil {
		return fmt.Errorf("writing rights: %w", err)
	}
	return maildirForgetACLList(root)
}

// maildirCopyACL gives a new folder the rights of another one.
func maildirCopyACL(root, from, to string) error {
	entries, info, err := maildirReadACL(from)
	if err != nil || info == nil {
		return err
	}
	if err := fileReplace(filepath.Join(to, maildirACLName), []byte(maildirACLText(entries)), maildirFileMode); err != nil {
		return fmt.Errorf("writing rights: %w", err)
	}
	return maildirForgetACLList(root)
}

// maildirForgetACLList has Dovecot look again for folders that others may see.
func maildirForgetACLList(root string) error {
	if err := os.Remove(filepath.Join(root, maildirACLListName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
