package main

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The mdns room: multicast DNS (RFC 6762) and DNS-based service discovery (RFC 6763). It tells the home network
// this box's name and services, so that phones find it without a DNS server. It knows names and ports, no
// protocol of mail and no configuration.
//
// On each network, for IPv4 and IPv6 apart:
//
//	probing --nobody answers--> ours: name, addresses and services are told
//	       \--another program of this box answers--> its name, our services --10 minutes--> probing
//	        \-another box answers--> nothing is told --10 minutes--> probing
//
// Where two have told one name, since they could not hear each other before, the higher address keeps it. Who has lost
// asks again, for the other may be gone, or it was never there: nobody knows who says what.
//
//	mdns_zone.go     the records, and which of them answer a question
//	mdns_socket.go   the network

// mdnsSettings is what there is to tell.
type mdnsSettings struct {
	host     string // "pi", for pi.local
	services []mdnsService
	network  mdnsNetwork
	log      *slog.Logger
}

// mdnsNetwork is what the room needs of the network; tests have another.
type mdnsNetwork struct {
	interfaces func() ([]mdnsInterface, error)
	open       func(i mdnsInterface, v6 bool) (mdnsSocket, error)
}

// mdnsInterface is a network this box is in.
type mdnsInterface struct {
	name      string
	index     int
	addresses []netip.Prefix // the box's, each with its network
}

// key tells whether it is still the same.
func (i mdnsInterface) key() string { return fmt.Sprint(i.name, i.index, i.addresses) }

// plain are the addresses without their networks.
func (i mdnsInterface) plain() (addresses []netip.Addr) {
	for _, p := range i.addresses {
		addresses = append(addresses, p.Addr())
	}
	return addresses
}

// has tells whether the interface can speak IPv4 or IPv6.
func (i mdnsInterface) has(v6 bool) bool {
	return slices.ContainsFunc(i.addresses, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
}

// near tells whether somebody is in the same network (RFC 6762, section 11).
func (i mdnsInterface) near(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() && a.Zone() != "" {
		return a.Zone() == i.name
	}
	return slices.ContainsFunc(i.addresses, func(p netip.Prefix) bool { return p.Masked().Contains(a.WithZone("")) })
}

// mdnsSocket sends to all of a network, or to one. read gives what comes; it fails when the socket is closed.
type mdnsSocket interface {
	read(p []byte) (n int, from netip.AddrPort, err error)
	send(packet []byte) error
	sendTo(packet []byte, to netip.AddrPort) error
	close() error
}

const (
	mdnsLook     = time.Minute            // how often interfaces are looked at
	mdnsProbes   = 3                      // RFC 6762, section 8.1, as the next
	mdnsProbeGap = 250 * time.Millisecond // between two probes
	mdnsAgain    = time.Second            // between two announcements, and two tellings of one record
	mdnsDefence  = 10 * time.Second       // between two tellings of a name that another has, too (RFC 6762, section 9)
	mdnsAnew     = 10 * time.Minute       // until a name that another had is asked for again
	mdnsPatience = 4                      // tries to send before it is logged
	mdnsComplain = time.Hour              // between two complaints about answers that cannot be sent
	mdnsPort     = 5353
)

// mdnsResponder answers on all networks. It is safe for concurrent use.
type mdnsResponder struct {
	mdnsSettings
	own  atomic.Pointer[[]netip.Addr] // on all interfaces
	sent mdnsSent

	mu     sync.Mutex // guards all below
	links  map[string]*mdnsLink
	timer  *time.Timer
	closed bool
	silent map[string]bool // interfaces that could not be opened, which was logged
}

// mdnsSent knows what was sent last, on all networks: it comes back, also by another interface in the same network.
type mdnsSent struct {
	mu   sync.Mutex // guards all below
	last [64]uint64 // hashes
	next int
}

var mdnsSeed = maphash.MakeSeed()

func (s *mdnsSent) add(packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[s.next] = maphash.Bytes(mdnsSeed, packet)
	s.next = (s.next + 1) % len(s.last)
}

func (s *mdnsSent) has(packet []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.last[:], maphash.Bytes(mdnsSeed, packet))
}

// mdnsStart begins to answer.
func mdnsStart(settings mdnsSettings) *mdnsResponder {
	r := &mdnsResponder{mdnsSettings: settings, links: map[string]*mdnsLink{}, silent: map[string]bool{}}
	r.mu.Lock() // look wants the timer
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(0, r.look)
	return r
}

// close takes back what was told, and ends.
func (r *mdnsResponder) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	links := r.links
	r.closed, r.links = true, nil
	r.timer.Stop()
	r.mu.Unlock()
	for _, l := range links {
		l.end(true)
	}
}

