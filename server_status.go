package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What is going on: counted as it happens, and told to letterbox status and to the page's /metrics.

const (
	serverStatusFile = "status"      // a socket in .letterbox: whoever may read the mail may ask
	serverStatusTime = time.Minute   // that an answer may take
	serverStatusMost = 16 << 20      // bytes of an answer
	serverUseTime    = time.Minute   // how long what users' mail takes is not counted again
	serverHours      = 24            // that are looked back
	serverReasonMost = 64            // different reasons that are counted
	serverReasonElse = "for another" // when there are more
)

// serverStatus is all that is told, in the form of letterbox status -json.
type serverStatus struct {
	Running     bool                  `json:"running"`
	Version     string                `json:"version"`
	Hostname    string                `json:"hostname"`
	Config      string                `json:"config"`
	Started     *time.Time            `json:"started,omitempty"`
	Uptime      int64                 `json:"uptime_seconds"`
	Users       []serverStatusUser    `json:"users"`
	Services    []serverStatusService `json:"services"`
	Start       serverTotals          `json:"since_start"`
	Day         serverTotals          `json:"last_24_hours"`
	Mailboxes   int                   `json:"mailboxes_in_memory"`
	Messages    int                   `json:"messages_in_memory"`
	Certificate *time.Time            `json:"certificate_until,omitempty"`
	Findings    []serverStatusFinding `json:"findings"`
}

type serverStatusUser struct {
	Name          string `json:"name"`
	Messages      int64  `json:"messages"`
	Bytes         int64  `json:"bytes"`
	QuotaMessages int64  `json:"quota_messages"` // 0: no limit, as the next
	QuotaBytes    int64  `json:"quota_bytes"`
	Problem       string `json:"problem,omitempty"` // why this is not known
}

// serverStatusService is one row of [listen].
type serverStatusService struct {
	Name    string `json:"name"`
	Open    int    `json:"connections"`
	Total   uint64 `json:"connections_since_start"`
	Refused uint64 `json:"refused_since_start"` // too many, or from elsewhere
}

