package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The server room: the process. It owns all that outlives a session: listeners,
// certificates, the users, the store, the clock; it counts connections, reloads and
// shuts down. It knows no command of any protocol.
//
//	starting --all ports open--> running --shutdown--> draining --last session left--> stopped
//	                              \--reload--/             \------10 s------/
//
//	server_listen.go   ports, connections and their limits
//	server_doors.go    what a configuration makes of the doors
//	server_port.go     who has a port that is taken
//	server_tls.go      certificates from files
//	server_ca.go       certificates of our own
//	server_acme.go     certificates for public names, from a CA on the Internet
//	server_acme_order.go, server_acme_client.go  what is said to that CA
//	server_first.go    the first user
//	server_clock.go    which time is believed
//	server_web.go      what the page is told
//	server_retain.go   what mail that looks after itself is told
//	server_status.go   what is counted, and told to letterbox status
//	server_metrics.go  the same in Prometheus' text format
//	server_setup.go    what letterbox setup does on the disk
//	server_user.go     which user it becomes
//	server_mdns.go     what the home network is told
//	server_notify.go   what the service manager is told

// serverDirectory lies in the mail directory and holds what is the server's own. No
// user's name begins with a dot.
const serverDirectory = ".letterbox"

const (
	serverDrainTime  = 9 * time.Second // what commands in flight get at the end; the whole takes 10 s
	serverHourly     = time.Hour
	serverUnsetClock = time.Minute // how often a clock that is not believed is looked at
)

// serverSettings is what starting needs to know.
type serverSettings struct {
	config    *config
	load      func() (*config, error) // reads the configuration again
	log       *slog.Logger
	version   string
	clock     func() time.Time                // nil: time.Now
	welcome   func(text string) (bool, error) // shows the first user's password, if somebody is looking on
	multicast *mdnsNetwork                    // nil: nothing is announced
	manager   *serverManager                  // nil: nobody wants to know
	check     func(c *config) []serverFinding // looks for what is wrong; nil: nobody does
}

// server is a running Letterbox.
type server struct {
	serverSettings
	users    string // path of the users file: the first configuration's, until the end
	clk      *serverClock
	certs    *serverCerts
	store    *mailboxStore
	locks    *popLocks
	web      *webState
	retain   *retainer
	retainMu sync.Mutex // held for a round of retain, and taken after reloading
	count    *serverCounts
	asked    net.Listener // by letterbox status; nil: it cannot be had
	spool    *spool
	doors    atomic.Pointer[serverDoors]
	mdns     *mdnsResponder // nil: nothing is announced; s.reloading guards it

	reloading sync.Mutex // held while a configuration is put in place

	mu         sync.Mutex // guards all below
	auth       *auth
	listeners  map[string]*serverListener // by service and address
	sessions   map[*serverSession]struct{}
	perAddress map[netip.Addr]int
	refused    time.Time // when a refusal was last logged
	refusing   int       // clients that are being told
	stopping   bool
	idle       chan struct{} // closed when stopping and the last session has left
	timer      *time.Timer
	counter    uint64 // of sessions
}

// serverStart opens everything and serves until shutdown.
func serverStart(settings serverSettings) (*server, error) {
	if settings.clock == nil {
		settings.clock = time.Now
	}
	s := &server{serverSettings: settings, users: settings.config.storage.users, locks: newPopLocks(), web: newWebState(), count: newServerCounts(),
		listeners: map[string]*serverListener{}, sessions: map[*serverSession]struct{}{}, perAddress: map[netip.Addr]int{},
		idle: make(chan struct{})}
	s.log = logTelling(s.log, s.told)
	c := settings.config
	opened, err := s.listen(c)
	if err != nil {
		return nil, err
	}
	if err = serverBecome(c.user); err == nil { // before anything is made that would be root's
		err = s.open(c, filepath.Join(c.storage.path, serverDirectory))
	}
	if err != nil {
		for _, l := range opened {
			l.close()
		}
		return nil, err
	}
	s.readLogins()
	s.openStatus(c)
	s.accept(opened)
	s.useMDNS(c)
	s.spool = s.makeSpool(c)
	s.certs.acme.begin()                               // the CA looks at our ports
	s.timer = time.AfterFunc(serverUnsetClock, s.tick) // at boot, addresses come late
	logServerReady(s.log, s.version, c.name, c.hostname)
	if os.Geteuid() == 0 {
		logServerRoot(s.log)
	}
	s.manager.tell("READY=1")
	s.manager.watch(s.alive)
	return s, nil
}

// open makes what the doors need, once the ports are ours.
func (s *server) open(c *config, dir string) error {
	for _, d := range []string{dir, filepath.Dir(c.storage.users)} {
		if err := fileMakeAll(d, 0o700); err != nil {
			return serverPathError("making", d, err)
		}
	}
	var err error
	if s.clk, err = serverOpenClock(filepath.Join(dir, "clock"), s.clock, serverBuilt(), s.log); err != nil {
		return err
	}
	s.certs = serverOpenCerts(dir, s.clk, s.log)
	if err = s.certs.use(serverCertSettings(c)); err != nil {
		return err
	}
	if s.auth, err = s.openAuth(c); err != nil {
		return err
	}
	s.certs.askFor(s.auth.clientCAs)
	store := serverStoreSettings(c)
	store.now, store.log, store.watch = s.clk.now, s.log, true
	s.store, err = newMailboxStore(store)
	if err != nil {
		return err
	}
	if err = s.firstUser(c); err == nil {
		err = s.openRetain(dir)
	}
	if err != nil {
		s.store.close()
		return err
	}
	s.useMemory(c)
	s.doors.Store(s.makeDoors(c))
	return nil
}

