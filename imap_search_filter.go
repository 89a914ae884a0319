package main

import (
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// FILTER in SEARCH, SORT and THREAD (RFC 5466): a search that is kept under a name among the
// server's annotations.

const (
	imapFilterDepth   = 10 // filters within filters; more are a loop (RFC 5466, section 3.1)
	imapFilterPrivate = "/private/filters/values/"
	imapFilterShared  = "/shared/filters/values/"
)

// newSearch begins a search in the selected mailbox, if there is one.
func (s *imapSession) newSearch() *imapSearch {
	search := &imapSearch{filters: s.filters(), uidOnly: s.uidOnly, alone: true}
	if s.selected != nil {
		search.view = s.selected.view
	}
	return search
}

// filters finds saved searches, one's own before those for all. The annotations are read when
// the first is asked for.
func (s *imapSession) filters() func(name string) (text string, ok bool, err error) {
	var list []mailboxAnnotation
	return func(name string) (text string, ok bool, err error) {
		if list == nil {
			if _, list, err = s.annotations(""); err != nil {
				return "", false, err
			}
		}
		for _, tree := range []string{imapFilterPrivate, imapFilterShared} {
			for _, a := range list {
				if strings.EqualFold(a.entry, tree+name) {
					return *a.value, true, nil
				}
			}
		}
		return "", false, nil
	}
}

// readFilter reads a filter's name, and puts the keys that it stands for in its place, as if
// they stood in parentheses.
func (p *imapSearchParser) readFilter() (key imapSearchKey, err error) {
	if err := p.r.readSpace(); err != nil {
		return key, err
	}
	name, err := p.r.readAtom()
	if err != nil {
		return key, err
	}
	if strings.Contains(name, "/") {
		return key, imapBad("a filter's name has no /")
	}
	if !p.utf8 { // RFC 5466, section 3.1
		return key, imapBad("[BADCHARSET (UTF-8 US-ASCII)] with FILTER the charset is UTF-8")
	}
	text, ok := "", false
	if p.filters != nil && p.depth < imapFilterDepth {
		if text, ok, err = p.filters(name); err != nil {
			return key, err
		}
	}
	if !ok {
		return key, imapNo{imap.ResponseCode("UNDEFINED-FILTER " + name), "there is no such filter"}
	}
	outer := p.r
	p.r = &imapReader{line: []byte(text)}
	p.depth++
	if key, err = p.readCriteria(); err == nil {
		err = p.r.readEnd()
	}
	p.depth--
	p.r = outer
	if bad := imapBad(""); errors.As(err, &bad) && bad != errImapUIDRequired { // it is not this command that is wrong
		err = imapNo{text: "the filter " + name + " is no search: " + string(bad)}
	}
	return key, err
}

// imapCheckFilter looks at a search that is to be kept (RFC 5466, section 3.2). Others that it
// names need not be there yet.
func imapCheckFilter(text string) error {
	convert, _ := imapCharset("UTF-8")
	p := &imapSearchParser{r: &imapReader{line: []byte(text)}, now: time.Now(), convert: convert, utf8: true,
		filters: func(string) (string, bool, error) { return "ALL", true, nil }}
	_, err := p.readCriteria()
	if err == nil {
		err = p.r.readEnd()
	}
	if err != nil {
		return imapNo{text: "this is no search: " + err.Error()}
	}
	return nil
}
