package main

import "strings"

// CAPABILITY, and which there are.

// imapCapability is a row of the capability table.
type imapCapability struct {
	name   string
	states imapState                   // in which it is told
	holds  func(s *imapSession) bool   // nil: always
	value  func(s *imapSession) string // told behind name, as in "APPENDLIMIT=1000"; nil: nothing
}

// imapCapabilities are in the order in which they are told.
var imapCapabilities = []imapCapability{
	{name: "IMAP4rev1", states: imapAnyState},
	{name: "IMAP4rev2", states: imapAnyState},
	{name: "LITERAL+", states: imapAnyState},
	{name: "SASL-IR", states: imapAnyState},
	{name: "ID", states: imapAnyState},
	{name: "ENABLE", states: imapAnyState},
	{name: "STARTTLS", states: imapNotAuthenticated, holds: (*imapSession).mayStartTLS},
	{name: "LOGINDISABLED", states: imapNotAuthenticated, holds: func(s *imapSession) bool { return !s.mayLogin() }},
	{name: "AUTH=SCRAM-SHA-256-PLUS", states: imapNotAuthenticated, holds: (*imapSession).mayScramPlus},
	{name: "AUTH=SCRAM-SHA-256", states: imapNotAuthenticated, holds: (*imapSession).mayScram},
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
	{name: "STATUS=SIZE", states: imapLoggedIn},
	{name: "APPENDLIMIT", states: imapLoggedIn},
	{name: "BINARY", states: imapLoggedIn},
	{name: "WITHIN", states: imapLoggedIn},
	{name: "UTF8=ACCEPT", states: imapLoggedIn},
	{name: "CONDSTORE", states: imapLoggedIn},
	{name: "QRESYNC", states: imapLoggedIn},
	{name: "MULTIAPPEND", states: imapLoggedIn},
	{name: "UNAUTHENTICATE", states: imapLoggedIn},
	{name: "SAVEDATE", states: imapLoggedIn},
	{name: "REPLACE", states: imapLoggedIn},
	{name: "PARTIAL", states: imapLoggedIn},
	{name: "SORT", states: imapLoggedIn},
	{name: "SORT=DISPLAY", states: imapLoggedIn},
	{name: "ESORT", states: imapLoggedIn},
	{name: "THREAD=ORDEREDSUBJECT", states: imapLoggedIn},
	{name: "THREAD=REFERENCES", states: imapLoggedIn},
	{name: "THREAD=REFS", states: imapLoggedIn},
	{name: "I18NLEVEL=1", states: imapLoggedIn},
}

// capabilities are those that hold in this state, in one line.
func (s *imapSession) capabilities() string {
	var names []string
	for _, c := range imapCapabilities {
		if c.states&s.state == 0 || c.holds != nil && !c.holds(s) {
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

func (s *imapSession) cmdCapability() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.c.printf("* CAPABILITY %s", s.capabilities())
	return nil
}
