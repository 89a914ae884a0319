package main

import "strings"

// What mail programs have to be told, from the ports that are open.

// webServer is one server of a mail program's settings.
type webServer struct {
	Kind     string // "IMAP", "POP3", "SMTP"
	Host     string
	Port     string
	Implicit bool // TLS from the first byte, else STARTTLS
}

// Security is what mail programs call it.
func (s webServer) Security() string {
	if s.Implicit {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// webKinds are the services of mail programs, the better one of each kind first.
var webKinds = []struct {
	service, kind string
	implicit      bool
}{
	{"imaps", "IMAP", true}, {"imap", "IMAP", false},
	{"pop3s", "POP3", true}, {"pop3", "POP3", false},
	{"submissions", "SMTP", true}, {"submission", "SMTP", false},
}

// servers are all servers that this visitor can reach.
func (v *webVisit) servers() (servers []webServer) {
	for _, k := range webKinds {
		if port := v.port(k.service); port != "" {
			servers = append(servers, webServer{k.kind, v.mailHost(), port, k.implicit})
		}
	}
	return servers
}

// webBest is the best server of a kind, nil if there is none.
func webBest(servers []webServer, kind string) *webServer {
	for i := range servers {
		if servers[i].Kind == kind {
			return &servers[i]
		}
	}
	return nil
}

// webLocal gives the name of the user whom a mail address means, by what stands before the @.
func webLocal(email string) string {
	local, _, _ := strings.Cut(email, "@")
	return strings.ToLower(local)
}

// address is a user's mail address.
func (v *webVisit) address(user string) string { return user + "@" + v.mailDomain() }

// mailDomain is what stands behind the @ of users' addresses.
func (v *webVisit) mailDomain() string {
	if len(v.domains) > 0 {
		return v.domains[0]
	}
	return v.boxName()
}

// isOurAddress tells whether an address is one of this box, as far as its form goes.
func (v *webVisit) isOurAddress(email string) bool {
	a, err := addressParse(email)
	return err == nil && a.domain != "" && v.isOurs(a.domain)
}
