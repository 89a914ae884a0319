package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The web room: the page. It knows HTTP, HTML, and in which form phones and mail programs want to
// be told their settings. It knows no Maildir, no other door, and not where its settings come from.
//
//	request --network--> --host--> --route--> public part
//	                                  \--TLS--> --session--> --form--> a user's and the administrator's
//
//	web_public.go      what everybody sees, and the CA
//	web_mail.go        the settings of mail programs
//	web_autoconfig.go  the same for Thunderbird and Outlook
//	web_apple.go       the same for iPhones, iPads, Macs
//	web_qr.go          QR codes
//	web_page.go        templates
//	web_session.go     who is logged in; forms that come from elsewhere
//	web_login.go       logging in and out, passwords
//	web_user.go        what a user sees
//	web_device.go      which devices have logged in
//	web_admin.go       what the administrator sees
//	web_event.go       what has come in, and what was refused
//	web_watch.go       numbers for programs that watch
//
// The public part is told in clear as well: a device has to get the CA before it can trust this
// box. All that has to do with a login is for TLS only.

// webSettings is what the page needs to know. A reload makes new ones.
type webSettings struct {
	hostname  string
	version   string
	names     []string                 // by which the page may be called, besides addresses
	domains   []string                 // of users' addresses, the one that is shown first
	isOurs    func(domain string) bool // tells whether mail for a domain is for this box
	networks  []netip.Prefix           // who may see the page
	listening func() []webService
	addresses func() []string           // of this box, for others at home
	ca        func() *x509.Certificate  // this box's own; nil if there is none
	challenge func(token string) string // what a CA is to find at a token's path; "": no CA has given that
	log       *slog.Logger

	auth     *auth
	store    *mailboxStore
	admins   []string
	onDelete string              // of POP3, for users who have not chosen themselves
	popDays  int                 // when what POP3 has fetched goes the same way; 0: never
	aliases  map[string][]string // as configured
	now      func() time.Time    // zero while the clock is not believed
	findings func() []webFinding // what is wrong with this box

	webWatching
}

// webFinding is something that is not as it should be, and what to do about it.
type webFinding struct{ Text, Hint string }

// webService is one port that is open.
type webService struct {
	name  string // as in [listen]
	port  string
	local bool // only for this machine
}

// webDoor serves the page under one configuration.
type webDoor struct {
	webSettings
	state *webState
	found webFound
}

// webState is what the page keeps from one configuration to the next. It is safe for concurrent use.
type webState struct {
	visitors webVisitors
	sessions webSessions
	devices  webDevices
	events   webEvents
	current  atomic.Pointer[webDoor] // the last one that was made
	counting sync.Mutex              // held while mail is counted: impatience must not take the disk from the mail
}

func newWebState() *webState {
	s := &webState{}
	s.visitors.from = map[netip.Addr]int{}
	s.sessions.all = map[webSessionKey]*webSession{}
	return s
}

// told takes a fact of the log's.
func (s *webState) told(fact logFact) {
	switch fact.what {
	case "login", "client":
		s.devices.told(fact)
	default:
		s.events.told(fact)
	}
}

// newWebDoor makes the door that answers from now on, on connections that are open as well: a browser
// keeps its own, and who is no administrator any more must not stay one on it.
func newWebDoor(state *webState, settings webSettings) *webDoor {
	d := &webDoor{webSettings: settings, state: state}
	state.current.Store(d)
	return d
}

const (
	webVisitorsMost = 100              // connections: a crowd here leaves room for the mail
	webVisitorsEach = 32               // from one address; browsers open six
	webHeaderTime   = 10 * time.Second // for a request's head
	webReadTime     = 30 * time.Second // for all of it
	webWriteTime    = time.Minute      // for the answer, a login that is made to wait included
	webIdleTime     = 30 * time.Second
	webHeaderMost   = 16 << 10
	webBodyMost     = 8 << 10
	webQueryMost    = 2 << 10 // for a mail address; thousands of fields would take a hundred times their size
)

// webVisitors counts connections.
type webVisitors struct {
	mu   sync.Mutex // guards all below
	all  int
	from map[netip.Addr]int
}

var errWebVisitors = errors.New("too many visitors of the page")

// come tells whether there is room for one more; then leave has to follow.
func (n *webVisitors) come(from netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all >= webVisitorsMost || from.IsValid() && n.from[from] >= webVisitorsEach {
		return false
	}
	n.all++
	n.from[from]++
	return true
}

