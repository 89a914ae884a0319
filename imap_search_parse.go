package main

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

// The criteria of SEARCH as they are written (RFC 9051, section 9, search-program;
// RFC 5032; RFC 5182).

// Limits of one SEARCH, however its keys are nested. They are far above what a client makes of
// a person's wish.
const (
	imapSearchKeys    = 1000
	imapSearchNeedles = 100
)

// imapSearchFlagKeys are the keys that ask for a system flag.
var imapSearchFlagKeys = map[string]imapSearchKey{
	"ALL": {kind: imapSearchAnd},

	"SAVEDATESUPPORTED": {kind: imapSearchAnd}, // RFC 8514, section 4.3

	"ANSWERED":   {kind: imapSearchFlags, flags: mailboxFlagAnswered},
	"DELETED":    {kind: imapSearchFlags, flags: mailboxFlagDeleted},
	"DRAFT":      {kind: imapSearchFlags, flags: mailboxFlagDraft},
	"FLAGGED":    {kind: imapSearchFlags, flags: mailboxFlagFlagged},
	"SEEN":       {kind: imapSearchFlags, flags: mailboxFlagSeen},
	"UNANSWERED": {kind: imapSearchFlags, flags: mailboxFlagAnswered, not: true},
	"UNDELETED":  {kind: imapSearchFlags, flags: mailboxFlagDeleted, not: true},
	"UNDRAFT":    {kind: imapSearchFlags, flags: mailboxFlagDraft, not: true},
	"UNFLAGGED":  {kind: imapSearchFlags, flags: mailboxFlagFlagged, not: true},
	"UNSEEN":     {kind: imapSearchFlags, flags: mailboxFlagSeen, not: true},
	"RECENT":     {kind: imapSearchRecent}, // RFC 3501, section 6.4.4, as the next two
	"OLD":        {kind: imapSearchRecent, not: true},
	"NEW": {kind: imapSearchAnd, keys: []imapSearchKey{{kind: imapSearchRecent},
		{kind: imapSearchFlags, flags: mailboxFlagSeen, not: true}}},
}

// imapSearchDateKeys are the keys with a date: which days they mean.
var imapSearchDateKeys = map[string]struct {
	kind        imapSearchKind
	since, upto bool // from the day on, up to the day
}{
	"BEFORE":     {imapSearchDate, false, false},
	"ON":         {imapSearchDate, true, true},
	"SINCE":      {imapSearchDate, true, false},
	"SENTBEFORE": {imapSearchSent, false, false},
	"SENTON":     {imapSearchSent, true, true},
	"SENTSINCE":  {imapSearchSent, true, false},

	"SAVEDBEFORE": {imapSearchSaved, false, false}, // RFC 8514, section 4.3
	"SAVEDON":     {imapSearchSaved, true, true},
	"SAVEDSINCE":  {imapSearchSaved, true, false},
}

// imapSearchParser reads keys and counts them.
type imapSearchParser struct {
	r       *imapReader
	now     time.Time
	convert func(string) (string, bool) // from the charset of the command to UTF-8
	keys    int
	needles []string
	modSeqs bool // they are asked for
	fuzzy   bool // what is read stands behind FUZZY
	blurred bool // something does
	uidOnly bool // ENABLE UIDONLY: message numbers are refused

	filters func(name string) (text string, ok bool, err error) // nil: there are none
	utf8    bool                                                // so is the charset of the command
	depth   int                                                 // filters within filters
}

// readSearch reads the arguments of SEARCH up to the end of the command. Result
// options are given with an error as well, if they were read. Without charset the
// client may name none.
func (r *imapReader) readSearch(search *imapSearch, charset bool) (ret imapSearchReturn, err error) {
	if r.takeWord("RETURN") {
		if ret, err = r.readSearchReturn(); err != nil {
			return ret, err
		}
	}
	name := "UTF-8" // RFC 9051, section 6.4.4
	if r.takeWord("CHARSET") {
		if !charset {
			return ret, imapBad("after ENABLE UTF8=ACCEPT all is UTF-8") // RFC 6855, section 3
		}
		if name, err = r.readAstring(); err == nil {
			err = r.readSpace()
		}
		if err != nil {
			return ret, err
		}
	}
	return ret, r.readSearchKeys(search, name)
}

