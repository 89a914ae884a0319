package main

import (
	"fmt"
	"slices"
	"strings"
)

// CAPABILITY, and which there are.

// imapCapability is a row of the capability table.
type imapCapability struct {
	name   string
	states imapState                   // in which it is told
	needed bool                        // it cannot be withheld
	needs  string                      // a capability without which this one is not told
	holds  func(s *imapSession) bool   // nil: always
	value  func(s *imapSession) string // told behind name, as in "APPENDLIMIT=1000"; nil: nothing
}

// imapCapabilities are in the order in which they are told.
var imapCapabilities = []imapCapability{
	{name: "IMAP4rev1", states: imapAnyState, needed: true},
	{name: "IMAP4rev2", states: imapAnyState},
	{name: "LITERAL+", states: imapAnyState},
	{name: "SASL-IR", states: imapAnyState},
	{name: "ID", states: imapAnyState},
	{name: "ENABLE", states: imapAnyState},
	{name: "STARTTLS", states: imapNotAuthenticated, needed: true, holds: (*imapSession).mayStartTLS},
	{name: "LOGINDISABLED", states: imapNotAuthenticated, needed: true, holds: func(s *imapSession) bool { return !s.mayLogin() }},
	{name: "AUTH=EXTERNAL", states: imapNotAuthenticated, holds: imapMay("EXTERNAL")},
	{name: "AUTH=OAUTHBEARER", states: imapNotAuthenticated, holds: imapMay("OAUTHBEARER")},
	{name: "AUTH=SCRAM-SHA-256-PLUS", states: imapNotAuthenticated, holds: imapMay("SCRAM-SHA-256-PLUS")},
	{name: "AUTH=SCRAM-SHA-256", states: imapNotAuthenticated, holds: imapMay("SCRAM-SHA-256")},
	{name: "AUTH=PLAIN", states: imapNotAuthenticated, holds: (*imapSession).mayLogin},
	{name: "AUTH=LOGIN", states: imapNotAuthenticated, holds: (*imapSession).mayLogin},
	{name: "IDLE", states: imapLoggedIn},
	{name: "NAMESPACE", states: imapLoggedIn},
	{name: "UIDPLUS", states: imapLoggedIn},
	{name: "MOVE", states: imapLoggedIn},
	{name: "UNSELECT", states: imapLoggedIn},
	{name: "CHILDREN", states: imapLoggedIn},
	{name: "LIST-EXTENDED", states: imapLoggedIn},
	{name: "LIST-STATUS", states: imapLoggedIn},
	{name: "SPECIAL-USE", states: imapLoggedIn},
	{name: "CREATE-SPECIAL-USE", states: imapLoggedIn},
	{name: "ESEARCH", states: imapLoggedIn},
	{name: "SEARCHRES", states: imapLoggedIn},
	{name: "MULTISEARCH", states: imapLoggedIn, needs: "ESEARCH"},
	{name: "STATUS=SIZE", states: imapLoggedIn},
	{name: "APPENDLIMIT", states: imapLoggedIn},
	{name: "BINARY", states: imapLoggedIn},
	{name: "WITHIN", states: imapLoggedIn},
	{name: "UTF8=ACCEPT", states: imapLoggedIn},
	{name: "CONDSTORE", states: imapLoggedIn},
	{name: "QRESYNC", states: imapLoggedIn, needs: "CONDSTORE"},
	{name: "UIDONLY", states: imapLoggedIn},
	{name: "METADATA", states: imapLoggedIn},
	{name: "METADATA-SERVER", states: imapLoggedIn},
	{name: "FILTERS", states: imapLoggedIn, needs: "METADATA-SERVER"},
	{name: "LIST-METADATA", states: imapLoggedIn, needs: "METADATA"},
	{name: "COMPRESS=DEFLATE", states: imapLoggedIn, holds: func(s *imapSession) bool { return !s.c.deflating() }},
	{name: "MULTIAPPEND", states: imapLoggedIn},
	{name: "CATENATE", states: imapLoggedIn},
	{name: "URL-PARTIAL", states: imapLoggedIn, needs: "CATENATE"},
	{name: "URLAUTH", states: imapLoggedIn},
	{name: "UNAUTHENTICATE", states: imapLoggedIn},
	{name: "SAVEDATE", states: imapLoggedIn},
	{name: "PREVIEW", states: imapLoggedIn},
	{name: "REPLACE", states: imapLoggedIn},
	{name: "ACL", states: imapLoggedIn},
	{name: "RIGHTS=kxte", states: imapLoggedIn, needs: "ACL"},
	{name: "LIST-MYRIGHTS", states: imapLoggedIn, needs: "ACL"},
	{name: "QUOTA", states: imapLoggedIn},
	{name: "QUOTASET", states: imapLoggedIn, needs: "QUOTA", holds: (*imapSession).setsQuotas},
	{name: "QUOTA=RES-STORAGE", states: imapLoggedIn, needs: "QUOTA"},
	{name: "QUOTA=RES-MESSAGE", states: imapLoggedIn, needs: "QUOTA"},
	{name: "SEARCH=FUZZY", states: imapLoggedIn},
	{name: "PARTIAL", states: imapLoggedIn},
	{name: "UIDBATCHES", states: imapLoggedIn},
	{name: "INPROGRESS", states: imapLoggedIn},
	{name: "MESSAGELIMIT", states: imapLoggedIn, holds: func(s *imapSession) bool { return s.door.limit > 0 },
		value: func(s *imapSession) string { return fmt.Sprintf("=%d", s.door.limit) }},
	{name: "SAVELIMIT", states: imapLoggedIn, holds: func(s *imapSession) bool { return s.door.limit == 0 && s.door.saveLimit > 0 },
		value: func(s *imapSession) string { return fmt.Sprintf("=%d", s.door.saveLimit) }}, // instead of the other
	{name: "SORT", states: imapLoggedIn},
	{name: "SORT=DISPLAY", states: imapLoggedIn},
	{name: "ESORT", states: imapLoggedIn},
	{name: "CONTEXT=SEARCH", states: imapLoggedIn, needs: "ESEARCH"},
	{name: "CONTEXT=SORT", states: imapLoggedIn, needs: "SORT"},
	{name: "THREAD=ORDEREDSUBJECT", states: imapLoggedIn},
	{name: "THREAD=REFERENCES", states: imapLoggedIn},
	{name: "THREAD=REFS", states: imapLoggedIn},
	{name: "I18NLEVEL=1", states: imapLoggedIn},
	{name: "OBJECTID", states: imapLoggedIn},
	{name: "NOTIFY", states: imapLoggedIn},
}

