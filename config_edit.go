package main

import (
	"fmt"
	"reflect"
	"strings"
)

// A file that its owner has written is changed a value at a time: comments, order, spaces and line
// ends stay as they are.

// configChange is a key's new value: a string or a list of strings.
type configChange struct {
	section, name string
	value         any
	comment       string // for a key that is not there yet; may be ""
}

func (c configChange) String() string {
	if c.section == "" {
		return c.name + " = " + configTOML(c.value)
	}
	return "[" + c.section + "] " + c.name + " = " + configTOML(c.value)
}

// configTOML writes a value.
func configTOML(value any) string {
	switch value := value.(type) {
	case string:
		return configString(value)
	case []string:
		quoted := make([]string, len(value))
		for i, v := range value {
			quoted[i] = configString(v)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// configString writes a string as TOML has it, which knows other escapes than Go.
func configString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// configEdit makes changes in a file's text. It is an error if the file would then not say just that, as
// where a section stands in one line that has no place for another key.
func configEdit(text string, changes []configChange) (string, error) {
	want, findings := configParse(text)
	if len(findings) > 0 {
		return "", &configError{"before the change", findings}
	}
	out := text
	for _, change := range changes {
		out = configEditOne(out, change)
		key := configKeyOf(change.section, change.name)
		if key == nil {
			return "", fmt.Errorf("there is no key %s", change.name)
		}
		switch field := key.field(want).(type) {
		case *string:
			*field, _ = change.value.(string)
		case *[]string:
			*field, _ = change.value.([]string)
			if len(*field) == 0 {
				*field = nil // as the decoder has it
			}
		}
	}
	if got, findings := configParse(out); len(findings) > 0 || !reflect.DeepEqual(got, want) {
		words := make([]string, len(changes))
		for i, change := range changes {
			words[i] = "    " + change.String()
		}
		return "", fmt.Errorf("the file is written in a way that only you can change; nothing was changed\nhint: write into it\n%s", strings.Join(words, "\n"))
	}
	return out, nil
}

// configEditOne replaces a value, or adds its key behind the others of the section.
func configEditOne(text string, change configChange) string {
	text, marked := strings.CutPrefix(text, configMark)
	s := configScan(text)
	path, section := configPath(change.name), ""
	if change.section != "" {
		path, section = configPath(change.section, change.name), configPath(change.section)
	}
	end := "\n"
	if strings.Contains(text, "\r\n") {
		end = "\r\n"
	}
	line := change.name + " = " + configTOML(change.value) + end
	span, found := s.values[path]
	at, begun := s.ends[section]
	if _, inline := s.values[section]; inline && !found { // smtp = {...} must not be added to
		return text
	}
	if !begun && s.lines[section] > 0 { // smtp.public = true, without [smtp]
		line = strings.Replace(line, change.name, change.section+"."+change.name, 1)
		section = ""
		at, begun = s.ends[section]
	}
	if change.comment != "" {
		line = "# " + change.comment + end + line
	}
	if !begun && section == "" {
		at = configHead(text)
	} else if !begun {
		at, line = len(text), end+"["+section+"]"+end+line
	}
	switch {
	case found:
		text = text[:span[0]] + configTOML(change.value) + text[span[1]:]
	default:
		if at == len(text) && text != "" && !strings.HasSuffix(text, "\n") {
			line = end + line
		}
		text = text[:at] + line + text[at:]
	}
	if marked {
		text = configMark + text
	}
	return text
}

// configHead is behind what is said at the beginning of a file about all of it: lines of comment, and an
// empty one.
func configHead(text string) (at int) {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" && at > 0 {
			return at + len(line)
		}
		if !strings.HasPrefix(line, "#") {
			return 0
		}
		at += len(line)
	}
	return at
}