// readSearchKeys reads the keys of a search, whose texts are in a charset, up to the end of the
// command.
func (r *imapReader) readSearchKeys(search *imapSearch, charset string) (err error) {
	p := &imapSearchParser{r: r, now: time.Now(), filters: search.filters, utf8: imapIsUTF8(charset), uidOnly: search.uidOnly}
	known := false
	if p.convert, known = imapCharset(charset); !known {
		p.convert = func(text string) (string, bool) { return text, true }
	}
	if search.key, err = p.readCriteria(); err == nil {
		err = r.readEnd()
	}
	if err == nil && !known {
		err = imapNo{"BADCHARSET (UTF-8 US-ASCII)", "this charset is not known"}
	}
	search.needles, search.modSeqs, search.fuzzy = p.needles, p.modSeqs, p.blurred
	return err
}

// takeWord consumes a word and the space behind it, if they are next.
func (r *imapReader) takeWord(word string) bool {
	n := len(word)
	if len(r.line) <= n || r.line[n] != ' ' || !strings.EqualFold(string(r.line[:n]), word) {
		return false
	}
	r.line = r.line[n+1:]
	return true
}

// readSearchReturn reads the result options (RFC 4731, section 3.1; RFC 5182, section
// 2.1) and the space behind them.
func (r *imapReader) readSearchReturn() (ret imapSearchReturn, err error) {
	ret.given = true
	err = r.readList(func() error {
		word, err := r.readWord()
		switch word {
		case "MIN":
			ret.min = true
		case "MAX":
			ret.max = true
		case "ALL":
			ret.all = true
		case "COUNT":
			ret.count = true
		case "SAVE":
			ret.save = true
		case "RELEVANCY":
			ret.relevancy = true
		case "CONTEXT":
			ret.context = true
		case "UPDATE":
			ret.update = true
			if err == nil && len(r.line) > 1 && r.line[0] == ' ' && r.line[1] == '(' { // RFC 5465, section 7
				r.take(' ')
				ret.items, err = r.readFetchItems(false)
			}
		case "PARTIAL":
			if ret.part.given() {
				return imapBad("one PARTIAL is enough") // RFC 9394, section 3.1
			}
			if err = r.readSpace(); err == nil {
				ret.part, err = r.readPart()
			}
		default:
			if err == nil {
				err = imapBad("unknown result option " + word)
			}
		}
		return err
	})
	if ret.all && ret.part.given() && err == nil {
		err = imapBad("either ALL or PARTIAL") // RFC 9394, section 3.1
	}
	if !ret.hasData() && !ret.save && !ret.context && !ret.update {
		ret.all = true // RFC 4731, section 3.1
	}
	if err == nil {
		err = r.readSpace()
	}
	return ret, err
}

// readCriteria reads keys up to the end of the command, or of a list. All of them
// must match.
func (p *imapSearchParser) readCriteria() (imapSearchKey, error) {
	all := imapSearchKey{kind: imapSearchAnd}
	for {
		key, err := p.readKey()
		if err != nil {
			return all, err
		}
		all.keys = append(all.keys, key)
		if !p.r.take(' ') {
			break
		}
	}
	if len(all.keys) == 1 {
		return all.keys[0], nil
	}
	return all, nil
}

