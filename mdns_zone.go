package main

import (
	"bytes"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// What is said: the records, and which of them answer a question.

// How long others may keep what they were told, in seconds (RFC 6762, section 10).
const (
	mdnsHostTTL  = 120  // what has a host's name or address in it
	mdnsOtherTTL = 4500 // the rest
	mdnsOldTTL   = 10   // for those who ask as they ask any DNS server (RFC 6762, section 6.7)
)

const (
	mdnsTypeNSEC   = dnsmessage.Type(47)
	mdnsClassFlush = dnsmessage.Class(1 << 15) // of a record: forget what you knew; of a question: tell me alone
	mdnsPacketMost = 1440                      // bytes that fit into every network's packet
)

// mdnsService is a service of this box: "_imaps._tcp" and its port.
type mdnsService struct {
	kind string
	port uint16
}

// mdnsRecord is a record, and whether it is this box's alone (RFC 6762, section 2).
type mdnsRecord struct {
	name   string // in lower case
	unique bool
	dnsmessage.Resource
}

// mdnsZone is all that is said on one network.
type mdnsZone struct {
	host    string // "pi.local."
	records []mdnsRecord
}

// mdnsMakeZone makes the records. addresses are the box's on that network; if another program on this
// box tells them already, host is that program's, and mine is false.
func mdnsMakeZone(host, instance string, mine bool, services []mdnsService, addresses []netip.Addr) (*mdnsZone, error) {
	z := &mdnsZone{host: strings.ToLower(host)}
	target, err := dnsmessage.NewName(host)
	if err != nil {
		return nil, err
	}
	if mine {
		types := []dnsmessage.Type{}
		for _, a := range addresses {
			if a.Is4() {
				z.add(target, true, mdnsHostTTL, &dnsmessage.AResource{A: a.As4()})
				types = append(types, dnsmessage.TypeA)
			} else {
				z.add(target, true, mdnsHostTTL, &dnsmessage.AAAAResource{AAAA: a.As16()})
				types = append(types, dnsmessage.TypeAAAA)
			}
		}
		z.addTypes(target, mdnsHostTTL, types)
	}
	enumeration := dnsmessage.MustNewName("_services._dns-sd._udp.local.") // RFC 6763, section 9
	for _, s := range services {
		kind, err := dnsmessage.NewName(s.kind + ".local.")
		if err != nil {
			return nil, err
		}
		name, err := dnsmessage.NewName(instance + "." + s.kind + ".local.")
		if err != nil {
			return nil, err
		}
		z.add(enumeration, false, mdnsOtherTTL, &dnsmessage.PTRResource{PTR: kind})
		z.add(kind, false, mdnsOtherTTL, &dnsmessage.PTRResource{PTR: name})
		z.add(name, true, mdnsHostTTL, &dnsmessage.SRVResource{Port: s.port, Target: target})
		z.add(name, true, mdnsOtherTTL, &dnsmessage.TXTResource{TXT: []string{""}}) // RFC 6763, section 6.1: there must be one
		z.addTypes(name, mdnsOtherTTL, []dnsmessage.Type{dnsmessage.TypeTXT, dnsmessage.TypeSRV})
	}
	return z, nil
}

func (z *mdnsZone) add(name dnsmessage.Name, unique bool, ttl uint32, body dnsmessage.ResourceBody) {
	class := dnsmessage.ClassINET
	if unique {
		class |= mdnsClassFlush
	}
	kind := mdnsTypeNSEC
	switch body := body.(type) {
	case *dnsmessage.AResource:
		kind = dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		kind = dnsmessage.TypeAAAA
	case *dnsmessage.PTRResource:
		kind = dnsmessage.TypePTR
	case *dnsmessage.SRVResource:
		kind = dnsmessage.TypeSRV
	case *dnsmessage.TXTResource:
		kind = dnsmessage.TypeTXT
	case *dnsmessage.UnknownResource:
		kind = body.Type
	}
	z.records = append(z.records, mdnsRecord{strings.ToLower(name.String()), unique,
		dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Type: kind, Class: class, TTL: ttl}, Body: body}})
}

