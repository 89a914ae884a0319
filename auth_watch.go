package main

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// authWatched is a file that says who is let in, as it was read last. It is read again when it has
// changed; while it cannot be used, what it said before counts.
type authWatched[T any] struct {
	path string
	read func(path string) (T, error)
	log  *slog.Logger

	mu        sync.Mutex // guards all below
	value     T
	stamp     string
	looked    time.Time // when the file was last looked at
	complaint string    // as last logged
}

const authLook = 5 * time.Second // how long a changed file may be overlooked

func authWatch[T any](path string, read func(path string) (T, error), log *slog.Logger) (*authWatched[T], error) {
	w := &authWatched[T]{path: path, read: read, log: log, stamp: authStamp(path), looked: time.Now()}
	var err error
	w.value, err = read(path)
	return w, err
}

// authStamp is something that changes when a file does.
func authStamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "gone"
	}
	return fmt.Sprintln(info.Size(), info.ModTime().UnixNano())
}

// current is what the file says.
func (w *authWatched[T]) current() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) < authLook {
		return w.value
	}
	w.looked = time.Now()
	stamp := authStamp(w.path)
	if stamp == w.stamp {
		return w.value
	}
	value, err := w.read(w.path)
	if err != nil {
		if err.Error() != w.complaint {
			w.complaint = err.Error()
			logAuthFileBad(w.log, w.path, err)
		}
		return w.value
	}
	w.value, w.stamp, w.complaint = value, stamp, ""
	logAuthFileRead(w.log, w.path)
	return value
}
