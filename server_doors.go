package main

import (
	"crypto/tls"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// serverDoors is what one configuration makes of the doors. It does not change; a
// reload makes new ones, and sessions that have begun keep theirs.
type serverDoors struct {
	smtp, submission, lmtp       *smtpDoor
	legacySMTP, legacySubmission *smtpDoor
	pop3                         *popDoor
	imap                         *imapDoor
	web                          *webDoor

	config                  *config
	networks, webNetworks   []string       // as configured
	trusted                 []netip.Prefix // what they mean on this box now
	connections, perAddress int
	modern, clients, legacy *tls.Config // clients: of the TLS ports where one logs in

	certs *serverCerts
	ready bool // there are certificates, so STARTTLS is offered
}

func (s *server) makeDoors(c *config) *serverDoors {
	serverLimit(s.store, c)
	d := &serverDoors{config: c, networks: c.smtp.trustedNetworks, trusted: serverTrusted(c.smtp.trustedNetworks),
		connections: c.limits.connections, perAddress: c.limits.connectionsPerAddress,
		modern: s.certs.modern, clients: s.certs.modern, legacy: s.certs.legacy, certs: s.certs, ready: s.certs.ready()}
	if c.tls.clientCA != "" { // those who send mail from elsewhere are not asked
		d.clients = s.certs.asking
	}
	starttls, starttlsClients, starttlsLegacy := d.modern, d.clients, d.legacy
	if !d.ready { // a client that tries it in vain may not go on without
		starttls, starttlsClients, starttlsLegacy = nil, nil, nil
	}
	s.mu.Lock()
	a := s.auth
	s.mu.Unlock()
	plaintext := authPlaintext(c.limits.plaintextAuth)
	smtp := smtpDoor{
		kind: smtpReception,
		deliverer: newDeliverer(deliverSettings{hostname: c.hostname, domains: serverDomains(c), aliases: c.aliases,
			userExists: a.exists, users: a.users, store: s.store, log: s.log}),
		auth: a, hostname: c.hostname, tls: starttls, plaintext: plaintext, trusted: d.trusted, public: c.smtp.public,
		maxMessageSize: int64(c.smtp.maxMessageSize), maxRecipients: c.smtp.maxRecipients, now: s.clock}
	submission, lmtp := smtp, smtp
	submission.kind, lmtp.kind = smtpSubmission, smtpLMTP
	legacySMTP, legacySubmission := smtp, submission
	submission.tls = starttlsClients
	legacySMTP.tls, legacySubmission.tls = starttlsLegacy, starttlsLegacy
	d.smtp, d.submission, d.lmtp, d.legacySMTP, d.legacySubmission = &smtp, &submission, &lmtp, &legacySMTP, &legacySubmission

	d.pop3 = &popDoor{auth: a, store: s.store, hostname: c.hostname, tls: starttlsClients, plaintext: plaintext,
		uidl: c.pop3.uidl, onDelete: c.pop3.onDelete, expire: retainTime(c.pop3.expireDays()), expires: serverExpires(c), marks: c.retains()}
	if c.pop3.lock {
		d.pop3.lock = s.locks
	}
	d.imap = &imapDoor{auth: a, store: s.store, hostname: c.hostname, version: s.version, tls: starttlsClients, plaintext: plaintext,
		appendLimit: int64(c.smtp.maxMessageSize), separator: c.imap.separator[0], prefix: c.imap.prefix, shared: c.imap.shared,
		quotaAdmins: c.limits.quotaAdmins, without: imapCapabilitySet(c.imap.without), annotations: serverAnnotations(c), limit: c.imap.messageLimit, saveLimit: c.imap.saveLimit,
		submitters: imapSubmitters(c.imap.submitUsers)}
	d.webNetworks = c.webNetworks()
	d.web = s.makeWeb(c, d, a)
	return d
}

// serverCapabilities are the words that [imap] without may have.
func serverCapabilities() []string { return imapWithholdable() }

func (d *serverDoors) tlsConfig(service *serverService) *tls.Config {
	switch {
	case service.legacy:
		return d.legacy
	case service.name == "https": // a browser would ask its user for a certificate
		return d.modern
	}
	return d.clients
}

// trusts tells whether an address is in the trusted networks. A unix socket is.
func (d *serverDoors) trusts(addr netip.Addr) bool {
	return !addr.IsValid() || slices.ContainsFunc(d.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// isCurrent tells whether the doors would be made the same now: the trusted networks
// still mean the same, and no first certificate has been made.
func (d *serverDoors) isCurrent() bool {
	return d.ready == d.certs.ready() && slices.Equal(d.trusted, serverTrusted(d.networks)) &&
		slices.Equal(d.web.networks, serverTrusted(d.webNetworks)) && slices.Equal(d.web.watchers, serverTrusted(d.config.web.metricsNetworks))
}

// serverAnnotations are what the server says of itself, for all users (RFC 5464, section
// 3.2.1.1).
func serverAnnotations(c *config) map[string]string {
	entries := map[string]string{"/shared/admin": "mailto:postmaster@" + c.hostname}
	maps.Copy(entries, c.entries)
	return entries
}

// serverDomains are the domains of this box, the hostname's two forms apart.
func serverDomains(c *config) []string {
	domains := []string{c.hostname, c.hostname + ".local", "localhost"}
	for _, domain := range c.domains {
		domains = append(domains, strings.ToLower(domain))
	}
	return domains
}

// serverNetworks are what the words of trusted_networks mean.
var serverNetworks = map[string][]netip.Prefix{
	configLoopback: {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	configPrivate: { // RFC 1918, RFC 3927, RFC 4193, RFC 4291
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10")},
}

// serverTrusted gives the prefixes that trusted_networks means on this box now.
func serverTrusted(networks []string) (trusted []netip.Prefix) {
	for _, network := range networks {
		if prefixes := serverNetworks[network]; prefixes != nil {
			trusted = append(trusted, prefixes...)
		} else if network == configInterfaces {
			trusted = append(trusted, serverInterfaces()...)
		} else if prefix, err := configPrefix(network); err == nil { // which configCheck has seen to
			trusted = append(trusted, prefix)
		}
	}
	return trusted
}

// serverInterfaces gives the networks that this box is in, sorted. A system that does
// not tell is in none.
func serverInterfaces() (prefixes []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Bits() > 0 {
			prefixes = append(prefixes, prefix.Masked())
		}
	}
	sort.Slice(prefixes, func(i, j int) bool { return prefixes[i].String() < prefixes[j].String() })
	return slices.Compact(prefixes)
}
