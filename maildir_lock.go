package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Side files are changed under Dovecot's locks: FILE.lock is created exclusively
// and removed afterwards. Ours hold "pid:host" from the first moment, since they are
// written under another name first and then linked.
//
// A lock that a crash has left must not keep anybody waiting. It is stale if
//
//   - it names a process of this host that is not there, or that began after the
//     lock was made: process ids are given again after a restart;
//   - it names this process, and this process does not hold it: in a container the
//     process id is always 1;
//   - it is empty, and by its date older than a second, or seen so for that long;
//   - it is this host's, but from a time that has not come yet, for a second;
//   - it has not changed for a minute, whoever made it. Holders touch theirs.

const (
	maildirLockWait   = 10 * time.Second // then the caller hears that it is locked
	maildirLockEmpty  = time.Second
	maildirLockGlance = 50 * time.Millisecond // for a clock that is not quite ours
	maildirLockStale  = time.Minute           // Dovecot's figure for dovecot-uidlist.lock
	maildirLockTouch  = 15 * time.Second
	maildirLockPoll   = 20 * time.Millisecond
)

// maildirLock is a lock that is held.
type maildirLock struct {
	path  string
	local *sync.Mutex // against others in this process
	info  os.FileInfo
	touch *time.Timer
}

var (
	maildirLocals    sync.Map // by path of the lock: *sync.Mutex
	maildirLocksMu   sync.Mutex
	maildirLocksHeld = map[*maildirLock]struct{}{}            // guarded by maildirLocksMu
	maildirLocksSeen = map[string]maildirLockSeen{}           // guarded by maildirLocksMu
	maildirBooted    = sync.OnceValues(maildirProcessesBegun) // what /proc says of the start of processes
)

// maildirLockSeen is somebody else's lock as it was when it was seen first.
type maildirLockSeen struct {
	info  os.FileInfo
	since time.Time
}

// maildirLockFile takes path.lock, waiting for others, and gives errMaildirLocked if
// that takes long.
func maildirLockFile(path string) (*maildirLock, error) {
	path += ".lock"
	mutex, _ := maildirLocals.LoadOrStore(path, new(sync.Mutex))
	l := &maildirLock{path: path, local: mutex.(*sync.Mutex)}
	l.local.Lock()
	if err := l.take(); err != nil {
		l.local.Unlock()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return l, nil
}

func (l *maildirLock) take() error {
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, maildirLockPoll) {
		err := l.try()
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if l.removeStale() {
			continue
		}
		if time.Since(begun) > maildirLockWait {
			return errMaildirLocked
		}
		time.Sleep(pause)
	}
}

// try makes the lock file; fs.ErrExist if somebody has it.
func (l *maildirLock) try() error {
	mine := fileTemporary(l.path)
	f, err := fileCreate(mine, maildirFileMode)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return l.try() // a leftover with our process id; the next name is another
		}
		return err
	}
	_, err = f.WriteString(maildirLockContent())
	if err == nil {
		l.info, err = f.Stat()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		maildirLocksMu.Lock()
		if err = fileLink(mine, l.path); maildirNoLink(err) {
			err = l.tryExclusive()
		}
		if err == nil {
			maildirLocksHeld[l] = struct{}{}
			delete(maildirLocksSeen, l.path)
		}
		maildirLocksMu.Unlock()
	}
	os.Remove(mine) // else the sweep finds it
	if err == nil {
		l.touch = time.AfterFunc(maildirLockTouch, l.keep)
	}
	return err
}