type serverStatusFinding struct {
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`
}

// serverTotals are counted facts.
type serverTotals struct {
	Delivered    uint64            `json:"delivered"`
	Bytes        uint64            `json:"delivered_bytes"`
	NotDelivered map[string]uint64 `json:"not_delivered"` // by reason
	Refused      map[string]uint64 `json:"refused"`       // by the code of the reply
	Logins       map[string]uint64 `json:"logins"`        // by service, as the next
	LoginsFailed map[string]uint64 `json:"logins_failed"`
}

func newServerTotals() serverTotals {
	return serverTotals{NotDelivered: map[string]uint64{}, Refused: map[string]uint64{}, Logins: map[string]uint64{}, LoginsFailed: map[string]uint64{}}
}

// serverCounts counts. A lock is cheap beside what it counts: a message that is synced twice, a password
// that is checked.
type serverCounts struct {
	started time.Time

	mu       sync.Mutex // guards all below
	all      serverTotals
	hours    [serverHours]serverTotals // by the hour since the start, in turn
	hour     int                       // of the last fact
	services map[string]*serverStatusService

	useMu  sync.Mutex // held while users' mail is counted, guards all below
	use    []serverStatusUser
	usedAt time.Time
}

func newServerCounts() *serverCounts {
	n := &serverCounts{started: time.Now(), all: newServerTotals(), services: map[string]*serverStatusService{}}
	for i := range n.hours {
		n.hours[i] = newServerTotals()
	}
	return n
}

// told counts a fact of the log's.
func (n *serverCounts) told(fact logFact) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn(fact.at)
	n.all.add(fact)
	n.hours[n.hour%serverHours].add(fact)
}

// turn empties the hours that have passed since the last fact; n.mu is held. The clock that counts them
// does not jump.
func (n *serverCounts) turn(now time.Time) {
	hour := int(now.Sub(n.started) / time.Hour)
	if hour-n.hour > serverHours {
		n.hour = hour - serverHours
	}
	for n.hour < hour {
		n.hour++
		n.hours[n.hour%serverHours] = newServerTotals()
	}
}

func (t *serverTotals) add(fact logFact) {
	switch fact.what {
	case "delivered":
		t.Delivered++
		t.Bytes += uint64(max(fact.size, 0))
	case "not delivered":
		serverCount(t.NotDelivered, serverReason(fact.err), 1)
	case "refused":
		code, _, _ := strings.Cut(fact.text, " ")
		serverCount(t.Refused, code, 1)
	case "login":
		serverCount(t.Logins, fact.door, 1)
	case "login failed":
		serverCount(t.LoginsFailed, fact.door, 1)
	}
}

// serverCount counts in a map that does not grow for ever.
func serverCount(counts map[string]uint64, name string, n uint64) {
	if _, ok := counts[name]; !ok && len(counts) >= serverReasonMost {
		name = serverReasonElse
	}
	counts[name] += n
}

// serverReason is why a message was not stored, in few words.
func serverReason(err error) string {
	switch {
	case errors.Is(err, errDeliverQuota):
		return "mailbox full"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "disk full"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "not writable"
	}
	return "other"
}

func (t *serverTotals) merge(other *serverTotals) {
	t.Delivered += other.Delivered
	t.Bytes += other.Bytes
	for _, pair := range [][2]map[string]uint64{{t.NotDelivered, other.NotDelivered}, {t.Refused, other.Refused}, {t.Logins, other.Logins}, {t.LoginsFailed, other.LoginsFailed}} {
		for name, n := range pair[1] {
			pair[0][name] += n
		}
	}
}

// totals gives what was counted since the start and in the last 24 hours, the one that is running included.
func (n *serverCounts) totals(now time.Time) (all, day serverTotals) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn(now)
	all, day = newServerTotals(), newServerTotals()
	all.merge(&n.all)
	for i := range n.hours {
		day.merge(&n.hours[i])
	}
	return all, day
}

// connected counts a connection that was taken, or refused.
func (n *serverCounts) connected(service string, taken bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.services[service]
	if one == nil {
		one = &serverStatusService{Name: service}
		n.services[service] = one
	}
	if taken {
		one.Total++
	} else {
		one.Refused++
	}
}

// told takes the facts of the log's: they are counted, and the page shows them.
func (s *server) told(fact logFact) {
	s.count.told(fact)
	s.web.told(fact)
}

// status tells what is going on. With findings, which take a while, it tells also what is wrong.
func (s *server) status(findings bool) *serverStatus {
	c := s.doors.Load().config
	started := s.count.started
	st := &serverStatus{Running: true, Version: s.version, Hostname: c.hostname, Config: c.name, Started: &started,
		Uptime: int64(time.Since(started).Seconds()), Users: s.count.users(c, findings), Findings: []serverStatusFinding{}}
	st.Start, st.Day = s.count.totals(time.Now())
	st.Mailboxes, st.Messages = s.store.loaded()
	if until := s.certs.until(); !until.IsZero() {
		st.Certificate = &until
	}
	st.Services = s.services()
	if findings && s.check != nil {
		for _, f := range s.check(c) {
			st.Findings = append(st.Findings, serverStatusFinding{f.what, f.hint})
		}
	}
	return st
}

// services are those that are open or were used, in the order of [listen].
func (s *server) services() []serverStatusService {
	list := []serverStatusService{}
	open, listening := map[string]int{}, map[string]bool{}
	s.mu.Lock()
	for session := range s.sessions {
		open[session.service.name]++
	}
	for _, l := range s.listeners {
		listening[l.service.name] = true
	}
	s.mu.Unlock()
	s.count.mu.Lock()
	defer s.count.mu.Unlock()
	for i := range serverServices {
		name := serverServices[i].name
		one := serverStatusService{Name: name}
		if counted := s.count.services[name]; counted != nil {
			one = *counted
		} else if !listening[name] {
			continue
		}
		one.Open = open[name]
		list = append(list, one)
	}
	return list
}

// users tells what each user's mail takes: now, or as counted a minute ago at most.
func (n *serverCounts) users(c *config, now bool) []serverStatusUser {
	n.useMu.Lock()
	defer n.useMu.Unlock()
	if now || n.use == nil || time.Since(n.usedAt) > serverUseTime {
		n.use, n.usedAt = serverUsers(c), time.Now()
	}
	return n.use
}

// serverUsers counts each user's mail.
func serverUsers(c *config) []serverStatusUser {
	list := []serverStatusUser{}
	names, err := authList(c.storage.users)
	if err != nil {
		return list // which is a finding
	}
	for _, name := range names {
		user := serverStatusUser{Name: name}
		root := filepath.Join(c.storage.path, name)
		limits, _, err := mailboxCheckQuota(root, serverQuotas(c)(name), c.fixesQuota(name))
		used := mailboxQuota{}
		if err == nil {
			used, err = mailboxUse(root)
		}
		if err != nil {
			user.Problem = err.Error()
		}
		user.Bytes, user.Messages, user.QuotaBytes, user.QuotaMessages = used.bytes, used.messages, limits.bytes, limits.messages
		list = append(list, user)
	}
	return list
}

// serverStatusPath is where the server is asked. It lies where only the server's user and root get in.
func serverStatusPath(c *config) string {
	return filepath.Join(c.storage.path, serverDirectory, serverStatusFile)
}

// openStatus begins to answer letterbox status. Without it, the mail goes on.
func (s *server) openStatus(c *config) {
	path := serverStatusPath(c)
	l, err := serverListen("unix:" + path)
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			l.Close()
		}
	}
	if err != nil {
		logServerStatus(s.log, path, err)
		return
	}
	s.asked = l
	go func() {
		for {
			nc, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil { // descriptors are short; whoever asks waits
				time.Sleep(serverAcceptPause)
				continue
			}
			s.tellStatus(nc) // one after the other
		}
	}()
}

func (s *server) closeStatus() {
	if s.asked != nil {
		s.asked.Close() // and its file is gone
	}
}

// tellStatus answers one who asks.
func (s *server) tellStatus(nc net.Conn) {
	defer nc.Close()
	text, err := json.Marshal(s.status(true))
	if err == nil {
		if err = nc.SetDeadline(time.Now().Add(serverStatusTime)); err == nil {
			_, err = nc.Write(text)
		}
	}
	if err != nil {
		logServerStatus(s.log, "", err)
	}
}

// serverAskStatus asks the running server; fs.ErrNotExist if none is running.
func serverAskStatus(c *config) (*serverStatus, error) {
	path := serverStatusPath(c)
	nc, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission):
		return nil, serverHint{fmt.Errorf("asking the server: %w", err), "run it as the user that the server runs as, or as root: sudo letterbox status"}
	case err != nil:
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(serverStatusTime)); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(nc, serverStatusMost))
	st := &serverStatus{}
	if err == nil {
		err = json.Unmarshal(text, st)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	return st, nil
}

// serverFileStatus is what can be seen without a server.
func serverFileStatus(c *config, version string, findings []serverFinding) *serverStatus {
	st := &serverStatus{Version: version, Hostname: c.hostname, Config: c.name, Users: serverUsers(c), Services: []serverStatusService{},
		Start: newServerTotals(), Day: newServerTotals(), Findings: []serverStatusFinding{}}
	for _, f := range findings {
		st.Findings = append(st.Findings, serverStatusFinding{f.what, f.hint})
	}
	return st
}

// health tells by an error that the server cannot do its work.
func (s *server) health() error {
	s.alive() // who asks waits as long as a connection would
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return errors.New("the server is stopping")
	}
	const write, search = 2, 1
	if err := syscall.Access(s.store.root, write|search); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the mail directory cannot be written: %w", err)
	}
	if until := s.certs.until(); !until.IsZero() && until.Before(time.Now()) && !s.clk.now().IsZero() {
		return errors.New("the certificate has ended")
	}
	return nil
}

// until is when the certificate that clients are shown ends; zero: there is none.
func (t *serverCerts) until() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.files != nil:
		return t.files.cert.Leaf.NotAfter
	case t.leaf != nil && t.leaf.Leaf != nil:
		return t.leaf.Leaf.NotAfter
	}
	return time.Time{}
}

// serverNamesOf gives a map's names, sorted.
func serverNamesOf(counts map[string]uint64) (names []string) {
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
