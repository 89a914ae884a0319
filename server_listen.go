package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// serverService is one kind of listener, by its IANA name.
type serverService struct {
	name      string
	addresses func(c *config) []string
	implicit  bool                            // TLS from the first byte
	legacy    bool                            // may speak TLS 1.0, to trusted networks only
	timeout   time.Duration                   // for each wait for the client, unless the door says otherwise
	door      func(d *serverDoors) serverDoor // of the configuration that is in place
	refusal   string                          // what a client is told when there are too many
}

type serverDoor interface{ serve(c *conn) }

const (
	serverTimeoutSMTP = 5 * time.Minute  // RFC 5321, section 4.5.3.2.7
	serverTimeoutPOP  = 10 * time.Minute // RFC 1939, section 3
	serverTimeoutIMAP = 30 * time.Minute // RFC 9051, section 5.4

	serverTimeoutHTTP = time.Minute // for the handshake

	serverRefusalSMTP = "421 4.3.2 Too many connections, try again later\r\n" // RFC 3463, section 3.4
	serverRefusalPOP  = "-ERR [SYS/TEMP] Too many connections, try again later\r\n"
	serverRefusalIMAP = "* BYE [UNAVAILABLE] Too many connections, try again later\r\n"
	serverRefusalHTTP = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n\r\nToo many connections, please try it later\n"
)

// serverServices is every service. To add one: a row here and a list in [listen].
var serverServices = []serverService{
	{"smtp", func(c *config) []string { return c.listen.smtp }, false, false, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.smtp }, serverRefusalSMTP},
	{"submission", func(c *config) []string { return c.listen.submission }, false, false, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.submission }, serverRefusalSMTP},
	{"submissions", func(c *config) []string { return c.listen.submissions }, true, false, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.submission }, serverRefusalSMTP},
	{"lmtp", func(c *config) []string { return c.listen.lmtp }, false, false, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.lmtp }, serverRefusalSMTP},
	{"pop3", func(c *config) []string { return c.listen.pop3 }, false, false, serverTimeoutPOP,
		func(d *serverDoors) serverDoor { return d.pop3 }, serverRefusalPOP},
	{"pop3s", func(c *config) []string { return c.listen.pop3s }, true, false, serverTimeoutPOP,
		func(d *serverDoors) serverDoor { return d.pop3 }, serverRefusalPOP},
	{"imap", func(c *config) []string { return c.listen.imap }, false, false, serverTimeoutIMAP,
		func(d *serverDoors) serverDoor { return d.imap }, serverRefusalIMAP},
	{"imaps", func(c *config) []string { return c.listen.imaps }, true, false, serverTimeoutIMAP,
		func(d *serverDoors) serverDoor { return d.imap }, serverRefusalIMAP},
	{"http", func(c *config) []string { return c.listen.http }, false, false, serverTimeoutHTTP,
		func(d *serverDoors) serverDoor { return d.web }, serverRefusalHTTP},
	{"https", func(c *config) []string { return c.listen.https }, true, false, serverTimeoutHTTP,
		func(d *serverDoors) serverDoor { return d.web }, serverRefusalHTTP},
	{"legacy smtp", func(c *config) []string { return c.legacy.smtp }, false, true, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.legacySMTP }, serverRefusalSMTP},
	{"legacy submission", func(c *config) []string { return c.legacy.submission }, false, true, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.legacySubmission }, serverRefusalSMTP},
	{"legacy submissions", func(c *config) []string { return c.legacy.submissions }, true, true, serverTimeoutSMTP,
		func(d *serverDoors) serverDoor { return d.legacySubmission }, serverRefusalSMTP},
}

// serverKeepAlive: an idle phone's radio is woken by each probe, and Go's default
// is one in 15 s.
var serverKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Minute, Interval: time.Minute, Count: 3}

// serverListener is one open port or socket.
type serverListener struct {
	net.Listener
	service *serverService
	key     string
}

func (l *serverListener) close() { l.Listener.Close() } // a second time is an error, and harmless

func serverListenKey(service *serverService, address string) string {
	return service.name + " " + address
}

// listen opens what c wants and what is not open yet, all or nothing. The error names
// all that cannot be opened.
func (s *server) listen(c *config) (opened []*serverListener, err error) {
	var failed []error
	for i := range serverServices {
		service := &serverServices[i]
		for _, address := range service.addresses(c) {
			key := serverListenKey(service, address)
			s.mu.Lock()
			_, open := s.listeners[key]
			s.mu.Unlock()
			if open {
				continue
			}
			l, err := serverListen(address)
			if err != nil {
				failed = append(failed, serverListenError(service.name, address, err))
				continue
			}
			opened = append(opened, &serverListener{l, service, key})
		}
	}
	if len(failed) == 0 {
		return opened, nil
	}
	for _, l := range opened {
		l.close()
	}
	return nil, errors.Join(failed...)
}

