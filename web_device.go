package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// webDevice is a device that has logged in, as far as that can be told: a user, a protocol, an
// address, an app password.
type webDevice struct {
	user     string
	protocol string // "IMAP", "POP3", "SMTP", "page"
	from     string
	app      string
	client   string // what it calls itself
	first    time.Time
	last     time.Time
}

const (
	webDevicesMost = 500
	webDevicesUser = 40 // of one user
)

// webDevices is a small record of logins. The server keeps it in a file, which is written now and then.
type webDevices struct {
	mu      sync.Mutex // guards all below
	all     []*webDevice
	changed bool // since it was last written
}

// webProtocols are what services are called here.
var webProtocols = map[string]string{"imap": "IMAP", "imaps": "IMAP", "pop3": "POP3", "pop3s": "POP3", "smtp": "SMTP", "submission": "SMTP", "submissions": "SMTP",
	"legacy smtp": "SMTP", "legacy submission": "SMTP", "legacy submissions": "SMTP", "http": "page", "https": "page"}

// webWhere is an address as devices are told apart by: of IPv6 the first half, since a device changes
// the other one every day.
func webWhere(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil || addr.Is4() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return from
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return from
	}
	return prefix.String()
}

// webClean takes out of a text what could be mistaken, and bounds it.
func webClean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// told takes a login, or what a client says that it is.
func (d *webDevices) told(fact logFact) {
	protocol, ok := webProtocols[fact.door]
	if !ok {
		return
	}
	where := webWhere(fact.from)
	d.mu.Lock()
	defer d.mu.Unlock()
	if fact.what == "client" {
		var last *webDevice
		for _, dev := range d.all {
			if dev.user == fact.user && dev.protocol == protocol && dev.from == where && (last == nil || dev.last.After(last.last)) {
				last = dev
			}
		}
		if name := webClean(fact.text, 60); last != nil && last.client != name {
			last.client, d.changed = name, true
		}
		return
	}
	at := slices.IndexFunc(d.all, func(dev *webDevice) bool {
		return dev.user == fact.user && dev.protocol == protocol && dev.from == where && dev.app == fact.app
	})
	if at < 0 {
		d.makeRoom(webDevicesUser-1, func(dev *webDevice) bool { return dev.user == fact.user })
		d.makeRoom(webDevicesMost-1, func(*webDevice) bool { return true })
		d.all = append(d.all, &webDevice{user: fact.user, protocol: protocol, from: where, app: fact.app, first: fact.at})
		at = len(d.all) - 1
	}
	d.all[at].last, d.changed = fact.at, true
}

// makeRoom forgets the devices of a kind that were not seen for the longest; d.mu is held.
func (d *webDevices) makeRoom(most int, kind func(*webDevice) bool) {
	for {
		n, oldest := 0, -1
		for i, dev := range d.all {
			if !kind(dev) {
				continue
			}
			if n++; oldest < 0 || dev.last.Before(d.all[oldest].last) {
				oldest = i
			}
		}
		if n <= most {
			return
		}
		d.all = slices.Delete(d.all, oldest, oldest+1)
	}
}

// of lists a user's devices, the last one first.
func (d *webDevices) of(user string) (list []webDevice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dev := range d.all {
		if dev.user == user {
			list = append(list, *dev)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].last.After(list[j].last) })
	return list
}

// forget forgets a user's devices.
func (d *webDevices) forget(user string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = slices.DeleteFunc(d.all, func(dev *webDevice) bool { return dev.user == user })
	d.changed = true
}

// text is the record as a file has it: a line a device. nil if nothing has changed since it was last asked for.
func (d *webDevices) text() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.changed {
		return nil
	}
	d.changed = false
	out := []byte{}
	for _, dev := range d.all {
		out = fmt.Appendf(out, "%d %d %q %q %q %q %q\n", dev.first.Unix(), dev.last.Unix(), dev.user, dev.protocol, dev.from, dev.app, dev.client)
	}
	return out
}

// unwritten says that what text gave could not be written.
func (d *webDevices) unwritten() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = true
}

// read takes what a file has. Lines that are torn are passed over.
func (d *webDevices) read(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		if dev := webReadDevice(strings.TrimSuffix(line, "\n")); dev != nil && len(d.all) < webDevicesMost {
			d.all = append(d.all, dev)
		}
	}
}

func webReadDevice(line string) *webDevice {
	parts := strings.SplitN(line, " ", 3)
	if len(parts) < 3 {
		return nil
	}
	first, errFirst := strconv.ParseInt(parts[0], 10, 64)
	last, errLast := strconv.ParseInt(parts[1], 10, 64)
	if errFirst != nil || errLast != nil {
		return nil
	}
	dev := &webDevice{first: time.Unix(first, 0), last: time.Unix(last, 0)}
	rest := parts[2]
	for _, field := range []*string{&dev.user, &dev.protocol, &dev.from, &dev.app, &dev.client} {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil
		}
		if *field, err = strconv.Unquote(quoted); err != nil {
			return nil
		}
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	if dev.user == "" || rest != "" {
		return nil
	}
	return dev
}
