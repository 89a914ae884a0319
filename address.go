package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The address room knows mail addresses as RFC 5321 writes them in a path,
// RFC 6531's included. It knows no user and no folder.

// address is a mailbox as RFC 5321, section 4.1.2 has it. The zero address is
// the null path <>.
type address struct {
	local  string // without quoting
	domain string // lower case; "" for a bare local part, as cron and printers send it
}

var (
	errAddressSyntax  = errors.New("not a mail address")
	errAddressTooLong = errors.New("too long for a mail address")
)

// RFC 5321, section 4.5.3.1, in octets. A longer local part is taken from senders,
// whose mailing lists make them: addressLocalTooLong is for recipients.
const (
	addressMaxLocal  = 64
	addressMaxDomain = 255
	addressMaxPath   = 256 // with < and >
)

// addressParsePath reads the path that s begins with and gives what follows it. UTF-8
// is allowed (see ascii). A source route is ignored (RFC 5321, appendix C). A path
// without < and > is taken too, up to the first space: old printers and cameras send
// such ones.
func addressParsePath(s string) (a address, rest string, err error) {
	path, bare := s, false
	if strings.HasPrefix(s, "<") {
		path = s[1:]
	} else {
		bare = true
		if s == "" || s[0] == ' ' {
			return a, s, errAddressSyntax
		}
	}
	whole := path
	if strings.HasPrefix(path, ">") {
		return a, path[1:], nil
	}
	if path, err = addressSkipRoute(path); err != nil {
		return a, s, err
	}
	if a, rest, err = addressTake(path); err != nil {
		return address{}, s, err
	}
	if bare {
		if rest != "" && rest[0] != ' ' {
			return address{}, s, errAddressSyntax
		}
	} else {
		if !strings.HasPrefix(rest, ">") {
			return address{}, s, errAddressSyntax
		}
		rest = rest[1:]
	}
	if len(whole)-len(rest)+1 > addressMaxPath {
		return address{}, s, fmt.Errorf("%w: a path has at most %d bytes", errAddressTooLong, addressMaxPath)
	}
	return a, rest, nil
}

// addressParse reads an address without < and >.
func addressParse(s string) (address, error) {
	a, rest, err := addressTake(s)
	if err == nil && rest != "" {
		err = errAddressSyntax
	}
	if err != nil {
		return address{}, fmt.Errorf("%q is %w", s, err)
	}
	return a, nil
}

// addressSkipRoute takes off "@a,@b:" (RFC 5321, appendix C).
func addressSkipRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	for {
		_, rest, err := addressTakeDomain(s[1:])
		switch {
		case err != nil:
			return s, err
		case strings.HasPrefix(rest, ","):
			s = rest[1:]
			if !strings.HasPrefix(s, "@") {
				return s, errAddressSyntax
			}
		case strings.HasPrefix(rest, ":"):
			return rest[1:], nil
		default:
			return s, errAddressSyntax
		}
	}
}

// addressTake reads Local-part [ "@" ( Domain / address-literal ) ].
func addressTake(s string) (a address, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		a.local, rest, err = addressTakeQuoted(s)
	} else {
		a.local, rest, err = addressTakeDots(s)
	}
	if err != nil || !strings.HasPrefix(rest, "@") {
		return a, rest, err
	}
	if strings.HasPrefix(rest, "@[") {
		a.domain, rest, err = addressTakeLiteral(rest[1:])
	} else {
		a.domain, rest, err = addressTakeDomain(rest[1:])
	}
	return a, rest, err
}

// addressTakeDots reads a Dot-string. Dots at an end or side by side are taken
// although RFC 5321 has none: such senders exist.
func addressTakeDots(s string) (local, rest string, err error) {
	end := len(s)
	for i, r := range s {
		if !addressAtext(r) && r != '.' {
			end = i
			break
		}
	}
	if end == 0 || !utf8.ValidString(s[:end]) {
		return "", s, errAddressSyntax
	}
	return s[:end], s[end:], nil
}

// addressAtext is RFC 5322's atext with RFC 6531's UTF-8.
func addressAtext(r rune) bool {
	switch {
	case r >= utf8.RuneSelf:
		return r != utf8.RuneError && !unicode.IsControl(r)
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// addressTakeQuoted reads a Quoted-string.
func addressTakeQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"':
			return b.String(), s[i+1:], nil
		case r == '\\':
			i++
			if r, size = utf8.DecodeRuneInString(s[i:]); r < ' ' || r > '~' {
				return "", s, errAddressSyntax
			}
		case r == utf8.RuneError && size < 2, unicode.IsControl(r):
			return "", s, errAddressSyntax
		}
		b.WriteString(s[i : i+size])
		i += size
	}
	return "", s, errAddressSyntax
}

