package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// testMDNSWire is a network: what one sends all hear, the sender included.
type testMDNSWire struct {
	mu      sync.Mutex
	sockets []*testMDNSSocket
}

type testMDNSSocket struct {
	wire *testMDNSWire
	addr netip.AddrPort
	in   chan testMDNSPacket
	once sync.Once
	done chan struct{}
}

type testMDNSPacket struct {
	from netip.AddrPort
	b    []byte
}

func (w *testMDNSWire) join(addr string) *testMDNSSocket {
	s := &testMDNSSocket{wire: w, addr: netip.MustParseAddrPort(addr), in: make(chan testMDNSPacket, 100), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = append(w.sockets, s)
	return s
}

func (s *testMDNSSocket) read(p []byte) (int, netip.AddrPort, error) {
	select {
	case packet := <-s.in:
		return copy(p, packet.b), packet.from, nil
	case <-s.done:
		return 0, netip.AddrPort{}, errors.New("closed")
	}
}

func (s *testMDNSSocket) give(to func(*testMDNSSocket) bool, b []byte) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	for _, other := range s.wire.sockets {
		if to(other) {
			other.in <- testMDNSPacket{s.addr, bytes.Clone(b)}
		}
	}
}

func (s *testMDNSSocket) send(b []byte) error {
	s.give(func(other *testMDNSSocket) bool { return other.addr.Port() == mdnsPort }, b)
	return nil
}

func (s *testMDNSSocket) sendTo(b []byte, to netip.AddrPort) error {
	s.give(func(other *testMDNSSocket) bool { return other.addr == to }, b)
	return nil
}

func (s *testMDNSSocket) close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// heard gives, in words, all that has come.
func (s *testMDNSSocket) heard() (lines []string) {
	synctest.Wait()
	for {
		select {
		case packet := <-s.in:
			lines = append(lines, testMDNSWords(packet.b))
		default:
			return lines
		}
	}
}

func testMDNSWords(b []byte) string {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return err.Error()
	}
	var words []string
	for _, q := range m.Questions {
		if q.Type == dnsmessage.TypeALL && q.Class&mdnsClassFlush != 0 {
			words = append(words, "alone") // our socket would not hear the answer
		}
		words = append(words, fmt.Sprintf("?%s %s", q.Name, strings.TrimPrefix(q.Type.String(), "Type")))
	}
	for _, section := range [][]dnsmessage.Resource{m.Answers, m.Additionals} {
		for _, r := range section {
			value := ""
			switch body := r.Body.(type) {
			case *dnsmessage.AResource:
				value = netip.AddrFrom4(body.A).String()
			case *dnsmessage.PTRResource:
				value = body.PTR.String()
			case *dnsmessage.SRVResource:
				value = fmt.Sprint(body.Target, body.Port)
			case *dnsmessage.UnknownResource:
				value = fmt.Sprintf("%x", body.Data[len(body.Data)-3:])
			}
			flush := map[bool]string{true: "!"}[r.Header.Class&mdnsClassFlush != 0]
			words = append(words, fmt.Sprintf("%s%s %s %s %d", flush, r.Header.Name, strings.TrimPrefix(r.Header.Type.String(), "Type"), value, r.Header.TTL))
		}
		words = append(words, "+")
	}
	return strings.TrimRight(strings.Join(words, "; "), "; +")
}

func testMDNSQuery(t *testing.T, name string, kind dnsmessage.Type, alone bool, known ...dnsmessage.Resource) []byte {
	class := dnsmessage.ClassINET
	if alone {
		class |= mdnsClassFlush
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}}, Answers: known}
	b, err := m.Pack()
	must(t, err)
	return b
}

func testMDNS(wire *testMDNSWire, log *slog.Logger, addr string) *mdnsResponder {
	return mdnsStart(mdnsSettings{host: "pi", services: []mdnsService{{"_imaps._tcp", 993}}, log: log,
		network: mdnsNetwork{
			interfaces: func() ([]mdnsInterface, error) {
				return []mdnsInterface{{name: "eth0", index: 2, addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}}, nil
			},
			open: func(i mdnsInterface, v6 bool) (mdnsSocket, error) {
				return wire.join(i.addresses[0].Addr().String() + ":5353"), nil
			}}})
}

func TestMDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		wire := &testMDNSWire{}
		phone, old, far := wire.join("192.168.1.9:5353"), wire.join("192.168.1.8:40000"), wire.join("10.0.0.1:5353")
		box := testMDNS(wire, slog.New(slog.NewTextHandler(&log, nil)), "192.168.1.5/24")
		defer box.close()
		time.Sleep(5 * time.Second)
		const service = "Letterbox on pi._imaps._tcp.local."
		const a, srv = "!pi.local. A 192.168.1.5 120; !pi.local. 47 000140 120", "!" + service + " SRV pi.local. 993 120; !" + service + " TXT  4500; !" + service + " 47 800040 4500"
		all := a + "; _services._dns-sd._udp.local. PTR _imaps._tcp.local. 4500; _imaps._tcp.local. PTR " + service + " 4500; " + srv
		if got, want := phone.heard(), []string{"?pi.local. ALL", "?pi.local. ALL", "?pi.local. ALL", all, all}; !slices.Equal(got, want) {
			t.Fatalf("at the start:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		far.heard()
		ptr := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("_imaps._tcp.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: 3000},
			Body: &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(service)}}
		stale := ptr
		stale.Header.TTL = 2000
		for _, c := range []struct {
			what string
			from *testMDNSSocket
			b    []byte
			want []string // one for each packet that who asked hears
		}{
			{"the address", phone, testMDNSQuery(t, "PI.local.", dnsmessage.TypeA, false), []string{"?PI.local. A", a}},
			{"the address again at once", phone, testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, false), []string{"?pi.local. A"}},
			{"the address, told alone", phone, testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, true), []string{"?pi.local. A", a}},
			{"an address that there is not", phone, testMDNSQuery(t, "pi.local.", dnsmessage.TypeAAAA, true), []string{"?pi.local. AAAA", "!pi.local. 47 000140 120"}},
			{"the services", phone, testMDNSQuery(t, "_services._dns-sd._udp.local.", dnsmessage.TypePTR, false), []string{"?_services._dns-sd._udp.local. PTR", "_services._dns-sd._udp.local. PTR _imaps._tcp.local. 4500"}},
			{"a service", phone, testMDNSQuery(t, "_imaps._tcp.local.", dnsmessage.TypePTR, false),
				[]string{"?_imaps._tcp.local. PTR", "_imaps._tcp.local. PTR " + service + " 4500; +; " + srv + "; " + a}},
			{"a service that is known", phone, testMDNSQuery(t, "_imaps._tcp.local.", dnsmessage.TypePTR, false, ptr), []string{"?_imaps._tcp.local. PTR; _imaps._tcp.local. PTR " + service + " 3000"}},
			{"a service that is known not much longer", phone, testMDNSQuery(t, "_imaps._tcp.local.", dnsmessage.TypePTR, true, stale),
				[]string{"?_imaps._tcp.local. PTR; _imaps._tcp.local. PTR " + service + " 2000", "_imaps._tcp.local. PTR " + service + " 4500; +; " + srv + "; " + a}},
			{"a name of another", phone, testMDNSQuery(t, "nas.local.", dnsmessage.TypeA, false), []string{"?nas.local. A"}},
			{"a simple resolver", old, testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, false), []string{"?pi.local. A; pi.local. A 192.168.1.5 10"}},
			{"from another network", far, testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, true), []string{"?pi.local. A"}},
			{"what is no query", phone, []byte("GET / HTTP/1.1\r\n\r\n"), []string{"unpacking header: authorities count"}},
		} {
			c.from.heard()
			must(t, c.from.send(c.b))
			time.Sleep(200 * time.Millisecond)
			got := c.from.heard()
			for i := range min(len(got), len(c.want)) {
				if c.what == "what is no query" {
					got[i] = c.want[i]
				}
				got[i] = strings.ReplaceAll(got[i], "; +; !pi.local. 47 000140 120", "; !pi.local. 47 000140 120") // asked for, or along with it
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s:\n%s\nwant\n%s", c.what, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		}
		phone.heard()
		box.close()
		if got := phone.heard(); len(got) != 1 || !strings.Contains(got[0], "!pi.local. A 192.168.1.5 0; ") {
			t.Errorf("at the end: %s", got)
		}
		if log.Len() > 0 {
			t.Errorf("%s", &log)
		}
	})
}

