package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// The TOML package does not tell on which line a key stands, so the lines are found
// by a scan of our own. It takes text that has decoded without error, and makes the
// best of other text.

// configPath is a key's place as one string, the same for the spellings a.b, "a".b
// and b in [a].
func configPath(keys ...string) string {
	var b strings.Builder
	for i, key := range keys {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(configQuote(key))
	}
	return b.String()
}

// configQuote gives a key as one would write it.
func configQuote(key string) string {
	for i := 0; i < len(key); i++ {
		if !configIsBare(key[i]) {
			return strconv.Quote(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}

func configIsBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// configLines gives the line of every key and section, by configPath, the first
// where there are several.
func configLines(text string) map[string]int { return configScan(text).lines }

// configScan reads a text.
func configScan(text string) *configScanner {
	s := &configScanner{text: strings.TrimPrefix(text, configMark), line: 1, lines: map[string]int{}, values: map[string][2]int{}, ends: map[string]int{}}
	for s.skipSpace(true); s.pos < len(s.text); s.skipSpace(true) {
		if s.take("[") {
			s.take("[") // an array of tables
			s.skipSpace(false)
			s.table = s.keys(nil)
		} else {
			s.pair(s.table)
		}
		s.skipLine()
		s.ends[configPath(s.table...)] = s.pos
	}
	return s
}

const configMark = "\ufeff" // as editors on Windows put it at the beginning

type configScanner struct {
	text  string
	pos   int
	line  int
	table []string // the section that is being read

	lines  map[string]int
	values map[string][2]int // from where to where each key's value stands
	ends   map[string]int    // behind the last key of each section
}

// configDeep is how deep values may be nested; deeper ones are skipped unread.
const configDeep = 100

// keys reads a dotted key below a table and notes the line of each of its parts.
func (s *configScanner) keys(below []string) []string {
	keys := append([]string(nil), below...)
	for {
		s.skipSpace(false)
		keys = append(keys, s.key())
		if path := configPath(keys...); s.lines[path] == 0 {
			s.lines[path] = s.line
		}
		s.skipSpace(false)
		if !s.take(".") {
			return keys
		}
	}
}

// key reads one part of a key.
func (s *configScanner) key() string {
	if s.pos < len(s.text) && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		return s.quoted(s.text[s.pos : s.pos+1])
	}
	start := s.pos
	for s.pos < len(s.text) && !strings.ContainsRune(" \t\r\n=.]#\"'", rune(s.text[s.pos])) {
		s.pos++
	}
	return s.text[start:s.pos]
}

// pair reads key = value.
func (s *configScanner) pair(below []string) {
	keys := s.keys(below)
	s.skipSpace(false)
	if s.take("=") {
		s.skipSpace(false)
		from := s.pos
		s.value(keys, configDeep)
		if path := configPath(keys...); s.values[path] == [2]int{} {
			s.values[path] = [2]int{from, from + len(strings.TrimRight(s.text[from:s.pos], " \t"))}
		}
	}
}

// value skips a value and notes the keys of inline tables in it.
func (s *configScanner) value(keys []string, deep int) {
	s.skipSpace(false)
	switch {
	case s.at(`"""`), s.at("'''"):
		s.quoted(s.text[s.pos : s.pos+3])
	case s.at(`"`), s.at("'"):
		s.quoted(s.text[s.pos : s.pos+1])
	case deep > 0 && s.take("["):
		for s.skipSpace(true); s.pos < len(s.text) && !s.take("]"); s.skipSpace(true) {
			if !s.take(",") {
				before := s.pos
				if s.value(keys, deep-1); s.pos == before {
					s.pos++ // not TOML
				}
			}
		}
	case deep > 0 && s.take("{"):
		for s.skipSpace(true); s.pos < len(s.text) && !s.take("}"); s.skipSpace(true) {
			if !s.take(",") {
				before := s.pos
				if s.pair(keys); s.pos == before {
					s.pos++
				}
			}
		}
	default:
		for s.pos < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.pos])) {
			s.pos++
		}
	}
}

// quoted reads a string with its quotes.
func (s *configScanner) quoted(quote string) string {
	s.pos += len(quote)
	var b strings.Builder
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case s.at(quote):
			s.pos += len(quote)
			for len(quote) == 3 && s.at(quote[:1]) { // quotes just before the end belong to the string
				b.WriteString(quote[:1])
				s.pos++
			}
			return b.String()
		case c == '\n' && len(quote) == 1: // not TOML
			return b.String()
		case c == '\\' && quote[0] == '"' && s.pos+1 < len(s.text):
			s.escape(&b)
		default:
			if c == '\n' {
				s.line++
			}
			b.WriteByte(c)
			s.pos++
		}
	}
	return b.String()
}

// configEscapes are the short escapes of a TOML string.
var configEscapes = map[byte]string{'b': "\b", 't': "\t", 'n': "\n", 'f': "\f", 'r': "\r", 'e': "\x1b", '"': `"`, '\\': `\`}

// escape reads a backslash and what it stands for.
func (s *configScanner) escape(b *strings.Builder) {
	c := s.text[s.pos+1]
	if c == '\n' {
		s.line++
	}
	s.pos += 2
	if short, ok := configEscapes[c]; ok {
		b.WriteString(short)
		return
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits > 0 && s.pos+digits <= len(s.text) {
		if n, err := strconv.ParseUint(s.text[s.pos:s.pos+digits], 16, 32); err == nil && n <= utf8.MaxRune {
			b.WriteRune(rune(n))
			s.pos += digits
		}
	}
}

// skipSpace skips blanks, and with lines also comments and ends of lines.
func (s *configScanner) skipSpace(lines bool) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t':
			s.pos++
		case lines && c == '#':
			s.skipLine()
		case lines && (c == '\r' || c == '\n'):
			s.skipLine()
		default:
			return
		}
	}
}

// skipLine goes to the next line.
func (s *configScanner) skipLine() {
	end := strings.IndexByte(s.text[s.pos:], '\n')
	if end < 0 {
		s.pos = len(s.text)
		return
	}
	s.pos += end + 1
	s.line++
}

func (s *configScanner) at(prefix string) bool { return strings.HasPrefix(s.text[s.pos:], prefix) }

func (s *configScanner) take(prefix string) bool {
	if !s.at(prefix) {
		return false
	}
	s.pos += len(prefix)
	return true
}
