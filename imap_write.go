package main

import (
	"strconv"
	"unicode/utf8"
)

// Writing strings as the grammar has them (RFC 9051, section 9). Answers are put
// together with append and handed to the connection, which buffers them.

// imapAppendAstring appends s as an atom, a quoted string or a literal.
func imapAppendAstring(dst []byte, s string) []byte {
	if s == "" || imapIsNil(s) {
		return imapAppendString(dst, s)
	}
	for i := range len(s) {
		if !imapIsAstringChar(s[i]) {
			return imapAppendString(dst, s)
		}
	}
	return append(dst, s...)
}

// imapIsNil tells whether s would be read as NIL.
func imapIsNil(s string) bool {
	return len(s) == 3 && s[0]|0x20 == 'n' && s[1]|0x20 == 'i' && s[2]|0x20 == 'l'
}

// imapAppendString appends s as a quoted string or, where that cannot be, a literal.
func imapAppendString(dst []byte, s string) []byte {
	start := len(dst)
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0, c == '\r', c == '\n':
			return imapAppendLiteral(dst[:start], s)
		case c == '"', c == '\\':
			dst = append(dst, '\\', c)
		case c >= utf8.RuneSelf && !utf8.ValidString(s):
			return imapAppendLiteral(dst[:start], s)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func imapAppendLiteral(dst []byte, s string) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "}\r\n"...)
	return append(dst, s...)
}