// Who has the name already is asked first.
func TestMDNSTaken(t *testing.T) {
	for _, c := range []struct {
		what, addr string
		told       string // the first announcement's beginning
		logged     string
	}{
		{"another box", "192.168.1.77", "", "address=192.168.1.77"},
		{"another program of this box", "192.168.1.5", "_services._dns-sd._udp.local. PTR", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				wire := &testMDNSWire{}
				other := wire.join(c.addr + ":5353")
				box := testMDNS(wire, slog.New(slog.NewTextHandler(&log, nil)), "192.168.1.5/24")
				time.Sleep(300 * time.Millisecond)
				if got := other.heard(); len(got) == 0 || got[0] != "?pi.local. ALL" {
					t.Fatalf("%s", got)
				}
				zone, err := mdnsMakeZone("pi.local.", "", true, nil, []netip.Addr{netip.MustParseAddr(c.addr)})
				must(t, err)
				answer, err := zone.announcement(false)
				must(t, err)
				must(t, other.send(answer))
				time.Sleep(5 * time.Second)
				said := strings.Join(slices.DeleteFunc(other.heard(), func(line string) bool { return strings.HasPrefix(line, "?") || line == testMDNSWords(answer) }), "\n")
				if !strings.HasPrefix(said, c.told) || (c.told == "") != (said == "") || strings.Contains(said, " A ") {
					t.Errorf("it tells %s", said)
				}
				if !strings.Contains(log.String(), c.logged) || (c.logged == "") != (log.Len() == 0) {
					t.Errorf("log: %s", &log)
				}
				// It is asked again, and taken when nobody answers any more. Who answers as before is not news.
				time.Sleep(mdnsAnew - 10*time.Second)
				for n := 0; !slices.Contains(other.heard(), "?pi.local. ALL"); n++ {
					if time.Sleep(100 * time.Millisecond); n > 200 {
						t.Fatal("it does not ask again")
					}
				}
				must(t, other.send(answer))
				time.Sleep(mdnsAnew / 2)
				if said := strings.ReplaceAll(strings.Join(other.heard(), "\n"), testMDNSWords(answer), ""); strings.Contains(said, " A ") {
					t.Errorf("ten minutes later it tells %s", said)
				}
				time.Sleep(mdnsAnew)
				if said := strings.Join(other.heard(), "\n"); !strings.Contains(said, "!pi.local. A 192.168.1.5 120") {
					t.Errorf("when the name is free, it tells %s", said)
				}
				if strings.Count(log.String(), "\n") > 1 {
					t.Errorf("log: %s", &log)
				}
				box.close()
			})
		})
	}
}

// Two boxes that have told one name both: the higher address keeps it.
func TestMDNSBoth(t *testing.T) {
	for addr, keeps := range map[string]bool{"192.168.1.4": true, "192.168.1.77": false} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			wire := &testMDNSWire{}
			box := testMDNS(wire, slog.New(slog.NewTextHandler(&log, nil)), "192.168.1.5/24")
			defer box.close()
			time.Sleep(5 * time.Second)
			other := wire.join(addr + ":5353")
			zone, err := mdnsMakeZone("pi.local.", "", true, nil, []netip.Addr{netip.MustParseAddr(addr)})
			must(t, err)
			theirs, err := zone.announcement(false)
			must(t, err)
			must(t, other.send(theirs))
			must(t, other.send(theirs)) // a second one at once is not answered
			time.Sleep(5 * time.Second)
			said := slices.DeleteFunc(other.heard(), func(line string) bool { return line == testMDNSWords(theirs) })
			must(t, other.send(testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, true)))
			answered := len(other.heard()) > 1
			if (len(said) == 1) != keeps || answered != keeps || strings.Contains(log.String(), "address="+addr) == keeps {
				t.Errorf("against %s it tells %s, answers: %v, log: %s", addr, said, answered, &log)
			}
		})
	}
}