func (n *webVisitors) leave(from netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all--
	if n.from[from]--; n.from[from] == 0 {
		delete(n.from, from)
	}
}

func (n *webVisitors) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all
}

// serve speaks HTTP on a connection until it ends.
func (d *webDoor) serve(c *conn) {
	if !d.state.visitors.come(c.remoteAddr()) {
		logSessionEnd(c.log, "", errWebVisitors)
		return
	}
	defer d.state.visitors.leave(c.remoteAddr())
	if _, isTLS := c.Conn.(*tls.Conn); isTLS && c.tlsState() == nil {
		logSessionEnd(c.log, "", c.handshake())
		return
	}
	one := &webListener{nc: c.Conn, closed: make(chan struct{})}
	var idle atomic.Bool
	answer := func(w http.ResponseWriter, r *http.Request) { d.state.current.Load().ServeHTTP(w, r) }
	s := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: webHeaderTime, ReadTimeout: webReadTime, WriteTimeout: webWriteTime,
		IdleTimeout: webIdleTime, MaxHeaderBytes: webHeaderMost, DisableGeneralOptionsHandler: true, // it would answer strangers
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2, nor what each connection would keep ready for it
		ErrorLog:     slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		BaseContext:  func(net.Listener) context.Context { return context.WithValue(context.Background(), webLogKey{}, c.log) },
		ConnState: func(_ net.Conn, state http.ConnState) {
			idle.Store(state == http.StateNew || state == http.StateIdle)
			if state == http.StateClosed {
				one.end()
			}
		}}
	c.whenDown(func() {
		s.SetKeepAlivesEnabled(false) // the request under way is answered
		if idle.Load() {
			c.Conn.Close() // what it reports is told by the reader
		}
	})
	if err := s.Serve(one); !errors.Is(err, net.ErrClosed) {
		logSessionEnd(c.log, "", err)
	}
}

// webListener is a listener with one connection, which ends with it.
type webListener struct {
	nc     net.Conn
	closed chan struct{}
	given  bool
	once   sync.Once
}

func (l *webListener) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.nc, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *webListener) end()           { l.once.Do(func() { close(l.closed) }) }
func (l *webListener) Close() error   { return nil }
func (l *webListener) Addr() net.Addr { return l.nc.LocalAddr() }

// webWho says for whom a route is.
type webWho int

const (
	webAll   webWho = iota // in clear as well
	webTLS                 // whoever comes by TLS
	webUser                // who has logged in
	webAdmin               // and is an administrator
)

// webRoute is one path of the page. To add one: a row in webRoutes and its method.
type webRoute struct {
	path   string
	method string // GET stands for HEAD, too
	who    webWho
	do     func(v *webVisit) error
}

var webRoutes = []webRoute{
	{"/", "GET", webAll, (*webVisit).showHome},
	{"/style.css", "GET", webAll, (*webVisit).showFile},
	{"/icon.svg", "GET", webAll, (*webVisit).showFile},
	{"/letterbox.crt", "GET", webAll, (*webVisit).showCA},
	{"/letterbox.cer", "GET", webAll, (*webVisit).showCA},
	{"/letterbox.pem", "GET", webAll, (*webVisit).showCA},
	{"/letterbox.mobileconfig", "GET", webAll, (*webVisit).showApple},
	{"/mail/config-v1.1.xml", "GET", webAll, (*webVisit).showAutoconfig},
	{"/.well-known/autoconfig/mail/config-v1.1.xml", "GET", webAll, (*webVisit).showAutoconfig},
	{webAutodiscoverPath, "POST", webAll, (*webVisit).showAutodiscover},
	{webAutodiscoverPath, "GET", webTLS, (*webVisit).showAutodiscover}, // Outlook follows where it leads
	{"/metrics", "GET", webAll, (*webVisit).showMetrics},
	{"/healthz", "GET", webAll, (*webVisit).showHealthz},
	{"/login", "GET", webTLS, (*webVisit).showLogin},
	{"/login", "POST", webTLS, (*webVisit).takeLogin},
	{"/logout", "POST", webUser, (*webVisit).takeLogout},
	{"/me", "GET", webUser, (*webVisit).showMe},
	{"/me/pop3", "POST", webUser, (*webVisit).takeOnDelete},
	{"/me/devices", "GET", webUser, (*webVisit).showDevices},
	{"/me/apps/add", "POST", webUser, (*webVisit).takeApp},
	{"/me/apps/remove", "POST", webUser, (*webVisit).takeAppRemoval},
	{"/me/password", "GET", webUser, (*webVisit).showPassword},
	{"/me/password", "POST", webUser, (*webVisit).takePassword},
	{"/admin", "GET", webAdmin, (*webVisit).showUsers},
	{"/admin/user", "GET", webAdmin, (*webVisit).showUser},
	{"/admin/user/add", "POST", webAdmin, (*webVisit).takeUser},
	{"/admin/user/password", "POST", webAdmin, (*webVisit).takeUserPassword},
	{"/admin/user/remove", "POST", webAdmin, (*webVisit).takeUserRemoval},
	{"/admin/mail", "GET", webAdmin, (*webVisit).showEvents},
	{"/admin/health", "GET", webAdmin, (*webVisit).showHealth},
}

