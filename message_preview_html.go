package main

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// HTML to text, as far as a preview needs it. It is no parser: it knows where tags, comments
// and the elements end that hold no text, and reads broken HTML as far as it goes.

// messageHTMLSilent are elements whose content is not shown. It ends with their end tag only.
var messageHTMLSilent = map[string]bool{
	"style": true, "script": true, "title": true, "template": true, "iframe": true, "noembed": true, "noframes": true, "textarea": true,
}

// messageHTMLInline are elements that do not part words.
var messageHTMLInline = map[string]bool{
	"a": true, "abbr": true, "b": true, "bdi": true, "bdo": true, "big": true, "cite": true, "code": true, "del": true, "dfn": true,
	"em": true, "font": true, "i": true, "ins": true, "kbd": true, "label": true, "mark": true, "q": true, "s": true,
	"samp": true, "small": true, "span": true, "strike": true, "strong": true, "sub": true, "sup": true, "tt": true, "u": true, "var": true,
	"wbr": true,
}

// messageHTMLLatin are the names of U+00A0 to U+00FF.
var messageHTMLLatin = strings.Fields(`nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr
	deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest
	Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml
	ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig
	agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml
	eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml`)

// messageHTMLEntities are the named characters that mail is seen to use.
var messageHTMLEntities = func() map[string]rune {
	names := map[string]rune{
		"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "AMP": '&', "LT": '<', "GT": '>', "QUOT": '"',
		"ensp": 0x2002, "emsp": 0x2003, "thinsp": 0x2009, "zwnj": 0x200c, "zwj": 0x200d, "lrm": 0x200e, "rlm": 0x200f,
		"ndash": 0x2013, "mdash": 0x2014, "lsquo": 0x2018, "rsquo": 0x2019, "sbquo": 0x201a, "ldquo": 0x201c, "rdquo": 0x201d, "bdquo": 0x201e,
		"dagger": 0x2020, "bull": 0x2022, "hellip": 0x2026, "permil": 0x2030, "prime": 0x2032, "lsaquo": 0x2039, "rsaquo": 0x203a,
		"euro": 0x20ac, "trade": 0x2122, "larr": 0x2190, "uarr": 0x2191, "rarr": 0x2192, "darr": 0x2193, "minus": 0x2212,
		"le": 0x2264, "ge": 0x2265, "ne": 0x2260, "hearts": 0x2665, "check": 0x2713, "star": 0x2606, "starf": 0x2605,
		"OElig": 0x152, "oelig": 0x153, "Scaron": 0x160, "scaron": 0x161, "Yuml": 0x178,
	}
	for i, name := range messageHTMLLatin {
		names[name] = rune(0xa0 + i)
	}
	return names
}()

// messagePreviewHTML takes an HTML text apart. Quoted is what stands in BLOCKQUOTE.
func messagePreviewHTML(text []byte, said, quoted *messagePreviewLine) {
	depth := 0 // of BLOCKQUOTE
	for len(text) > 0 && !said.full {
		to := said
		if depth > 0 {
			to = quoted
		}
		switch text[0] {
		case '<':
			name, end, rest := messageHTMLTag(text)
			if rest == nil { // it is none
				to.rune('<')
				text = text[1:]
				continue
			}
			text = rest
			if name == "blockquote" && end {
				depth = max(depth-1, 0)
			} else if name == "blockquote" {
				depth++
			}
			if messageHTMLSilent[name] && !end {
				text = messageHTMLSkip(text, name)
			}
			if name != "" && !messageHTMLInline[name] {
				said.rune(' ')
				quoted.rune(' ')
			}
		case '&':
			r, size := messageHTMLEntity(text)
			to.rune(r)
			text = text[size:]
		default:
			r, size := utf8.DecodeRune(text)
			to.rune(r)
			text = text[size:]
		}
	}
}

// messageHTMLTag reads the tag, comment or declaration that a text begins with: the tag's
// name, whether it is an end tag, and what is behind it, nil if it is no tag at all.
func messageHTMLTag(text []byte) (name string, end bool, rest []byte) {
	none := text[len(text):]
	if bytes.HasPrefix(text, []byte("<!--")) {
		_, rest, ok := bytes.Cut(text[2:], []byte("-->")) // "<!-->" is a whole comment
		if !ok {
			rest = none
		}
		return "", false, rest
	}
	at := 1
	if at < len(text) && (text[at] == '/' || text[at] == '!' || text[at] == '?') {
		end = text[at] == '/'
		at++
	}
	start := at
	for at < len(text) && (messageHTMLIsName(text[at]) || at > start && text[at] >= '0' && text[at] <= '9') {
		at++
	}
	if at == start && (at >= len(text) || start == 1 || end && text[at] != '>') {
		return "", false, nil
	}
	name = strings.ToLower(string(text[start:min(at, start+20)]))
	if start == 2 && !end {
		name = ""
	}
	quote, before := byte(0), byte(0) // the quote that an attribute stands in; the last byte that is no space
	for ; at < len(text); at++ {
		c := text[at]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return name, end, text[at+1:]
		case before == '=' && (c == '"' || c == '\''):
			quote = c
		}
		if c > ' ' {
			before = c
		}
	}
	return name, end, none
}

func messageHTMLIsName(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == ':' }

// messageHTMLSkip gives what is behind the end tag of an element.
func messageHTMLSkip(text []byte, name string) []byte {
	for {
		_, rest, ok := bytes.Cut(text, []byte("</"))
		if !ok {
			return nil
		}
		if len(rest) >= len(name) && strings.EqualFold(string(rest[:len(name)]), name) {
			_, rest, _ = bytes.Cut(rest, []byte(">"))
			return rest
		}
		text = rest
	}
}

// messageHTMLEntity reads what a text that begins with "&" stands for, and how long it is.
func messageHTMLEntity(text []byte) (rune, int) {
	size := 1
	for size < len(text) && size < 12 && (text[size] == '#' && size == 1 || messageHTMLIsName(text[size]) || '0' <= text[size] && text[size] <= '9') {
		size++
	}
	name := string(text[1:size])
	if size < len(text) && text[size] == ';' {
		size++
	}
	if number, ok := strings.CutPrefix(name, "#"); ok {
		base := 10
		if hex := strings.TrimLeft(number, "xX"); len(hex) < len(number) {
			number, base = hex, 16
		}
		if n, err := strconv.ParseUint(number, base, 21); err == nil {
			if n == 0 || n > utf8.MaxRune || 0xd800 <= n && n < 0xe000 {
				n = utf8.RuneError
			}
			return rune(n), size
		}
	} else if r, ok := messageHTMLEntities[name]; ok {
		return r, size
	}
	return '&', 1
}