// addTypes says that a name has records of these types and no others, so that nobody waits for others
// (RFC 6762, section 6.1).
func (z *mdnsZone) addTypes(name dnsmessage.Name, ttl uint32, types []dnsmessage.Type) {
	if len(types) == 0 {
		return
	}
	var data []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name.String(), "."), ".") {
		data = append(append(data, byte(len(label))), label...)
	}
	highest := slices.Max(types)
	bits := make([]byte, highest/8+1) // RFC 4034, section 4.1.2: all are in the first window
	for _, t := range types {
		bits[t/8] |= 0x80 >> (t % 8)
	}
	data = append(append(data, 0, 0, byte(len(bits))), bits...)
	z.add(name, true, ttl, &dnsmessage.UnknownResource{Type: mdnsTypeNSEC, Data: data})
}

// mdnsReply is what answers a question.
type mdnsReply struct {
	answers, more []*mdnsRecord
	alone         bool // the one who asks wants it by itself
	shared        bool // others may answer, too: it waits a little
}

// reply gives what answers a query; nothing if that is not ours to answer.
func (z *mdnsZone) reply(questions []dnsmessage.Question, known []dnsmessage.Resource) (r mdnsReply) {
	r.alone = true
	seen := map[*mdnsRecord]bool{} // a packet may ask the same a thousand times
	for _, q := range questions {
		found := z.find(q)
		if len(found) > 0 && q.Class&mdnsClassFlush == 0 {
			r.alone = false
		}
		for _, record := range found {
			if seen[record] {
				continue
			}
			if seen[record] = true; !mdnsKnown(record, known) {
				r.answers, r.shared = append(r.answers, record), r.shared || !record.unique
			}
		}
	}
	// What is asked for next comes along (RFC 6763, section 12).
	for i := 0; i < len(r.answers)+len(r.more); i++ {
		var record *mdnsRecord
		if record = nil; i < len(r.answers) {
			record = r.answers[i]
		} else {
			record = r.more[i-len(r.answers)]
		}
		var next string
		switch body := record.Body.(type) {
		case *dnsmessage.PTRResource:
			next = body.PTR.String()
		case *dnsmessage.SRVResource:
			next = body.Target.String()
		case *dnsmessage.AResource, *dnsmessage.AAAAResource:
			next = record.name
		}
		for j := range z.records {
			other := &z.records[j]
			if next != "" && strings.EqualFold(other.name, next) && other.unique && !slices.Contains(r.answers, other) && !slices.Contains(r.more, other) {
				r.more = append(r.more, other)
			}
		}
	}
	return r
}

// find gives the records that a question asks for, or that there is no such record of a name that is ours.
func (z *mdnsZone) find(q dnsmessage.Question) (found []*mdnsRecord) {
	if class := q.Class &^ mdnsClassFlush; class != dnsmessage.ClassINET && class != dnsmessage.ClassANY {
		return nil
	}
	name := strings.ToLower(q.Name.String())
	var none *mdnsRecord
	for i := range z.records {
		record := &z.records[i]
		switch {
		case record.name != name:
		case record.Header.Type == mdnsTypeNSEC:
			none = record
		case q.Type == record.Header.Type || q.Type == dnsmessage.TypeALL:
			found = append(found, record)
		}
	}
	if len(found) == 0 && none != nil {
		found = append(found, none)
	}
	return found
}

// mdnsKnown tells whether the one who asks has a record already, for half its time at least (RFC 6762,
// section 7.1).
func mdnsKnown(record *mdnsRecord, known []dnsmessage.Resource) bool {
	return slices.ContainsFunc(known, func(k dnsmessage.Resource) bool {
		return strings.EqualFold(k.Header.Name.String(), record.name) && k.Header.Type == record.Header.Type &&
			k.Header.TTL >= record.Header.TTL/2 && mdnsSameBody(k.Body, record.Body)
	})
}