// Who says that this box's own address has the name, and is not this box, takes nothing from it.
func TestMDNSSpoofed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &testMDNSWire{}
		phone := wire.join("192.168.1.9:5353")
		box := testMDNS(wire, slog.New(slog.DiscardHandler), "192.168.1.5/24")
		defer box.close()
		zone, err := mdnsMakeZone("pi.local.", "", true, nil, []netip.Addr{netip.MustParseAddr("192.168.1.5")})
		must(t, err)
		answer, err := zone.announcement(false)
		must(t, err)
		time.Sleep(300 * time.Millisecond)
		must(t, phone.send(answer))
		time.Sleep(5 * time.Second)
		phone.heard()
		must(t, phone.send(testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, true)))
		if got := phone.heard(); len(got) != 2 {
			t.Errorf("it says %s", got)
		}
	})
}

// By cable and by radio in one network, the box hears itself, and each of the two tells its own address.
func TestMDNSTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		wire := &testMDNSWire{}
		phone := wire.join("192.168.1.9:5353")
		box := mdnsStart(mdnsSettings{host: "pi", log: slog.New(slog.NewTextHandler(&log, nil)), network: mdnsNetwork{
			interfaces: func() (list []mdnsInterface, err error) {
				for i, addr := range []string{"192.168.1.5/24", "192.168.1.6/24"} {
					list = append(list, mdnsInterface{name: fmt.Sprint("eth", i), index: i, addresses: []netip.Prefix{netip.MustParsePrefix(addr)}})
				}
				return list, nil
			},
			open: func(i mdnsInterface, v6 bool) (mdnsSocket, error) {
				if i.index == 1 {
					time.Sleep(mdnsProbeGap) // it is later by chance, too
				}
				return wire.join(i.addresses[0].Addr().String() + ":5353"), nil
			}}})
		defer box.close()
		time.Sleep(5 * time.Second)
		if said := strings.Join(phone.heard(), "\n"); !strings.Contains(said, "A 192.168.1.5 120") || !strings.Contains(said, "A 192.168.1.6 120") || log.Len() > 0 {
			t.Errorf("it tells %s, log: %s", said, &log)
		}
	})
}

// testMDNSBad is a socket that sends nothing to one, or hears nothing any more.
type testMDNSBad struct {
	*testMDNSSocket
	deaf bool
}

func (s testMDNSBad) sendTo([]byte, netip.AddrPort) error { return errors.New("permission denied") }

func (s testMDNSBad) read(p []byte) (int, netip.AddrPort, error) {
	if s.deaf {
		return 0, netip.AddrPort{}, errors.New("network is down")
	}
	return s.testMDNSSocket.read(p)
}

// Made-up addresses do not fill the log, and a socket that fails is replaced.
func TestMDNSBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		wire := &testMDNSWire{}
		phone := wire.join("192.168.1.9:5353")
		opened := 0
		box := mdnsStart(mdnsSettings{host: "pi", log: slog.New(slog.NewTextHandler(&log, nil)), network: mdnsNetwork{
			interfaces: func() ([]mdnsInterface, error) {
				return []mdnsInterface{{name: "eth0", index: 2, addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}}}, nil
			},
			open: func(i mdnsInterface, v6 bool) (mdnsSocket, error) {
				opened++
				return testMDNSBad{wire.join("192.168.1.5:5353"), opened == 1}, nil
			}}})
		defer box.close()
		time.Sleep(mdnsLook + 5*time.Second)
		synctest.Wait()
		if opened != 2 || strings.Count(log.String(), "network is down") != 1 {
			t.Errorf("it is opened %d times, log: %s", opened, &log)
		}
		for range 50 {
			phone.heard()
			must(t, phone.send(testMDNSQuery(t, "pi.local.", dnsmessage.TypeA, true)))
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "permission denied"); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

