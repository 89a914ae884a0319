package main

import "log/slog"

// The log room says what happened, one function per fact, to log/slog. Every
// line of a session carries the session's id, put there by the conn. A line
// never holds a password or a part of a message's body.

// logTranscript is the level of the protocol transcript, below debug.
const logTranscript = slog.LevelDebug - 4

// logMailboxTrouble says that something in a user's folder did not work.
func logMailboxTrouble(log *slog.Logger, user, folder string, err error) {
	log.Error("mailbox trouble", "user", user, "folder", folder, "err", err)
}

// logMailboxNoWatch says that the kernel does not tell of changes in a folder.
func logMailboxNoWatch(log *slog.Logger, err error) {
	log.Warn("watching folders does not work, polling them every 30 seconds", "err", err)
}

// logAuthFirstLogin says what became of the file with the first user's password.
func logAuthFirstLogin(log *slog.Logger, path string, err error) {
	if err != nil {
		log.Error("the file with the first password should go, but does not", "file", path, "err", err)
		return
	}
	log.Info("first login: removed the file with the first password", "file", path)
}