// mdnsSameBody compares two bodies of one type.
func mdnsSameBody(a, b dnsmessage.ResourceBody) bool {
	switch a := a.(type) {
	case *dnsmessage.AResource:
		b, ok := b.(*dnsmessage.AResource)
		return ok && a.A == b.A
	case *dnsmessage.AAAAResource:
		b, ok := b.(*dnsmessage.AAAAResource)
		return ok && a.AAAA == b.AAAA
	case *dnsmessage.PTRResource:
		b, ok := b.(*dnsmessage.PTRResource)
		return ok && strings.EqualFold(a.PTR.String(), b.PTR.String())
	case *dnsmessage.SRVResource:
		b, ok := b.(*dnsmessage.SRVResource)
		return ok && a.Port == b.Port && a.Priority == b.Priority && a.Weight == b.Weight && strings.EqualFold(a.Target.String(), b.Target.String())
	case *dnsmessage.TXTResource:
		b, ok := b.(*dnsmessage.TXTResource)
		return ok && slices.Equal(a.TXT, b.TXT)
	case *dnsmessage.UnknownResource:
		b, ok := b.(*dnsmessage.UnknownResource)
		return ok && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	}
	return false
}

// packet makes the response. Who asks as any DNS server is asked gets the question back, and nothing that only
// multicast DNS knows (RFC 6762, section 6.7). What has no room is left out: it was not asked for.
func (r *mdnsReply) packet(old *dnsmessage.Message) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	if old != nil {
		m.ID, m.Questions = old.ID, old.Questions
	}
	resources := func(records []*mdnsRecord) (list []dnsmessage.Resource) {
		for _, record := range records {
			resource := record.Resource
			if old != nil {
				if resource.Header.Type == mdnsTypeNSEC {
					continue
				}
				resource.Header.TTL = min(resource.Header.TTL, mdnsOldTTL)
				resource.Header.Class &^= mdnsClassFlush
			}
			list = append(list, resource)
		}
		return list
	}
	m.Answers, m.Additionals = resources(r.answers), resources(r.more)
	packet, err := m.Pack()
	for ; err == nil && len(packet) > mdnsPacketMost && len(m.Additionals) > 0; packet, err = m.Pack() {
		m.Additionals = m.Additionals[:len(m.Additionals)-1]
	}
	return packet, err
}

// announcement has all records; ttl 0 takes them back (RFC 6762, sections 8.3 and 10.1).
func (z *mdnsZone) announcement(leaving bool) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	for i := range z.records {
		resource := z.records[i].Resource
		if leaving {
			resource.Header.TTL = 0
		}
		m.Answers = append(m.Answers, resource)
	}
	return m.Pack()
}

// probe asks whether anybody else is called so (RFC 6762, section 8.1). All are to hear the answer, although that section would
// have it sent to us alone: our socket hears what is said to all.
func (z *mdnsZone) probe() ([]byte, error) {
	name, err := dnsmessage.NewName(z.host)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}}}
	for i := range z.records {
		if record := &z.records[i]; record.name == z.host && record.Header.Type != mdnsTypeNSEC {
			resource := record.Resource
			resource.Header.Class &^= mdnsClassFlush
			m.Authorities = append(m.Authorities, resource)
		}
	}
	return m.Pack()
}

// mdnsAddressesOf gives the addresses that a response tells for a name.
func mdnsAddressesOf(answers []dnsmessage.Resource, host string) (addresses []netip.Addr) {
	for _, a := range answers {
		if !strings.EqualFold(a.Header.Name.String(), host) || a.Header.TTL == 0 {
			continue
		}
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			addresses = append(addresses, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			addresses = append(addresses, netip.AddrFrom16(body.AAAA))
		}
	}
	sort.SliceStable(addresses, func(i, j int) bool { return addresses[i].BitLen() < addresses[j].BitLen() })
	return addresses
}
