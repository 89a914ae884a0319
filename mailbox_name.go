package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Folder names on disk are in modified UTF-7 (RFC 3501, section 5.1.3), their
// parts split by "." and with a "." in front: "Archiv/März" is ".Archiv.M&AOQ-rz".

// mailboxNameMost is the longest directory name; file systems allow 255 bytes.
const mailboxNameMost = 240

var mailboxBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

// mailboxEncodeName writes a UTF-8 name in modified UTF-7.
func mailboxEncodeName(name string) string {
	plain := true
	for i := 0; i < len(name) && plain; i++ {
		plain = name[i] >= ' ' && name[i] < 0x7f && name[i] != '&'
	}
	if plain {
		return name
	}
	var b strings.Builder
	var shifted []uint16
	unshift := func() {
		if len(shifted) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(shifted))
		for _, u := range shifted {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + mailboxBase64.EncodeToString(raw) + "-")
		shifted = shifted[:0]
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			shifted = utf16.AppendRune(shifted, r)
			continue
		}
		unshift()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	unshift()
	return b.String()
}

var errMailboxUTF7 = errors.New("not modified UTF-7")

// mailboxDecodeName reads modified UTF-7. Only the one right spelling of a
// name is accepted, so that a name has one directory.
func mailboxDecodeName(coded string) (string, error) {
	var b strings.Builder
	for rest := coded; rest != ""; {
		i := strings.IndexByte(rest, '&')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		part, after, ok := strings.Cut(rest[i+1:], "-")
		if !ok {
			return "", errMailboxUTF7
		}
		rest = after
		if part == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := mailboxBase64.DecodeString(part)
		if err != nil || len(raw)%2 != 0 {
			return "", errMailboxUTF7
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
	name := b.String()
	if mailboxEncodeName(name) != coded {
		return "", errMailboxUTF7
	}
	return name, nil
}

// mailboxCleanName checks a folder name that a client gives, and spells INBOX as we
// do. No name may lead out of the user's directory.
func mailboxCleanName(name string) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("%w: %s", errMailboxName, why) }
	first, rest, nested := strings.Cut(name, "/")
	if strings.EqualFold(first, "INBOX") {
		name = "INBOX"
		if nested {
			name += "/" + rest
		}
	}
	switch {
	case name == "":
		return bad("it is empty")
	case !utf8.ValidString(name):
		return bad("it is not UTF-8")
	case strings.HasPrefix(name, "~"):
		return bad(`it begins with "~"`)
	case len(mailboxEncodeName(name)) > mailboxNameMost:
		return bad("it is too long")
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' { // RFC 5198, section 2
			return bad("it has a control character")
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return bad("a part of it is empty")
		case strings.Contains(part, "."):
			return bad(`it has a "."`)
		case len(part) > 200:
			return bad("a part of it is too long")
		}
	}
	return name, nil
}

// mailboxDir gives the directory of a clean name below the user's root: "" for INBOX.
func mailboxDir(name string) string {
	if name == "INBOX" {
		return ""
	}
	return "." + strings.ReplaceAll(mailboxEncodeName(name), "/", ".")
}

// mailboxNameOfDir is the reverse. A directory that some other program has named
// otherwise than in modified UTF-7 has no name here.
func mailboxNameOfDir(dir string) (string, bool) {
	name, err := mailboxDecodeName(strings.ReplaceAll(strings.TrimPrefix(dir, "."), ".", "/"))
	if err != nil {
		return "", false
	}
	clean, err := mailboxCleanName(name)
	return clean, err == nil && mailboxDir(clean) == dir
}
