package main

import "log/slog"

// The log room says what happened, one function per fact, to log/slog. Every
// line of a session carries the session's id, put there by the conn. A line
// never holds a password or a part of a message's body.

// logTranscript is the level of the protocol transcript, below debug.
const logTranscript = slog.LevelDebug - 4
