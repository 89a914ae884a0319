package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// IMAP URLs of a message or a part of one (RFC 5092): what CATENATE and URLAUTH read.
//
//	imap://user@host/mailbox;UIDVALIDITY=1/;UID=2/;SECTION=3.MIME/;PARTIAL=0.1000;EXPIRE=...;URLAUTH=...
//	/mailbox/;UID=2/;SECTION=TEXT          on this server, of this user
//	;UID=2                                 in the selected mailbox

// imapURL is such a URL. Names are decoded.
type imapURL struct {
	absolute bool
	user     string // "" if none is named
	auth     string // the mechanism behind ;AUTH=
	host     string // with a port if one is named, in small letters

	relative bool   // to the selected mailbox
	mailbox  string // in UTF-8, as clients call it
	validity uint32 // 0 if it is not named
	uid      uint32
	section  imapSection
	partial  *imapPartial // nil: all

	expire time.Time // zero: never
	access string    // "" without URLAUTH
	of     string    // the user of submit+ and user+
	rump   string    // all up to the access identifier
	mech   string    // "" if the URL ends with the access identifier, else in capitals
	token  string
}

const imapURLMost = 8 << 10 // bytes of a URL

var errImapURL = errors.New("not a URL of a message")

// imapParseURL reads a URL. Which of the forms is allowed is for the caller to say.
func imapParseURL(text string) (*imapURL, error) {
	if len(text) > imapURLMost {
		return nil, errImapURL
	}
	u := &imapURL{}
	path := text
	const scheme = "imap://"
	if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		server, rest, ok := strings.Cut(text[len(scheme):], "/")
		if u.absolute = true; !ok || !u.parseServer(server) {
			return nil, errImapURL
		}
		path = "/" + rest
	}
	switch {
	case strings.HasPrefix(path, "/"):
		path = path[1:]
	case len(path) > 0 && path[0] == ';':
		u.relative = true // RFC 5092, section 9.1. Other relative paths are none of IMAP's (section 7.2)
		path = "/" + path
	default:
		return nil, errImapURL
	}
	if !u.parseParameters(text, path) {
		return nil, errImapURL
	}
	return u, nil
}

// parseServer reads iserver.
func (u *imapURL) parseServer(server string) bool {
	ok := true
	if at := strings.LastIndexByte(server, '@'); at >= 0 {
		info := server[:at]
		server = server[at+1:]
		user, auth, named := strings.Cut(info, ";")
		if named {
			if len(auth) < len("AUTH=") || !strings.EqualFold(auth[:len("AUTH=")], "AUTH=") {
				return false
			}
			if u.auth = auth[len("AUTH="):]; u.auth != "*" {
				u.auth, ok = imapURLDecode(u.auth, imapIsURLChar)
			}
			ok = ok && u.auth != ""
		}
		if user != "" {
			var decoded bool
			u.user, decoded = imapURLDecode(user, imapIsURLChar)
			ok = ok && decoded
		} else if !named {
			return false
		}
	}
	u.host = strings.ToLower(server)
	for i := range len(u.host) {
		c := u.host[i]
		ok = ok && (imapIsURLChar(c) || c == ':' || c == '[' || c == ']' || c == '%') && c != '&' && c != '='
	}
	return ok && u.host != ""
}

// parseParameters reads all behind the server. Parameters have an order, each at most once; in front of some stands a "/".
func (u *imapURL) parseParameters(text, path string) bool {
	mailbox, rest, _ := strings.Cut(path, ";")
	slash := strings.HasSuffix(mailbox, "/")
	mailbox = strings.TrimSuffix(mailbox, "/")
	if !u.relative && !u.parseMailbox(mailbox) {
		return false
	}
	stage := 0
	for at := len(text) - len(rest); rest != ""; {
		part, more, ended := strings.Cut(rest, ";")
		name, value, ok := strings.Cut(part, "=")
		if !ok || ended && more == "" {
			return false
		}
		before := slash
		if slash = strings.HasSuffix(value, "/"); slash {
			value = value[:len(value)-1]
		}
		name = strings.ToUpper(name)
		parameter, known := imapURLParameters[name]
		if !known || parameter.stage <= stage || parameter.slash != before || u.relative && stage == 0 && name != "UID" {
			return false
		}
		stage = parameter.stage
		u.rump = text[:at+len(part)]
		if !parameter.read(u, value) {
			return false
		}
		at += len(part) + 1
		rest = more
	}
	return u.uid != 0 && !slash
}