// webVisit is one request.
type webVisit struct {
	*webDoor
	w       http.ResponseWriter
	r       *http.Request
	route   *webRoute
	host    string      // that was asked for, without a port
	from    netip.Addr  // invalid: a unix socket
	session *webSession // nil: not logged in
}

// webRefusal is an error that the visitor is told.
type webRefusal struct {
	status int
	text   string
}

func (e webRefusal) Error() string { return e.text }

// webStranger is a webRefusal of who is not at this page at all: its style is refused as well, and nothing is told
// of the box.
type webStranger struct{ webRefusal }

// webGo sends the visitor elsewhere on the page.
type webGo string

func (e webGo) Error() string { return "go to " + string(e) }

// ServeHTTP answers one request.
func (d *webDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &webVisit{webDoor: d, w: w, r: r, from: webRemote(r)}
	defer func() {
		if p := recover(); p != nil { // this request's fault ends its connection and no other
			logServerPanic(v.log(), p, debug.Stack())
			panic(http.ErrAbortHandler)
		}
	}()
	v.headers()
	r.Body = http.MaxBytesReader(w, r.Body, webBodyMost)
	v.answer(v.visit())
}

// webLogKey is where a request's context has the connection's log.
type webLogKey struct{}

// log is the connection's log.
func (v *webVisit) log() *slog.Logger {
	if log, ok := v.r.Context().Value(webLogKey{}).(*slog.Logger); ok {
		return log
	}
	return v.webSettings.log
}