// addressTakeDomain reads a Domain. Underscores are taken: Windows makes such names.
func addressTakeDomain(s string) (domain, rest string, err error) {
	end := len(s)
	for i, r := range s {
		if r != '.' && !addressLabelRune(r) {
			end = i
			break
		}
	}
	domain = norm.NFC.String(strings.ToLower(s[:end]))
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return "", s, errAddressSyntax
		}
	}
	if end > addressMaxDomain {
		return "", s, fmt.Errorf("%w: a domain has at most %d bytes", errAddressTooLong, addressMaxDomain)
	}
	return domain, s[end:], nil
}

func addressLabelRune(r rune) bool {
	if r >= utf8.RuneSelf { // RFC 6531, section 3.3: U-label
		return r != utf8.RuneError && unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pd, unicode.So)
	}
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// addressTakeLiteral reads an address-literal (RFC 5321, section 4.1.3).
func addressTakeLiteral(s string) (domain, rest string, err error) {
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return "", s, errAddressSyntax
	}
	domain, rest = strings.ToLower(s[:end+1]), s[end+1:]
	if _, ok := addressLiteral(domain); ok {
		return domain, rest, nil
	}
	tag, content, tagged := strings.Cut(domain[1:end], ":") // General-address-literal
	if !tagged || tag == "" || tag == "ipv6" || content == "" || strings.ContainsFunc(domain, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '\\'
	}) || strings.ContainsRune(content, '[') || strings.ContainsFunc(tag, func(r rune) bool { return !addressLabelRune(r) }) {
		return "", s, errAddressSyntax
	}
	return domain, rest, nil
}

// addressLiteral gives the IP address that a domain is.
func addressLiteral(domain string) (netip.Addr, bool) {
	if !strings.HasPrefix(domain, "[") || !strings.HasSuffix(domain, "]") {
		return netip.Addr{}, false
	}
	text := domain[1 : len(domain)-1]
	v6, tagged := strings.CutPrefix(text, "ipv6:")
	ip, err := netip.ParseAddr(v6)
	if err != nil || ip.Is4() == tagged || ip.Zone() != "" {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}

// addressDomain gives a domain as addresses are compared by: lower case, with
// U-labels for A-labels (RFC 6531, section 3.7.2 has the one meant by the other).
func addressDomain(s string) string {
	labels := strings.Split(norm.NFC.String(strings.ToLower(s)), ".")
	for i, label := range labels {
		if coded, ok := strings.CutPrefix(label, "xn--"); ok {
			if u, ok := addressPunycode(coded); ok {
				labels[i] = norm.NFC.String(strings.ToLower(u))
			}
		}
	}
	return strings.Join(labels, ".")
}

// addressPunycode decodes RFC 3492, section 6.2.
func addressPunycode(s string) (string, bool) {
	var out []rune
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		out, s = []rune(s[:i]), s[i+1:]
	}
	const base, tmin, tmax, skew = 36, 1, 26, 38
	n, at, bias, damp := 128, 0, 72, 700
	for s != "" {
		old, weight := at, 1
		for k := base; ; k += base {
			if s == "" {
				return "", false
			}
			digit := strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789", s[0])
			s = s[1:]
			if digit < 0 || digit > (unicode.MaxRune*64-at)/weight {
				return "", false
			}
			at += digit * weight
			t := min(max(k-bias, tmin), tmax)
			if digit < t {
				break
			}
			if weight > unicode.MaxRune*64/(base-t) {
				return "", false
			}
			weight *= base - t
		}
		delta := (at - old) / damp
		damp = 2
		delta += delta / (len(out) + 1)
		bias = 0
		for delta > (base-tmin)*tmax/2 {
			delta /= base - tmin
			bias += base
		}
		bias += (base - tmin + 1) * delta / (delta + skew)
		n += at / (len(out) + 1)
		at %= len(out) + 1
		if n > unicode.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		out = append(out[:at], append([]rune{rune(n)}, out[at:]...)...)
		at++
	}
	return string(out), true
}

// isNull tells whether a is the null path.
func (a address) isNull() bool { return a == address{} }

// ascii tells whether a needs no SMTPUTF8.
func (a address) ascii() bool {
	return !strings.ContainsFunc(a.local+a.domain, func(r rune) bool { return r >= utf8.RuneSelf })
}

// localTooLong tells whether the local part is longer than a recipient's may be.
func (a address) localTooLong() bool { return len(a.local) > addressMaxLocal }

// String writes the address as it stands in a path, quoted where need be; "" for
// the null path.
func (a address) String() string {
	local := a.local
	if rest := ""; !a.isNull() {
		if _, rest, _ = addressTakeDots(local); rest != "" || local == "" {
			local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
		}
	}
	if a.domain == "" {
		return local
	}
	return local + "@" + a.domain
}
