package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// What the service manager is told, if there is one: that the server is ready, reloads, stops, and is alive
// (sd_notify(3)). systemd says by NOTIFY_SOCKET where, and by WATCHDOG_USEC how often.

// serverManager is the service manager; nil: there is none.
type serverManager struct {
	conn   net.Conn
	every  time.Duration // between two signs of life; 0: none are wanted
	ticker *time.Ticker
}

// serverFindManager finds the service manager by what it has put into the environment.
func serverFindManager(getenv func(string) string) (*serverManager, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("reaching the service manager (NOTIFY_SOCKET): %w", err)
	}
	m := &serverManager{conn: conn}
	if text := getenv("WATCHDOG_USEC"); text != "" && (getenv("WATCHDOG_PID") == "" || getenv("WATCHDOG_PID") == strconv.Itoa(os.Getpid())) {
		usec, err := strconv.ParseInt(text, 10, 64)
		if err != nil || usec <= 0 {
			conn.Close()
			return nil, fmt.Errorf("WATCHDOG_USEC is no number of microseconds: %q", text)
		}
		m.every = time.Duration(usec) * time.Microsecond / 2 // as sd_watchdog_enabled(3) wants it
	}
	return m, nil
}

// tell sends a state, such as "READY=1". Nobody can be told that the service manager does not listen; it
// takes its own measures.
func (m *serverManager) tell(state string) {
	if m != nil {
		_, _ = m.conn.Write([]byte(state))
	}
}

// watch gives signs of life as long as alive returns.
func (m *serverManager) watch(alive func()) {
	if m == nil || m.every == 0 {
		return
	}
	m.ticker = time.NewTicker(m.every)
	go func() {
		for range m.ticker.C {
			alive()
			m.tell("WATCHDOG=1")
		}
	}()
}

// alive returns at once, unless something holds for good what every connection needs.
func (s *server) alive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
}
