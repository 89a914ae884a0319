package main

import "strings"

// addressListReader reads a list of addresses as a header field has it, entry by entry.
type addressListReader struct {
	list  []address
	bad   []string        // entries that are no addresses
	plain strings.Builder // of the entry: what stands outside of < and >, without comments
	angle string          // of the entry: "<...>"
	begin int             // where the entry begins
}

// addressList reads an address-list (RFC 5322, section 3.4): names, comments, groups, folded
// lines and empty members are allowed. What cannot be understood is given in bad, and the
// others count all the same.
func addressList(text string) (list []address, bad []string) {
	r := addressListReader{}
	for i := 0; i < len(text); {
		end := i + 1
		switch text[i] {
		case '(':
			if end = addressSkipComment(text, i); end > 0 {
				r.plain.WriteByte(' ')
			}
		case '"':
			if end = addressSkipQuoted(text, i); end > 0 {
				r.plain.WriteString(text[i:end])
			}
		case '[':
			if n := strings.IndexByte(text[i:], ']'); n < 0 {
				end = 0
			} else {
				end = i + n + 1
				r.plain.WriteString(text[i:end])
			}
		case '<':
			if end = addressSkipAngle(text, i); end > 0 {
				r.angle = text[i:end]
			}
		case ',', ';':
			r.finish(text[r.begin:i])
			r.begin = end
		case ':': // what stood before was a group's name
			r.plain.Reset()
			r.angle, r.begin = "", end
		case '\t', '\r', '\n':
			r.plain.WriteByte(' ')
		default:
			r.plain.WriteByte(text[i])
		}
		if end == 0 { // something that is never closed
			r.bad = append(r.bad, strings.TrimSpace(text[r.begin:]))
			return r.list, r.bad
		}
		i = end
	}
	r.finish(text[r.begin:])
	return r.list, r.bad
}

// addressSpaces takes out the spaces that RFC 5322, section 4.4 allows around dots and @.
func addressSpaces(s string) string {
	return addressSpacesAfter.Replace(addressSpacesBefore.Replace(s))
}

var (
	addressSpacesBefore = strings.NewReplacer(" @", "@", " .", ".")
	addressSpacesAfter  = strings.NewReplacer("@ ", "@", ". ", ".")
)

// finish reads an entry; whole is all of it.
func (r *addressListReader) finish(whole string) {
	plain, angle := strings.Join(strings.Fields(r.plain.String()), " "), r.angle
	r.plain.Reset()
	r.angle = ""
	var a address
	var err error
	switch {
	case angle != "":
		inner := strings.TrimSpace(angle[1 : len(angle)-1])
		if !strings.Contains(inner, `"`) {
			inner = strings.Join(strings.Fields(inner), "")
		}
		var rest string
		if a, rest, err = addressParsePath("<" + inner + ">"); rest != "" || a.isNull() {
			err = errAddressSyntax
		}
	case plain == "":
		return // RFC 5322, section 4.4: obs-addr-list
	case strings.Contains(plain, `"`):
		a, err = addressParse(plain)
	default:
		a, err = addressParse(addressSpaces(plain))
	}
	if err != nil {
		r.bad = append(r.bad, strings.TrimSpace(whole))
		return
	}
	r.list = append(r.list, a)
}

// addressSkipComment gives the end of the comment that begins at i, 0 if it has none.
func addressSkipComment(text string, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// addressSkipQuoted gives the end of the quoted string that begins at i, 0 if it has none.
func addressSkipQuoted(text string, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// addressSkipAngle gives the end of what begins with < at i, 0 if it has none.
func addressSkipAngle(text string, i int) int {
	for i < len(text) {
		switch text[i] {
		case '>':
			return i + 1
		case '"':
			if i = addressSkipQuoted(text, i); i == 0 {
				return 0
			}
		default:
			i++
		}
	}
	return 0
}