// Networks come and go.
func TestMDNSInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &testMDNSWire{}
		var mu sync.Mutex
		list := []mdnsInterface{}
		failing := false
		set := func(addresses ...string) {
			mu.Lock()
			defer mu.Unlock()
			list = nil
			for i, a := range addresses {
				list = append(list, mdnsInterface{name: fmt.Sprint("eth", i), index: i, addresses: []netip.Prefix{netip.MustParsePrefix(a)}})
			}
		}
		r := mdnsStart(mdnsSettings{host: "pi", log: slog.New(slog.DiscardHandler), network: mdnsNetwork{
			interfaces: func() ([]mdnsInterface, error) { mu.Lock(); defer mu.Unlock(); return slices.Clone(list), nil },
			open: func(i mdnsInterface, v6 bool) (mdnsSocket, error) {
				mu.Lock()
				defer mu.Unlock()
				if failing {
					return nil, errors.New("no memory")
				}
				return wire.join(netip.AddrPortFrom(i.addresses[0].Addr(), mdnsPort).String()), nil
			}}})
		links := func() (names []string) {
			time.Sleep(mdnsLook + time.Second)
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, l := range r.links {
				names = append(names, l.on.addresses[0].String())
			}
			slices.Sort(names)
			return names
		}
		for _, addresses := range [][]string{{}, {"192.168.1.5/24"}, {"192.168.1.5/24", "fd00::5/64"}, {"192.168.1.6/24"}, {}} {
			set(addresses...)
			if got := links(); !slices.Equal(got, addresses) {
				t.Errorf("%s: %s", addresses, got)
			}
		}
		mu.Lock()
		failing = true
		mu.Unlock()
		set("192.168.1.5/24")
		if got := links(); len(got) != 0 {
			t.Errorf("%s", got)
		}
		mu.Lock()
		failing = false
		mu.Unlock()
		if got := links(); len(got) != 1 {
			t.Errorf("%s", got)
		}
		r.close()
		(*mdnsResponder)(nil).close()
	})
}

func TestMDNSHost(t *testing.T) {
	for hostname, want := range map[string]string{"pi": "pi", "Mail.example.org": "mail", "": "", "localhost": "", strings.Repeat("a", 60): ""} {
		if got, err := mdnsHost(hostname); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", hostname, got, err)
		}
	}
}

func FuzzMDNS(f *testing.F) {
	zone, err := mdnsMakeZone("pi.local.", "Letterbox on pi", true, []mdnsService{{"_imaps._tcp", 993}, {"_https._tcp", 443}}, []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("fe80::1")})
	if err != nil {
		f.Fatal(err)
	}
	announcement, err := zone.announcement(false)
	if err != nil {
		f.Fatal(err)
	}
	probe, err := zone.probe()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(announcement, uint16(5353))
	f.Add(probe, uint16(5353))
	f.Add(probe, uint16(99))
	f.Fuzz(func(t *testing.T, packet []byte, port uint16) {
		wire := &testMDNSWire{}
		r := &mdnsResponder{mdnsSettings: mdnsSettings{host: "pi", log: slog.New(slog.DiscardHandler)}}
		r.own.Store(&[]netip.Addr{netip.MustParseAddr("192.168.1.5")})
		l := &mdnsLink{r: r, socket: wire.join("192.168.1.5:5353"), zone: zone, told: map[string]time.Time{}}
		other := wire.join("192.168.1.9:5353")
		l.hear(packet, netip.AddrPortFrom(netip.MustParseAddr("192.168.1.9"), port))
		select {
		case said := <-other.in:
			var m dnsmessage.Message
			if err := m.Unpack(said.b); err != nil || !m.Response {
				t.Errorf("%x: %v", said.b, err)
			}
		default:
		}
	})
}