func (s *server) openAuth(c *config) (*auth, error) {
	a, err := authOpen(authSettings{path: s.users, domains: serverDomains(c), firstLogin: serverFirstLogin(s.users),
		secret: filepath.Join(c.storage.path, serverDirectory, "secret"), log: s.log, now: s.clk.now,
		clientCA: c.tls.clientCA, clientEmail: c.tls.clientUser == "email",
		oauth: authOAuthSettings{keys: c.oauth.keys, issuer: c.oauth.issuer, audience: c.oauth.audience,
			user: c.oauth.userClaim, scope: c.oauth.scope, configuration: c.oauth.configurationURL}})
	if errors.Is(err, errAuthClientCA) {
		err = serverHint{err, "it holds the certificates of the CAs that sign for clients, in PEM; letterbox check looks at it"}
	}
	if errors.Is(err, errAuthKeys) {
		err = serverHint{err, "it holds the public keys of the authorization server, as a JWK set or in PEM; letterbox check looks at it"}
	}
	return a, err
}

// reload reads the configuration again and puts it in place, whole or not at all.
// Sessions that have begun go on under the old one.
func (s *server) reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.manager.tell("RELOADING=1")
	defer s.manager.tell("READY=1") // under the old one, if it has failed
	c, err := s.load()
	if err != nil {
		return err
	}
	if c.storage != s.config.storage {
		logServerNeedsRestart(s.log, "[storage]")
		c.storage = s.config.storage
	}
	if c.user != s.config.user {
		logServerNeedsRestart(s.log, "user")
		c.user = s.config.user
	}
	opened, err := s.listen(c)
	if err != nil {
		return err
	}
	undo := func() {
		for _, l := range opened {
			l.close()
		}
	}
	a, err := s.openAuth(c)
	if err != nil {
		undo()
		return err
	}
	if err := s.certs.use(serverCertSettings(c)); err != nil {
		undo()
		return err
	}
	s.certs.askFor(a.clientCAs)
	s.mu.Lock()
	s.auth = a
	s.mu.Unlock()
	s.config = c
	s.useMemory(c)
	s.doors.Store(s.makeDoors(c))
	s.closeUnlisted(c)
	s.accept(opened)
	s.useMDNS(c)
	s.spool.retry()
	s.certs.acme.begin()
	logServerReloaded(s.log, c.name)
	return nil
}

// tick is what has to be done from time to time.
func (s *server) tick() {
	s.refresh()
	s.store.sweep() // looks at the clock itself
	s.expire()      // likewise
	s.writeLogins()
	debug.FreeOSMemory() // what a busy hour has left
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.timer.Reset(s.untilTick())
	}
}

// refresh brings up to date what depends on the time and on this box's addresses.
func (s *server) refresh() {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.clk.note()
	s.certs.renew()
	s.certs.acme.begin()
	if doors := s.doors.Load(); !doors.isCurrent() { // an interface came or went, or the clock was set
		s.doors.Store(s.makeDoors(s.config))
	}
}

func (s *server) untilTick() time.Duration {
	if s.clk.now().IsZero() {
		return serverUnsetClock
	}
	return serverHourly
}

// shutdown stops accepting, lets commands in flight end, and returns when all
// sessions have left, or after ctx or 9 s with those that had to be cut.
func (s *server) shutdown(ctx context.Context) (cut int) {
	ctx, cancel := context.WithTimeout(ctx, serverDrainTime)
	defer cancel()
	s.manager.tell("STOPPING=1")
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.mdns.close()
	s.mu.Lock()
	s.stopping = true
	s.timer.Stop()
	for _, l := range s.listeners {
		l.close()
	}
	for session := range s.sessions {
		session.conn.shutdown()
	}
	logServerStopping(s.log, len(s.sessions))
	s.checkIdle()
	s.mu.Unlock()
	s.certs.acme.end()

	select {
	case <-s.idle:
	case <-ctx.Done():
		s.mu.Lock()
		cut = len(s.sessions)
		for session := range s.sessions {
			session.raw.Close() // its reads and writes fail, and it leaves
		}
		s.mu.Unlock()
		select {
		case <-s.idle:
		case <-time.After(serverCutTime):
		}
	}
	s.closeStatus()
	s.retainMu.Lock() // a round in its course ends after a batch
	s.retain.keep()
	s.retainMu.Unlock()
	s.spool.close()
	s.store.close()
	s.writeLogins()
	s.clk.note()
	logServerStopped(s.log, cut)
	return cut
}

const serverCutTime = 500 * time.Millisecond // until a session has seen that its connection is gone

// checkIdle tells shutdown when the last session has left; s.mu is held.
func (s *server) checkIdle() {
	if s.stopping && len(s.sessions) == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

// serverHint is an error with a line on what to do about it.
type serverHint struct {
	error
	hint string
}

func (e serverHint) Error() string { return e.error.Error() + "\nhint: " + e.hint }
func (e serverHint) Unwrap() error { return e.error }

// serverPathError says what to do when a path cannot be used.
func serverPathError(act, path string, err error) error {
	err = fmt.Errorf("%s %s: %w", act, path, err)
	if abs, absErr := filepath.Abs(path); absErr == nil && abs != path {
		err = fmt.Errorf("%w (in full: %s)", err, abs)
	}
	switch {
	case errors.Is(err, syscall.EROFS):
		return serverHint{err, "the file system is read-only; set [storage] path and users to a place that can be written"}
	case errors.Is(err, fs.ErrPermission):
		return serverHint{err, fmt.Sprintf("user id %d may not write there; change the owner, or set [storage] path and users to another place", os.Getuid())}
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return serverHint{err, "a part of the path is a file; set [storage] path and users to another place"}
	case errors.Is(err, syscall.ENOSPC):
		return serverHint{err, "the disk is full"}
	}
	return err
}