// webRemote is the visitor's address.
func webRemote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// headers are those of every answer. The page needs nothing from elsewhere and runs no script.
func (v *webVisit) headers() {
	h := v.w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // with less, browsers would not say where a form comes from
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// visit finds the route and follows it.
func (v *webVisit) visit() error {
	if text := v.challenged(); text != "" { // by a CA, which may come from anywhere
		return v.write(http.StatusOK, "application/octet-stream", []byte(text))
	}
	if err := v.mayVisit(); err != nil {
		return err
	}
	if v.host = webHost(v.r.Host); !v.isCalled(v.host) {
		// Or else a stranger's page could have a name of its own lead here, and read what
		// the visitor may read.
		return webStranger{webRefusal{http.StatusMisdirectedRequest, fmt.Sprintf("This box is not called %q. Use its address, or %s.", v.host, v.boxName())}}
	}
	if len(v.r.URL.RawQuery) > webQueryMost {
		return webRefusal{http.StatusRequestURITooLong, "This address is too long."}
	}
	if v.r.TLS != nil {
		v.session = v.readSession()
	}
	if err := v.find(); err != nil {
		return err
	}
	if v.route.who > webAll && v.r.TLS == nil {
		return v.toTLS()
	}
	if err := v.mayEnter(); err != nil {
		return err
	}
	return v.route.do(v)
}

// mayEnter tells by an error that the route is not for this visitor.
func (v *webVisit) mayEnter() error {
	if v.route.who >= webUser && v.session == nil {
		return webGo("/login")
	}
	if v.route.who == webAdmin && !v.isAdmin() {
		return webRefusal{http.StatusForbidden, "This part of the page is for the administrator of this box."}
	}
	if v.route.method == "POST" && v.route.who > webAll {
		return v.checkForm()
	}
	return nil
}

func (v *webVisit) isAdmin() bool {
	return v.session != nil && slices.Contains(v.admins, v.session.user)
}

// find looks for the route.
func (v *webVisit) find() error {
	path := v.r.URL.Path
	if strings.EqualFold(path, webAutodiscoverPath) { // Outlook's versions spell it in several ways
		path = webAutodiscoverPath
	}
	method := v.r.Method
	if method == "HEAD" {
		method = "GET"
	}
	var allowed []string
	for i := range webRoutes {
		route := &webRoutes[i]
		if route.path != path {
			continue
		}
		if route.method == method {
			v.route = route
			return nil
		}
		if allowed = append(allowed, route.method); route.method == "GET" {
			allowed = append(allowed, "HEAD")
		}
	}
	if allowed != nil {
		v.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return webRefusal{http.StatusMethodNotAllowed, "This address does not take " + v.r.Method + "."}
	}
	return webRefusal{http.StatusNotFound, "There is nothing here."}
}

// toTLS leads to the same route over TLS. Where it leads is made of names and paths that are known,
// and of nothing else that the visitor sends.
func (v *webVisit) toTLS() error {
	base := v.base("https")
	if base == "" {
		return webRefusal{http.StatusForbidden, "This part of the page is told over TLS only, and [listen] https is switched off."}
	}
	if v.route.method != "GET" {
		return webRefusal{http.StatusForbidden, "This is taken over TLS only. Begin anew at " + base + "/"}
	}
	http.Redirect(v.w, v.r, base+v.route.path, http.StatusFound)
	return nil
}

// webHost takes the port from a Host header, and from an address the zone, which may have anything in it.
func webHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.WithZone("").String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// isCalled tells whether the page may be called so. An address is nobody's name.
func (v *webVisit) isCalled(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, prefix := range []string{"autoconfig.", "autodiscover."} { // where mail programs look
		if rest, ok := strings.CutPrefix(host, prefix); ok {
			host = rest
			break
		}
	}
	return slices.Contains(v.names, host)
}

// boxName is how others at home call this box.
func (v *webVisit) boxName() string {
	if strings.Contains(v.hostname, ".") {
		return v.hostname
	}
	return v.hostname + ".local"
}

// mailHost is the name that mail programs get: the one that the visitor has used, if the certificate
// has it.
func (v *webVisit) mailHost() string {
	if v.host == v.hostname && strings.Contains(v.host, ".") || strings.HasSuffix(v.host, ".local") && slices.Contains(v.names, v.host) {
		return v.host
	}
	return v.boxName()
}

// base is the address of the page by "http" or "https", without a path; "" if that is not served.
func (v *webVisit) base(scheme string) string {
	port := v.port(scheme)
	if port == "" {
		return ""
	}
	host := v.host
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	if port == map[string]string{"http": "80", "https": "443"}[scheme] {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + port
}

// port is where a service can be reached by the visitor, "" if it cannot.
func (v *webVisit) port(service string) string {
	for _, s := range v.listening() {
		if s.name == service && (!s.local || !v.from.IsValid() || v.from.IsLoopback()) {
			return s.port
		}
	}
	return ""
}

// answer tells how a visit went.
func (v *webVisit) answer(err error) {
	var refusal webRefusal
	var stranger webStranger
	var to webGo
	switch {
	case err == nil, v.r.Context().Err() != nil: // the visitor has left
		return
	case errors.As(err, &to):
		v.w.Header().Set("Location", string(to))
		v.w.WriteHeader(http.StatusSeeOther)
		return
	case errors.As(err, &stranger):
		v.w.Header().Set("Connection", "close") // which leaves room for those who may visit
		err = v.write(stranger.status, "text/plain; charset=utf-8", []byte(stranger.text+"\n"))
	case errors.As(err, &refusal):
		err = v.refuse(refusal)
	default:
		logCommandFailed(v.log(), "", v.r.Method+" "+v.r.URL.Path, err)
		err = v.refuse(webRefusal{http.StatusInternalServerError, "This did not work. The log of the box says why."})
	}
	if err != nil {
		logCommandFailed(v.log(), "", v.r.Method+" "+v.r.URL.Path, err)
	}
}

func (v *webVisit) refuse(refusal webRefusal) error {
	return v.show(refusal.status, "refused.html", webRefused{webPage: v.page("Sorry"), Text: refusal.text})
}

type webRefused struct {
	webPage
	Text string
}

// write sends an answer of a kind.
func (v *webVisit) write(status int, kind string, body []byte) error {
	v.w.Header().Set("Content-Type", kind)
	v.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	v.w.WriteHeader(status)
	if v.r.Method == "HEAD" {
		return nil
	}
	_, _ = bytes.NewReader(body).WriteTo(v.w) // a visitor who has left is no trouble of ours
	return nil
}