// imapURLParameters are the parameters, in their order, and which of them have a "/" before them.
var imapURLParameters = map[string]struct {
	stage int
	slash bool
	read  func(u *imapURL, value string) bool
}{
	"UIDVALIDITY": {1, false, func(u *imapURL, value string) (ok bool) { u.validity, ok = imapURLNumber(value); return ok }},
	"UID":         {2, true, func(u *imapURL, value string) (ok bool) { u.uid, ok = imapURLNumber(value); return ok }},
	"SECTION":     {3, true, (*imapURL).parseSection},
	"PARTIAL":     {4, true, (*imapURL).parsePartial},
	"EXPIRE":      {5, false, (*imapURL).parseExpire},
	"URLAUTH":     {6, false, (*imapURL).parseAuth},
}

// parseMailbox reads enc-mailbox. Dot-segments, which would make another path of it, are refused.
func (u *imapURL) parseMailbox(coded string) (ok bool) {
	for part := range strings.SplitSeq(coded, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	u.mailbox, ok = imapURLDecode(coded, func(c byte) bool { return imapIsURLChar(c) || c == ':' || c == '@' || c == '/' })
	return ok && u.mailbox != "" && coded[0] != '/' && utf8.ValidString(u.mailbox) && !strings.ContainsRune(u.mailbox, 0)
}

func (u *imapURL) parseSection(coded string) bool {
	text, ok := imapURLDecode(coded, func(c byte) bool { return imapIsURLChar(c) || c == ':' || c == '@' || c == '/' })
	if !ok || text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return false
	}
	r := &imapReader{line: []byte("[" + text + "]")}
	_, err := r.readSection(&u.section)
	u.section.usual = len(u.section.path) == 0 && u.section.what == imapSectionFields && imapUsualFields(u.section.names)
	return err == nil && len(r.line) == 0
}

// parsePartial reads partial-range, which needs no length.
func (u *imapURL) parsePartial(text string) bool {
	r := &imapReader{line: []byte(text)}
	p := &imapPartial{count: math.MaxInt64}
	var err error
	if p.start, err = r.readNumber64(); err == nil && r.take('.') {
		if p.count, err = r.readNumber64(); p.count == 0 {
			return false
		}
	}
	u.partial = p
	return err == nil && len(r.line) == 0
}

func (u *imapURL) parseExpire(text string) bool {
	expire, err := time.Parse(time.RFC3339, strings.ToUpper(text))
	u.expire = expire
	return err == nil && !expire.IsZero()
}

// parseAuth reads what follows ";URLAUTH=": access, and with a verifier ":mechanism:token".
func (u *imapURL) parseAuth(text string) bool {
	access, verifier, signed := strings.Cut(text, ":")
	u.rump = u.rump[:len(u.rump)-len(text)+len(access)]
	kind, of, named := strings.Cut(access, "+")
	u.access = strings.ToLower(kind)
	switch u.access {
	case "submit", "user":
		var ok bool
		if u.of, ok = imapURLDecode(of, imapIsURLChar); !ok || u.of == "" {
			return false
		}
	case "authuser", "anonymous":
		if named {
			return false
		}
	default:
		return false
	}
	if !signed {
		return true
	}
	mech, token, ok := strings.Cut(verifier, ":")
	u.mech, u.token = strings.ToUpper(mech), strings.ToLower(token)
	if !ok || mech == "" || len(token) < 32 {
		return false
	}
	for i := range len(u.token) {
		if c := u.token[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// imapURLNumber reads nz-number.
func imapURLNumber(text string) (uint32, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// imapIsURLChar is achar without its percent sign: what stands for itself everywhere in an IMAP URL.
func imapIsURLChar(c byte) bool {
	return imapIsLetter(c) || '0' <= c && c <= '9' || strings.IndexByte("-._~!$'()*+,&=", c) >= 0
}

// imapURLDecode undoes percent-encoding. What is not encoded must be plain.
func imapURLDecode(coded string, plain func(c byte) bool) (string, bool) {
	var text []byte
	for i := 0; i < len(coded); i++ {
		c := coded[i]
		if c != '%' {
			if !plain(c) {
				return "", false
			}
			text = append(text, c)
			continue
		}
		if len(coded) < i+3 {
			return "", false
		}
		n, err := strconv.ParseUint(coded[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		text = append(text, byte(n))
		i += 2
	}
	return string(text), true
}

// imapURLShown is a URL as it can stand in a response code, whatever a client has sent.
func imapURLShown(url string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range min(len(url), 1000) {
		if c := url[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`]"\`, c) >= 0 {
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