// look follows networks that come and go.
func (r *mdnsResponder) look() {
	interfaces, err := r.network.interfaces()
	if err != nil {
		logMDNS(r.log, "the networks cannot be listed", err)
	} else {
		var own []netip.Addr
		for _, i := range interfaces {
			own = append(own, i.plain()...)
		}
		r.own.Store(&own)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	defer r.timer.Reset(mdnsLook)
	if err != nil {
		return
	}
	wanted := map[string]bool{}
	for _, i := range interfaces {
		for _, v6 := range []bool{false, true} {
			key := fmt.Sprint(v6, " ", i.key())
			if !i.has(v6) {
				continue
			}
			if wanted[key] = true; r.links[key] != nil {
				continue
			}
			l, err := r.open(i, v6)
			if err != nil {
				if !r.silent[key] {
					logMDNS(r.log, "multicast DNS cannot be had on "+i.name, err)
				}
				r.silent[key] = true
				continue
			}
			delete(r.silent, key)
			r.links[key] = l
		}
	}
	for key, l := range maps.Clone(r.links) {
		if !wanted[key] {
			delete(r.links, key)
			l.end(false) // nobody hears there any more
		}
	}
}

// lost forgets a link that hears nothing any more, so that the next look opens it anew.
func (r *mdnsResponder) lost(l *mdnsLink) {
	r.mu.Lock()
	maps.DeleteFunc(r.links, func(_ string, other *mdnsLink) bool { return other == l })
	r.mu.Unlock()
	l.end(false)
}

// mdnsLink is one network, by IPv4 or IPv6.
type mdnsLink struct {
	r      *mdnsResponder
	on     mdnsInterface
	socket mdnsSocket

	mu       sync.Mutex // guards all below
	zone     *mdnsZone
	probing  int // probes that are still to be sent
	announce int // likewise, announcements
	timer    *time.Timer
	foreign  bool                 // another has the name: it is asked for again
	by       netip.Addr           // the box that had it last
	failed   int                  // tries in a row that could not be sent
	defended time.Time            // when the name was last told because another had it
	told     map[string]time.Time // when records were last told to all
	unsent   time.Time            // when it was last logged that an answer could not be sent
	ended    bool
}

func (r *mdnsResponder) open(i mdnsInterface, v6 bool) (*mdnsLink, error) {
	zone, err := r.zone(i, true)
	if err != nil {
		return nil, err
	}
	socket, err := r.network.open(i, v6)
	if err != nil {
		return nil, err
	}
	l := &mdnsLink{r: r, on: i, socket: socket, zone: zone, told: map[string]time.Time{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	l.timer = time.AfterFunc(time.Duration(rand.Int64N(int64(mdnsProbeGap))), l.step)
	go l.read()
	return l, nil
}

// zone makes the records for an interface. mine: the box's name is told, too.
func (r *mdnsResponder) zone(i mdnsInterface, mine bool) (*mdnsZone, error) {
	return mdnsMakeZone(r.host+".local.", mdnsInstance(r.host), mine, r.services, i.plain())
}

// begin is the state in which the name is asked for; l.mu is held.
func (l *mdnsLink) begin() { l.probing, l.announce, l.foreign = mdnsProbes, 2, false }

// step sends the next probe or announcement. What cannot be sent is tried again, ever later: an IPv6 address
// may need a second until it can be used.
func (l *mdnsLink) step() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var packet []byte
	var err error
	left, gap := &l.probing, mdnsProbeGap
	switch {
	case l.ended:
		return
	case l.probing > 0:
		packet, err = l.zone.probe()
	case l.announce > 0 && len(l.zone.records) > 0:
		left, gap = &l.announce, mdnsAgain
		packet, err = l.zone.announcement(false)
	case l.foreign:
		zone, err := l.r.zone(l.on, true)
		if err != nil {
			logMDNS(l.r.log, "asking for the name again", err)
			return
		}
		l.zone = zone
		l.begin()
		l.timer.Reset(0)
		return
	default:
		return
	}
	if err == nil {
		err = l.send(packet)
	}
	if err == nil {
		*left, l.failed = *left-1, 0
	} else {
		if l.failed++; l.failed == mdnsPatience {
			logMDNS(l.r.log, "telling the network", err)
		}
		gap = min(mdnsAgain<<min(l.failed, 10), mdnsLook)
	}
	if l.foreign && l.probing == 0 && l.announce == 0 {
		gap = mdnsAnew
	}
	l.timer.Reset(gap)
}

// send sends to all; l.mu is held.
func (l *mdnsLink) send(packet []byte) error {
	l.r.sent.add(packet)
	return l.socket.send(packet)
}

// end stops; it takes back what was told if somebody may hear it.
func (l *mdnsLink) end(goodbye bool) {
	l.mu.Lock()
	if l.ended = true; goodbye && l.probing == 0 && len(l.zone.records) > 0 {
		if packet, err := l.zone.announcement(true); err == nil {
			_ = l.socket.send(packet) // what was told ends by itself, too
		}
	}
	l.timer.Stop()
	l.mu.Unlock()
	_ = l.socket.close() // nothing that was written is lost by that
}

// read takes what comes until the socket is closed.
func (l *mdnsLink) read() {
	buf := make([]byte, 9000) // RFC 6762, section 17
	for {
		n, from, err := l.socket.read(buf)
		if err != nil {
			l.mu.Lock()
			ended := l.ended
			l.mu.Unlock()
			if !ended {
				logMDNS(l.r.log, "listening on "+l.on.name, err)
				l.r.lost(l)
			}
			return
		}
		if l.on.near(from.Addr().Unmap()) {
			l.hear(buf[:n], from)
		}
	}
}

// hear takes one packet. What is not understood is none of ours.
func (l *mdnsLink) hear(packet []byte, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.r.sent.has(packet) {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil || m.OpCode != 0 || m.RCode != dnsmessage.RCodeSuccess { // RFC 6762, sections 18.3 and 18.11
		return
	}
	switch {
	case m.Response && from.Port() == mdnsPort: // RFC 6762, section 6
		l.compare(append(m.Answers, m.Additionals...), from.Addr().Unmap().WithZone(""))
	case !m.Response && l.probing == 0:
		// Who asks may have made up an address to which nothing can be sent.
		if err := l.reply(&m, from); err != nil && time.Since(l.unsent) >= mdnsComplain {
			l.unsent = time.Now()
			logMDNS(l.r.log, "answering "+from.String(), err)
		}
	}
}

// compare looks for somebody who is called as this box; l.mu is held.
func (l *mdnsLink) compare(answers []dnsmessage.Resource, from netip.Addr) {
	addresses := mdnsAddressesOf(answers, l.zone.host)
	own := *l.r.own.Load() // one network may be reached by two interfaces
	if len(addresses) == 0 || len(l.zone.records) == 0 {
		return
	}
	foreign := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return slices.Contains(own, a) })
	switch mine := len(l.zone.find(dnsmessage.Question{Name: dnsmessage.MustNewName(l.zone.host), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET})) > 0; {
	case len(foreign) == len(addresses) && l.probing == 0 && mine && l.wins(foreign[0]):
		if now := time.Now(); now.Sub(l.defended) >= mdnsDefence {
			l.defended, l.announce = now, max(l.announce, 1)
			l.timer.Reset(0)
		}
	case len(foreign) == len(addresses): // another box
		if l.by != foreign[0] {
			l.by = foreign[0]
			logMDNSTaken(l.r.log, strings.TrimSuffix(l.zone.host, "."), l.by.String())
		}
		l.zone, l.probing, l.foreign = &mdnsZone{host: l.zone.host}, 0, true
		l.timer.Reset(mdnsAnew)
	case mine && l.probing > 0 && slices.Contains(own, from): // another program of this box was first
		zone, err := l.r.zone(l.on, false)
		if err != nil {
			logMDNS(l.r.log, "another program tells this box's name", err)
			return
		}
		l.zone, l.foreign = zone, true
	}
}

// wins decides between two boxes that have told one name both: the higher address keeps it (RFC 6762, section
// 8.2, has that for two that probe).
func (l *mdnsLink) wins(other netip.Addr) bool {
	own := *l.r.own.Load()
	return slices.ContainsFunc(own, func(a netip.Addr) bool { return a.BitLen() == other.BitLen() && a.Compare(other) > 0 })
}

// reply answers a query; l.mu is held.
func (l *mdnsLink) reply(m *dnsmessage.Message, from netip.AddrPort) error {
	r := l.zone.reply(m.Questions, m.Answers)
	if len(r.answers) == 0 {
		return nil
	}
	if from.Port() != mdnsPort { // a simple resolver
		packet, err := r.packet(m)
		if err != nil {
			return err
		}
		return l.socket.sendTo(packet, from)
	}
	if r.alone {
		packet, err := r.packet(nil)
		if err != nil {
			return err
		}
		return l.socket.sendTo(packet, from)
	}
	// What all were told just now they know, unless somebody is about to take the name (RFC 6762, section 6).
	if now := time.Now(); len(m.Authorities) == 0 {
		r.answers = slices.DeleteFunc(r.answers, func(record *mdnsRecord) bool {
			key := record.name + record.Header.Type.String() + fmt.Sprint(record.Body)
			if now.Sub(l.told[key]) < mdnsAgain {
				return true
			}
			l.told[key] = now
			return false
		})
	}
	if len(r.answers) == 0 {
		return nil
	}
	packet, err := r.packet(nil)
	if err != nil {
		return err
	}
	if !r.shared {
		return l.send(packet)
	}
	time.AfterFunc(time.Duration(20+rand.IntN(100))*time.Millisecond, func() { // RFC 6762, section 6
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.ended {
			return
		}
		if err := l.send(packet); err != nil {
			logMDNS(l.r.log, "telling the network", err)
		}
	})
	return nil
}

// errMDNSHost refuses a name that cannot be told.
var errMDNSHost = errors.New("this is no name for a box in .local")

// mdnsHost gives a box's name in .local: the first part of its hostname.
func mdnsHost(hostname string) (string, error) {
	first, _, _ := strings.Cut(strings.ToLower(hostname), ".")
	if first == "" || first == "localhost" || len(mdnsInstance(first)) > 63 { // RFC 1035, section 2.3.4
		return "", errMDNSHost
	}
	return first, nil
}

// mdnsInstance is what people see in a list of services.
func mdnsInstance(host string) string { return "Letterbox on " + host }
