package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// serverClock says which time is believed. A Pi or a router without a battery
// starts in 1970, or with the time of its last shutdown. The time is believed if it
// is later than this program's making and than the newest time that was believed
// before, which a file keeps. A time that was wrong by years and got into the file is
// given up when the clock has run on steadily for a day.
type serverClock struct {
	wall  func() time.Time
	path  string
	built time.Time
	log   *slog.Logger

	mu       sync.Mutex // guards all below
	newest   time.Time  // that the file knows
	start    time.Time  // the clock at the start, or after its last jump
	since    time.Time  // the same instant by a clock that does not jump
	believed bool       // as last logged
	asked    bool
}

const (
	serverBuiltAtLeast = "2026-11-01T00:00:00Z" // where the program does not tell when it was made
	serverClockSlack   = 10 * time.Minute       // clocks are put right by seconds at any time
	serverClockSteady  = 24 * time.Hour
	serverClockRare    = 24 * time.Hour // how often the file is written: flash wears
)

// serverBuilt is a time that is in the past for certain, by a day: the making machine's
// clock need not be exact either.
func serverBuilt() time.Time {
	built, _ := time.Parse(time.RFC3339, serverBuiltAtLeast)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if at, err := time.Parse(time.RFC3339, setting.Value); setting.Key == "vcs.time" && err == nil {
				built = at
			}
		}
	}
	return built.Add(-24 * time.Hour)
}

// serverOpenClock reads what the file knows.
func serverOpenClock(path string, wall func() time.Time, built time.Time, log *slog.Logger) (*serverClock, error) {
	newest, err := serverNewest(path)
	if err != nil {
		return nil, err
	}
	c := &serverClock{wall: wall, path: path, built: built, log: log, newest: newest, start: wall(), since: time.Now()}
	c.note()
	return c, nil
}

// serverNewest reads the newest time that was believed. A file that was torn is as
// good as none.
func serverNewest(path string) (newest time.Time, err error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return newest, serverPathError("reading", path, err)
	}
	if at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err == nil {
		newest = at
	}
	return newest, nil
}

// now is the time, or the zero time while it is not believed.
func (c *serverClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check()
}

// check is now with c.mu held.
func (c *serverClock) check() time.Time {
	now := c.wall()
	running := time.Since(c.since)
	if drift := now.Sub(c.start) - running; drift > time.Hour || drift < -time.Hour { // a jump
		c.start, c.since, running = now, time.Now(), 0
	}
	ok := now.After(c.built) && (now.After(c.newest.Add(-serverClockSlack)) || running > serverClockSteady)
	if ok != c.believed || !c.asked {
		c.believed, c.asked = ok, true
		if !ok {
			logServerClock(c.log, now, c.built, c.newest)
		} else if now.Before(c.newest.Add(-serverClockSlack)) {
			c.newest = time.Time{} // it was wrong
		}
	}
	if !ok {
		return time.Time{}
	}
	return now
}

// note keeps the time in the file, now and then. It must not be written at once after
// a jump: one that is wrong would be remembered.
func (c *serverClock) note() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.check()
	steady := time.Since(c.since) > serverHourly/2 || c.newest.IsZero()
	if now.IsZero() || !steady || !c.newest.IsZero() && now.Sub(c.newest) < serverClockRare {
		return
	}
	if err := fileReplace(c.path, []byte(now.UTC().Format(time.RFC3339)+"\n"), 0o600); err != nil {
		logServerClockFile(c.log, c.path, err)
		return
	}
	c.newest = now
}