// serverListen opens one address.
func serverListen(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: serverKeepAlive}
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return lc.Listen(context.Background(), "tcp", address)
	}
	l, err := lc.Listen(context.Background(), "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && serverSocketIsDead(path) {
		if err = os.Remove(path); err == nil {
			l, err = lc.Listen(context.Background(), "unix", path)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil { // the owner's group may deliver
		l.Close()
		return nil, err
	}
	return l, nil
}

// serverSocketIsDead tells whether a socket's file was left by a server that is gone.
func serverSocketIsDead(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// serverListenError says why an address cannot be had, and what to do.
func serverListenError(service, address string, err error) error {
	where := fmt.Sprintf("%s cannot listen on %s", service, address)
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		owner := "another program"
		if who := serverOwner(address); who != "" {
			owner = who
		}
		what := "port"
		if strings.HasPrefix(address, "unix:") {
			what = "path"
		}
		return serverHint{fmt.Errorf("%s: the %s is taken by %s", where, what, owner),
			"stop that program, or choose another " + what + " in config.toml"}
	case errors.Is(err, fs.ErrPermission) && n > 0 && n < 1024:
		return serverHint{fmt.Errorf("%s: ports below 1024 need a privilege", where),
			"use the systemd unit in dist/, or: setcap cap_net_bind_service=+ep letterbox"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return serverHint{fmt.Errorf("%s: this box does not have that address", where),
			fmt.Sprintf("write \":%s\" to listen on all addresses", port)}
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return serverHint{fmt.Errorf("%s: this box has no IPv6", where), fmt.Sprintf("write \":%s\" or \"0.0.0.0:%s\"", port, port)}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the rest of it repeats the address
	}
	return fmt.Errorf("%s: %w", where, err)
}

// accept begins to serve listeners.
func (s *server) accept(opened []*serverListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range opened {
		s.listeners[l.key] = l
		logServerListening(s.log, l.service.name, l.Addr().String())
		go s.acceptLoop(l)
	}
}

// closeUnlisted closes listeners that a configuration does not have.
func (s *server) closeUnlisted(c *config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.listeners {
		address := strings.TrimPrefix(key, l.service.name+" ")
		if !slices.Contains(l.service.addresses(c), address) {
			l.close()
			delete(s.listeners, key)
			logServerClosed(s.log, l.service.name, address)
		}
	}
}

const serverAcceptPause = time.Second // the longest after an accept that failed

func (s *server) acceptLoop(l *serverListener) {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil { // descriptors or memory are short; the client waits in the queue
			if pause == 0 {
				logServerAccept(s.log, l.service.name, err)
			}
			pause = min(max(5*time.Millisecond, 2*pause), serverAcceptPause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		s.admit(l, nc)
	}
}

// serverSession is one connection.
type serverSession struct {
	conn *conn
	raw  net.Conn // below TLS; closing it is how a session is cut
	from netip.Addr

	service *serverService
}

// admit counts a connection and starts its session, or refuses it.
func (s *server) admit(l *serverListener, nc net.Conn) {
	doors := s.doors.Load()
	session := &serverSession{raw: nc, service: l.service}
	from := "unix socket"
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		session.from = tcp.AddrPort().Addr().Unmap().WithZone("")
		from = session.from.String()
	}
	if l.service.legacy && !doors.trusts(session.from) {
		s.count.connected(l.service.name, false)
		logServerUntrusted(s.log, l.service.name, from)
		nc.Close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		nc.Close()
		return
	}
	if len(s.sessions) >= doors.connections || session.from.IsValid() && s.perAddress[session.from] >= doors.perAddress {
		s.count.connected(l.service.name, false)
		if now := time.Now(); now.Sub(s.refused) > time.Minute { // a flood must not fill the log
			s.refused = now
			logServerTooMany(s.log, l.service.name, from, len(s.sessions), s.perAddress[session.from])
		}
		if s.refusing == serverRefuseMost {
			nc.Close()
			return
		}
		s.refusing++
		go s.refuse(l.service, nc)
		return
	}
	s.count.connected(l.service.name, true)
	s.counter++
	log := s.log.With("session", strconv.FormatUint(s.counter, 36), "door", l.service.name, "from", from)
	speaks := nc
	if l.service.implicit {
		speaks = tls.Server(nc, doors.tlsConfig(l.service))
	}
	session.conn = newConn(speaks, log, l.service.timeout)
	s.sessions[session] = struct{}{}
	if session.from.IsValid() {
		s.perAddress[session.from]++
	}
	go s.serve(session, l.service.door(doors), log)
}

// serverRefuseMost is how many clients are told of their refusal at a time; a flood
// is not.
const serverRefuseMost = 32

// refuse tells a client that there are too many. A client that waits for TLS cannot
// be told.
func (s *server) refuse(service *serverService, nc net.Conn) {
	defer func() {
		nc.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refusing--
	}()
	if service.implicit || nc.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	if _, err := nc.Write([]byte(service.refusal)); err != nil {
		return // it has left already
	}
	if tcp, ok := nc.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		var b [512]byte
		_, _ = nc.Read(b[:]) // a close with its first command unread would take the words back
	}
}

// serve runs one session.
func (s *server) serve(session *serverSession, door serverDoor, log *slog.Logger) {
	defer func() {
		if p := recover(); p != nil { // one session's fault ends no other's
			logServerPanic(log, p, debug.Stack())
		}
		session.raw.Close() // a second time is an error, and harmless
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, session)
		if from := session.from; from.IsValid() {
			if s.perAddress[from]--; s.perAddress[from] == 0 {
				delete(s.perAddress, from)
			}
		}
		s.checkIdle()
	}()
	door.serve(session.conn)
}