// readKey reads one key.
func (p *imapSearchParser) readKey() (key imapSearchKey, err error) {
	if p.keys++; p.keys > imapSearchKeys {
		return key, imapBad("too many search keys")
	}
	switch c := p.r.peek(); {
	case c == '(':
		p.r.take('(')
		key, err := p.readCriteria()
		if err == nil && !p.r.take(')') {
			err = imapBad("a ) is missing")
		}
		return key, err
	case '0' <= c && c <= '9', c == '*', c == '$':
		key.kind = imapSearchSeqs
		if key.set, err = p.r.readSet(); err == nil && p.uidOnly && !key.set.saved {
			err = errImapUIDRequired // RFC 9586, section 3.5; "$" stands for messages, not for their numbers
		}
		return key, err
	}
	word, err := p.r.readAtom()
	if err != nil {
		return key, err
	}
	name := strings.ToUpper(word)
	if known, ok := imapSearchFlagKeys[name]; ok {
		return known, nil
	}
	switch name {
	case "NOT", "OR":
		return p.readLogic(name)
	case "FILTER":
		return p.readFilter()
	case "FUZZY":
		return p.readFuzzy()
	case "KEYWORD", "UNKEYWORD", "UID", "UIDAFTER", "UIDBEFORE", "LARGER", "SMALLER", "YOUNGER", "OLDER", "MODSEQ", "EMAILID", "THREADID",
		"FROM", "TO", "CC", "BCC", "SUBJECT", "HEADER", "BODY", "TEXT":
	default:
		if _, ok := imapSearchDateKeys[name]; !ok {
			return key, imapBad("unknown search key " + name)
		}
	}
	if err := p.r.readSpace(); err != nil {
		return key, err
	}
	return p.readArgument(name)
}

// readLogic reads what follows NOT and OR.
func (p *imapSearchParser) readLogic(name string) (key imapSearchKey, err error) {
	if err = p.r.readSpace(); err != nil {
		return key, err
	}
	if key, err = p.readKey(); err != nil || name == "NOT" {
		key.not = !key.not
		return key, err
	}
	if err = p.r.readSpace(); err != nil {
		return key, err
	}
	other, err := p.readKey()
	return imapSearchKey{kind: imapSearchOr, keys: []imapSearchKey{key, other}}, err
}

// readArgument reads the argument of the key that name says.
func (p *imapSearchParser) readArgument(name string) (key imapSearchKey, err error) {
	switch name {
	case "KEYWORD", "UNKEYWORD":
		word, err := p.r.readAtom()
		return imapSearchKey{kind: imapSearchFlags, words: []string{word}, not: name == "UNKEYWORD"}, err
	case "UID":
		key.kind = imapSearchUIDs
		key.set, err = p.r.readSet()
		return key, err
	case "UIDAFTER", "UIDBEFORE":
		return p.readUIDBound(name)
	case "LARGER", "SMALLER":
		return p.readSize(name)
	case "MODSEQ":
		return p.readModSeq()
	case "EMAILID", "THREADID":
		return p.readObjectID(name)
	case "YOUNGER", "OLDER":
		return p.readInterval(name)
	case "FROM", "TO", "CC", "BCC", "SUBJECT":
		return p.readText(imapSearchHeader, name)
	case "HEADER":
		field, err := p.r.readAstring()
		if err == nil {
			err = p.r.readSpace()
		}
		if err != nil {
			return key, err
		}
		return p.readText(imapSearchHeader, field)
	case "BODY":
		return p.readText(imapSearchBody, "")
	case "TEXT":
		return p.readText(imapSearchText, "")
	}
	return p.readDate(name)
}

// readUIDBound reads the UID of UIDAFTER and UIDBEFORE (RFC 9738, section 3.2), which itself does not match.
func (p *imapSearchParser) readUIDBound(name string) (imapSearchKey, error) {
	key := imapSearchKey{kind: imapSearchUIDs}
	uid, err := p.r.readNumber()
	switch {
	case err == nil && uid == 0:
		err = imapBad("UIDs are counted from 1")
	case name == "UIDAFTER" && uid < math.MaxUint32:
		key.set.ranges = []imapRange{{uid + 1, math.MaxUint32}}
	case name == "UIDBEFORE" && uid > 1:
		key.set.ranges = []imapRange{{1, uid - 1}}
	}
	return key, err
}

func (p *imapSearchParser) readSize(name string) (imapSearchKey, error) {
	n, err := p.r.readNumber64()
	if name == "LARGER" {
		return imapSearchKey{kind: imapSearchSize, from: n, to: math.MaxInt64}, err
	}
	return imapSearchKey{kind: imapSearchSize, from: -1, to: n}, err
}