// tryExclusive makes the lock file where there are no hard links: it is empty for
// a moment.
func (l *maildirLock) tryExclusive() error {
	f, err := fileCreate(l.path, maildirFileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(maildirLockContent())
	if err == nil {
		l.info, err = f.Stat()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(l.path) // else it is stale after a second
	}
	return err
}

// keep tells others that the holder is alive.
func (l *maildirLock) keep() {
	maildirLocksMu.Lock()
	defer maildirLocksMu.Unlock()
	if _, held := maildirLocksHeld[l]; held {
		now := time.Now()
		os.Chtimes(l.path, now, now) // if it fails others may think us dead after a minute
		l.touch.Reset(maildirLockTouch)
	}
}

// unlock gives the lock back.
func (l *maildirLock) unlock() {
	l.touch.Stop()
	maildirLocksMu.Lock()
	delete(maildirLocksHeld, l)
	if l.isOurs() {
		os.Remove(l.path) // one that cannot be removed is stale
	}
	maildirLocksMu.Unlock()
	l.local.Unlock()
}

// isOurs tells whether nobody has taken the lock from us, thinking us dead. An
// inode number alone does not tell: it may have been given again.
func (l *maildirLock) isOurs() bool {
	info, err := os.Lstat(l.path)
	if err != nil || !os.SameFile(info, l.info) {
		return false
	}
	content, err := os.ReadFile(l.path)
	return err == nil && string(content) == maildirLockContent()
}

// maildirLockContent is what our locks hold.
func maildirLockContent() string { return fmt.Sprintf("%d:%s", os.Getpid(), maildirHost()) }

// removeStale removes somebody's lock if it is stale, and tells whether to try
// again at once.
func (l *maildirLock) removeStale() bool {
	info, err := os.Lstat(l.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	content, err := os.ReadFile(l.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	maildirLocksMu.Lock()
	defer maildirLocksMu.Unlock()
	seen, known := maildirLocksSeen[l.path]
	if !known || !os.SameFile(seen.info, info) || !seen.info.ModTime().Equal(info.ModTime()) {
		seen = maildirLockSeen{info, time.Now()}
		maildirLocksSeen[l.path] = seen
	}
	if !maildirLockIsStale(info, content, time.Since(seen.since), time.Now()) {
		return false
	}
	delete(maildirLocksSeen, l.path)
	return maildirLockRemove(l.path, info, content)
}

// maildirLockRemove removes a lock that was looked at and is stale, and tells whether
// to try again at once. Between looking and removing, another program may have removed
// it and made its own, which may well have the same inode number: what is moved away
// must be what was looked at.
func maildirLockRemove(path string, info os.FileInfo, content []byte) bool {
	looked := func(path string) (bool, error) {
		now, err := os.Lstat(path)
		if err != nil {
			return false, err
		}
		text, err := os.ReadFile(path)
		return os.SameFile(now, info) && now.ModTime().Equal(info.ModTime()) && bytes.Equal(text, content), err
	}
	// Usually it tells here already, and a live lock need not be moved at all.
	if same, err := looked(path); err != nil || !same {
		return errors.Is(err, fs.ErrNotExist)
	}
	aside := fileTemporary(path)
	if err := os.Rename(path, aside); err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	if same, err := looked(aside); err != nil || !same {
		// Give it back. If there is a third by now, the second has lost it, and a Letterbox notices that.
		if err := os.Link(aside, path); maildirNoLink(err) {
			os.Rename(aside, path)
		}
	}
	os.Remove(aside) // else the sweep finds it
	return true
}

// maildirLockIsStale judges by the rules at the head of this file. since is how long
// it has been seen unchanged. maildirLocksMu is held.
func maildirLockIsStale(info os.FileInfo, content []byte, since time.Duration, now time.Time) bool {
	for l := range maildirLocksHeld {
		if os.SameFile(l.info, info) {
			return false
		}
	}
	if since > maildirLockStale {
		return true
	}
	age := now.Sub(info.ModTime())
	if len(bytes.Trim(content, "\x00")) == 0 {
		return since > maildirLockEmpty || age > maildirLockEmpty && since > maildirLockGlance
	}
	digits, host, ok := strings.Cut(strings.TrimSpace(string(content)), ":")
	pid, err := strconv.Atoi(digits)
	hostname, hostErr := os.Hostname()
	if !ok || err != nil || pid <= 0 || hostErr != nil || host != hostname && host != maildirHost() {
		return false
	}
	switch {
	case pid == os.Getpid(), errors.Is(syscall.Kill(pid, 0), syscall.ESRCH):
		return true
	case age > maildirLockStale:
		return true
	case age < -maildirLockEmpty:
		return since > maildirLockEmpty
	}
	begun, ok := maildirProcessBegan(pid)
	return ok && begun.After(info.ModTime().Add(maildirLockEmpty))
}

// maildirProcessesBegun gives the time this machine was started, by the clock as it
// is now, and whether that is known.
func maildirProcessesBegun() (time.Time, bool) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	_, rest, ok := strings.Cut(string(raw), "\nbtime ")
	if !ok {
		return time.Time{}, false
	}
	line, _, _ := strings.Cut(rest, "\n")
	seconds, err := strconv.ParseInt(line, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// maildirProcessBegan gives the time a process was started, where /proc tells it.
func maildirProcessBegan(pid int) (time.Time, bool) {
	booted, ok := maildirBooted()
	if !ok {
		return time.Time{}, false
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, false
	}
	// The name in parentheses may hold anything; field 22 is in hundredths of a second.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	return booted.Add(time.Duration(ticks) * 10 * time.Millisecond), err == nil
}

// maildirBoot names the time since this machine was started, "" if that is not known.
var maildirBoot = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // not Linux
	}
	return strings.TrimSpace(string(id))
})
