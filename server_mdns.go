package main

import "strconv"

// What the home network is told of this box.

// serverAnnounced are the services that mail programs look for, by the names of RFC 6186, section 3, and RFC 8314,
// section 5, and the page's.
var serverAnnounced = []struct{ service, kind string }{
	{"imaps", "_imaps._tcp"}, {"imap", "_imap._tcp"}, {"pop3s", "_pop3s._tcp"},
	{"submissions", "_submissions._tcp"}, {"submission", "_submission._tcp"}, {"https", "_https._tcp"},
}

// useMDNS tells the network what a configuration has, and no more what the one before had.
func (s *server) useMDNS(c *config) {
	s.mdns.close()
	s.mdns = nil
	if !c.mdns.enabled || s.multicast == nil {
		return
	}
	host, err := mdnsHost(c.hostname)
	if err != nil {
		logMDNS(s.log, "the hostname "+c.hostname, err)
		return
	}
	if services := s.announced(); len(services) > 0 {
		s.mdns = mdnsStart(mdnsSettings{host: host, services: services, network: *s.multicast, log: s.log})
	}
}

// announced are the services that others can reach.
func (s *server) announced() (services []mdnsService) {
	open := s.listening()
	for _, a := range serverAnnounced {
		for _, l := range open {
			port, err := strconv.ParseUint(l.port, 10, 16)
			if l.name == a.service && !l.local && err == nil {
				services = append(services, mdnsService{a.kind, uint16(port)})
				break
			}
		}
	}
	return services
}

// serverMulticast is the real network.
func serverMulticast() *mdnsNetwork { return &mdnsSystem }
