package main

import (
	"cmp"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// What the page is told, and its address.

// makeWeb makes the page's door.
func (s *server) makeWeb(c *config, d *serverDoors, a *auth) *webDoor {
	deliverer := d.smtp.deliverer
	domains := c.domains
	if len(domains) == 0 {
		domains = []string{serverPageHost(c)}
	}
	return newWebDoor(s.web, webSettings{hostname: c.hostname, version: s.version, names: serverWebNames(c), domains: domains,
		isOurs: deliverer.isOurs, networks: serverTrusted(d.webNetworks), listening: s.listening, addresses: serverOwnAddresses,
		ca: s.certs.caCert, challenge: s.certs.acme.token, log: s.log, auth: a, store: s.store, admins: c.web.admins, onDelete: c.pop3.onDelete, popDays: c.pop3.expireDays(),
		aliases: c.aliases, now: s.clk.now, findings: func() []webFinding { return s.findings(c) },
		webWatching: webWatching{watchers: serverTrusted(c.web.metricsNetworks), metrics: s.metrics, health: s.health}})
}

// serverFinding is something that is not as it should be, and what to do about it.
type serverFinding struct{ what, hint string }

// findings looks at the box as letterbox check does.
func (s *server) findings(c *config) (findings []webFinding) {
	if s.check == nil {
		return nil
	}
	for _, f := range s.check(c) {
		findings = append(findings, webFinding{f.what, f.hint})
	}
	return findings
}

// serverLoginsFile has which devices have logged in. It is written now and then, since flash wears, and is of use to people only.
const serverLoginsFile = "logins"

func (s *server) readLogins() {
	text, err := os.ReadFile(filepath.Join(s.config.storage.path, serverDirectory, serverLoginsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		logServerLogins(s.log, err)
	}
	s.web.devices.read(text)
}

func (s *server) writeLogins() {
	text := s.web.devices.text()
	if text == nil {
		return
	}
	if err := fileReplace(filepath.Join(s.config.storage.path, serverDirectory, serverLoginsFile), text, 0o600); err != nil {
		s.web.devices.unwritten()
		logServerLogins(s.log, err)
	}
}

// serverWebNames are the names by which the page may be called. A name that somebody else can have
// in the DNS is none of them.
func serverWebNames(c *config) (names []string) {
	for _, name := range []string{c.hostname, configHostname()} {
		first, _, _ := strings.Cut(name, ".")
		names = append(names, name, first)
		for _, domain := range serverCADomains {
			names = append(names, first+"."+domain)
			if !strings.HasSuffix(name, "."+domain) {
				names = append(names, name+"."+domain)
			}
		}
	}
	for _, domain := range c.domains {
		names = append(names, strings.ToLower(domain))
	}
	for _, name := range c.tls.acme { // which the CA has seen to be this box's
		names = append(names, strings.ToLower(name))
	}
	names = append(names, "localhost")
	slices.Sort(names)
	return slices.Compact(names)
}

// serverPageHost is the name of this box for others at home.
func serverPageHost(c *config) string {
	if strings.Contains(c.hostname, ".") {
		return c.hostname
	}
	return c.hostname + ".local"
}

// serverPageURL is the page's address, "" if there is none: in clear if it can be had so, since a device that
// sees it for the first time does not trust this box yet.
func serverPageURL(c *config) string { return serverPageAt(c, serverPageHost(c)) }

// serverPageAt is the page's address by one of this box's names or addresses.
func serverPageAt(c *config, host string) string {
	for _, scheme := range []struct {
		name, usual string
		addresses   []string
	}{{"http", "80", c.listen.http}, {"https", "443", c.listen.https}} {
		switch port := serverFirstPort(scheme.addresses); port {
		case "":
		case scheme.usual:
			return scheme.name + "://" + host + "/"
		default:
			return scheme.name + "://" + host + ":" + port + "/"
		}
	}
	return ""
}

// serverPageQR is the page's address as a QR code for a terminal, "" if there is none. It has this box's
// address, if it has one at home: not every phone knows names that end with .local.
func serverPageQR(c *config) string {
	host := serverPageHost(c)
	if own := serverOwnAddresses(); len(own) > 0 {
		host = own[0]
	}
	page := serverPageAt(c, host)
	q := webQRMake(page)
	if page == "" || q == nil {
		return ""
	}
	return "\nThe page for a phone's camera:\n\n" + q.text()
}

// listening are the ports that are open: those for all before those for this machine alone.
func (s *server) listening() (services []webService) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !l.service.legacy {
			services = append(services, webService{l.service.name, strconv.Itoa(tcp.Port), tcp.IP.IsLoopback()})
		}
	}
	sort.Slice(services, func(i, j int) bool {
		a, b := services[i], services[j]
		if a.local != b.local {
			return b.local
		}
		return cmp.Or(len(a.port)-len(b.port), strings.Compare(a.port, b.port)) < 0
	})
	return services
}
