package main

import (
	"log/slog"
	"time"
)

// The facts of mail that looks after itself.

// logRetainRemoved says that a message has been removed from a folder, where it was since a time.
func logRetainRemoved(log *slog.Logger, user, folder string, uid uint32, since time.Time, days int) {
	log.Info("expired", "user", user, "folder", folder, "uid", uid, "since", since, "days", days)
}

// logRetainBehind says that the clock is ahead of the time that has passed while the server ran.
func logRetainBehind(log *slog.Logger, clock, counted time.Time) {
	log.Info("mail expires later, until the time that has passed here has caught up with the clock", "clock", clock, "counted", counted)
}

func logRetainNote(log *slog.Logger, err error) {
	log.Error("cannot keep the time by which mail expires", "err", err)
}

// logRetainWarned says that a user was told that there is little room left.
func logRetainWarned(log *slog.Logger, user string, percent int) {
	log.Info("warned of the quota", "user", user, "percent", percent)
}

// logRetainNotWarned says that there is not even room for the warning.
func logRetainNotWarned(log *slog.Logger, user string, percent int, err error) {
	log.Warn("no room for the warning of the quota", "user", user, "percent", percent, "err", err)
}

// logPopExpired says that a message that POP3 fetched at a time has gone the way of on_delete.
func logPopExpired(log *slog.Logger, user string, uid uint32, fetched time.Time, way string) {
	log.Info("expired for POP3", "user", user, "uid", uid, "fetched", fetched, "way", way)
}