// capabilities are those that hold in this state, in one line.
func (s *imapSession) capabilities() string {
	var names []string
	for _, c := range imapCapabilities {
		if c.states&s.state == 0 || s.door.withholds(c.name) || c.holds != nil && !c.holds(s) {
			continue
		}
		name := c.name
		if c.value != nil {
			name += c.value(s)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// imapWithholdable are the names of the capabilities that can be withheld.
func imapWithholdable() (names []string) {
	for _, c := range imapCapabilities {
		if !c.needed {
			names = append(names, c.name)
		}
	}
	return names
}

// imapCapabilitySet turns names of capabilities, which have no case, into a set.
func imapCapabilitySet(names []string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[strings.ToUpper(name)] = true
	}
	return set
}

// withholds tells whether a capability is withheld from all clients, itself or one that
// it needs: it is not told, and ENABLE does not know it. Commands that came with it go on
// working, since a client that has not been told of them does not use them.
func (d *imapDoor) withholds(name string) bool {
	if len(d.without) == 0 {
		return false
	}
	name = strings.ToUpper(name)
	if d.without[name] {
		return true
	}
	i := slices.IndexFunc(imapCapabilities, func(c imapCapability) bool { return strings.EqualFold(c.name, name) })
	return i >= 0 && imapCapabilities[i].needs != "" && d.withholds(imapCapabilities[i].needs)
}

func (s *imapSession) cmdCapability() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.c.printf("* CAPABILITY %s", s.capabilities())
	return nil
}
