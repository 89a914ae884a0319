package main

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
)

// What the page is told, and its address.

// makeWeb makes the page's door.
func (s *server) makeWeb(c *config, d *serverDoors) *webDoor {
	deliverer := d.smtp.deliverer
	domains := c.domains
	if len(domains) == 0 {
		domains = []string{serverPageHost(c)}
	}
	return newWebDoor(s.web, webSettings{hostname: c.hostname, version: s.version, names: serverWebNames(c), domains: domains,
		isOurs: deliverer.isOurs, networks: serverTrusted(d.webNetworks), listening: s.listening, addresses: serverOwnAddresses,
		ca: s.certs.caCert, log: s.log})
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
func serverPageURL(c *config) string {
	for _, scheme := range []struct {
		name, usual string
		addresses   []string
	}{{"http", "80", c.listen.http}, {"https", "443", c.listen.https}} {
		switch port := serverFirstPort(scheme.addresses); port {
		case "":
		case scheme.usual:
			return scheme.name + "://" + serverPageHost(c) + "/"
		default:
			return scheme.name + "://" + serverPageHost(c) + ":" + port + "/"
		}
	}
	return ""
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
	slices.SortFunc(services, func(a, b webService) int {
		if a.local != b.local {
			if a.local {
				return 1
			}
			return -1
		}
		return cmp.Or(len(a.port)-len(b.port), strings.Compare(a.port, b.port))
	})
	return services
}