// readModSeq reads the argument of MODSEQ (RFC 7162, section 3.1.5). Which flag is meant does not
// matter: a message has one mod-sequence for all.
func (p *imapSearchParser) readModSeq() (key imapSearchKey, err error) {
	if p.r.peek() == '"' {
		entry, err := p.r.readQuoted()
		if err == nil && !strings.HasPrefix(entry, "/flags/") {
			err = imapBad("an entry is named /flags/...")
		}
		if err == nil {
			err = p.r.readSpace()
		}
		if err != nil {
			return key, err
		}
		kind, err := p.r.readWord()
		if err == nil && kind != "ALL" && kind != "PRIV" && kind != "SHARED" {
			err = imapBad("an entry is all, priv or shared")
		}
		if err == nil {
			err = p.r.readSpace()
		}
		if err != nil {
			return key, err
		}
	}
	n, err := p.r.readModSeq()
	p.modSeqs = true
	return imapSearchKey{kind: imapSearchModSeq, from: int64(n)}, err
}

// readInterval reads seconds before now (RFC 5032, section 3).
func (p *imapSearchParser) readInterval(name string) (imapSearchKey, error) {
	n, err := p.r.readNumber64()
	if err == nil && (n == 0 || n > math.MaxUint32) {
		err = imapBad("not a number of seconds")
	}
	then := p.now.Unix() - n
	if name == "YOUNGER" {
		return imapSearchKey{kind: imapSearchDate, from: then, to: math.MaxInt64}, err
	}
	return imapSearchKey{kind: imapSearchDate, from: math.MinInt64, to: then + 1}, err
}

// readText reads what is to be looked for, in a header field or in the text.
func (p *imapSearchParser) readText(kind imapSearchKind, field string) (key imapSearchKey, err error) {
	raw, err := p.r.readAstring()
	if err != nil {
		return key, err
	}
	text, ok := p.convert(raw)
	if !ok {
		return key, imapBad("what is to be searched for is not in the charset of the command")
	}
	if len(p.needles) == imapSearchNeedles {
		return key, imapBad("too many texts to search for")
	}
	if kind == imapSearchHeader && !messageUsualField(field) {
		kind = imapSearchOtherHeader
	}
	p.needles = append(p.needles, text)
	return imapSearchKey{kind: kind, name: field, text: text, needle: len(p.needles) - 1, fuzzy: p.fuzzy && text != ""}, nil
}

// readDate reads a day for the key that name says.
func (p *imapSearchParser) readDate(name string) (key imapSearchKey, err error) {
	text, err := p.r.readAstring()
	if err != nil {
		return key, err
	}
	day, ok := imapParseDay(text)
	if !ok {
		return key, imapBad("not a date: " + text)
	}
	how := imapSearchDateKeys[name]
	from, to := day.Unix()/86400, day.Unix()/86400+1
	if how.kind != imapSearchSent {
		from, to = imapSearchDays(day.Date())
	}
	switch {
	case !how.since:
		from, to = math.MinInt64, from
	case !how.upto:
		to = math.MaxInt64
	}
	return imapSearchKey{kind: how.kind, from: from, to: to}, nil
}

// imapParseDay reads date-text, such as 1-Feb-1994, as midnight UTC.
func imapParseDay(text string) (day time.Time, ok bool) {
	if len(text) > 1 && text[0] == ' ' { // date-day-fixed, which Dovecot takes as well
		text = text[1:]
	}
	day, err := time.Parse("2-Jan-2006", text)
	return day, err == nil
}

// imapIsUTF8 tells whether a charset is UTF-8, or within it.
func imapIsUTF8(name string) bool {
	switch strings.ToUpper(name) {
	case "UTF-8", "UTF8", "US-ASCII", "ASCII":
		return true
	}
	return false
}

// imapCharset gives a function that converts from a charset to UTF-8 and says
// whether its argument is in it. ok is false for a charset nobody knows.
func imapCharset(name string) (convert func(string) (string, bool), ok bool) {
	if imapIsUTF8(name) {
		return func(s string) (string, bool) { return s, utf8.ValidString(s) }, true
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return nil, false
	}
	return func(s string) (string, bool) {
		text, err := enc.NewDecoder().String(s)
		return text, err == nil
	}, true
}
