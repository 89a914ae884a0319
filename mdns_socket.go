package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The network that multicast DNS speaks to.

var (
	mdnsGroup4 = netip.MustParseAddr("224.0.0.251") // RFC 6762, section 3
	mdnsGroup6 = netip.MustParseAddr("ff02::fb")
)

// mdnsSystem is the network of this box.
var mdnsSystem = mdnsNetwork{interfaces: mdnsInterfaces, open: mdnsOpen}

// mdnsInterfaces are those of this box that know multicast and lead to others.
func mdnsInterfaces() (list []mdnsInterface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("the addresses of %s: %w", i.Name, err)
		}
		one := mdnsInterface{name: i.Name, index: i.Index}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil { // all that an interface has are
				one.addresses = append(one.addresses, p)
			}
		}
		if len(one.addresses) > 0 {
			list = append(list, one)
		}
	}
	return list, nil
}

// mdnsUDP is a socket in a multicast group on one interface.
type mdnsUDP struct {
	*net.UDPConn
	group netip.AddrPort
}

func (s *mdnsUDP) read(p []byte) (int, netip.AddrPort, error) { return s.ReadFromUDPAddrPort(p) }
func (s *mdnsUDP) close() error                               { return s.Close() }

func (s *mdnsUDP) send(packet []byte) error { return s.sendTo(packet, s.group) }

func (s *mdnsUDP) sendTo(packet []byte, to netip.AddrPort) error {
	_, err := s.WriteToUDPAddrPort(packet, to)
	return err
}

// mdnsOpen opens a socket. It is bound to the group's address and not to all, so that what is sent to another
// responder of this box alone does not come here.
func mdnsOpen(i mdnsInterface, v6 bool) (mdnsSocket, error) {
	family := unix.AF_INET
	group := netip.AddrPortFrom(mdnsGroup4, mdnsPort)
	if v6 {
		family, group = unix.AF_INET6, netip.AddrPortFrom(mdnsGroup6.WithZone(i.name), mdnsPort)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	unix.CloseOnExec(fd)
	if v6 {
		err = mdnsJoin6(fd, i)
	} else {
		err = mdnsJoin4(fd, i)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), "mdns")
	conn, err := net.FilePacketConn(f) // which has a descriptor of its own
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return &mdnsUDP{conn.(*net.UDPConn), group}, nil
}

// mdnsStep is a system call on the way to a socket, and what it is for.
type mdnsStep struct {
	what string
	do   func() error
}

func mdnsSteps(steps ...mdnsStep) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// mdnsShare lets other responders of this box have the port, too (RFC 6762, section 15.1).
func mdnsShare(fd int) mdnsStep {
	return mdnsStep{"sharing port 5353", func() error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}}
}

func mdnsJoin4(fd int, i mdnsInterface) error {
	var own [4]byte
	for _, p := range i.addresses {
		if p.Addr().Is4() {
			own = p.Addr().As4()
			break
		}
	}
	return mdnsSteps(mdnsShare(fd),
		mdnsStep{"opening port 5353", func() error {
			return unix.Bind(fd, &unix.SockaddrInet4{Port: mdnsPort, Addr: mdnsGroup4.As4()})
		}},
		mdnsStep{"joining the group", func() error {
			return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: mdnsGroup4.As4(), Interface: own})
		}},
		mdnsStep{"choosing the interface", func() error {
			return unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, own)
		}},
		mdnsStep{"speaking to programs of this box", func() error { // one of them may have the name
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1)
		}},
		mdnsStep{"setting the TTL", func() error { // RFC 6762, section 11
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255)
		}})
}

func mdnsJoin6(fd int, i mdnsInterface) error {
	return mdnsSteps(mdnsShare(fd),
		mdnsStep{"IPv6 alone", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) }},
		mdnsStep{"opening port 5353", func() error {
			return unix.Bind(fd, &unix.SockaddrInet6{Port: mdnsPort, Addr: mdnsGroup6.As16(), ZoneId: uint32(i.index)})
		}},
		mdnsStep{"joining the group", func() error {
			return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: mdnsGroup6.As16(), Interface: uint32(i.index)})
		}},
		mdnsStep{"choosing the interface", func() error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.index)
		}},
		mdnsStep{"speaking to programs of this box", func() error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1)
		}},
		mdnsStep{"setting the hops", func() error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		}})
}
