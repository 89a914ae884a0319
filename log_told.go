package main

import (
	"log/slog"
	"time"
)

// Some facts are told to somebody besides being logged: they are counted, and the page shows them.

// logFact is one of them. Which fields say something depends on what it is.
type logFact struct {
	what   string // "delivered", "not delivered", "refused", "login", "login failed", "client"
	at     time.Time
	door   string // the service, and the client's address
	from   string
	user   string
	how    string // the command
	app    string // the app password
	sender string
	to     string // the recipient
	text   string // why, or the client's name
	size   int64
	err    error // of "not delivered"
}

// logTeller is a handler that passes the facts of its log on.
type logTeller struct {
	slog.Handler
	tell       func(logFact)
	door, from string
}

// logTelling makes a log whose facts are told as well. tell must not log, nor wait.
func logTelling(log *slog.Logger, tell func(logFact)) *slog.Logger {
	return slog.New(&logTeller{Handler: log.Handler(), tell: tell})
}

func (t *logTeller) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	with.Handler = t.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		switch a.Key {
		case "door":
			with.door = a.Value.String()
		case "from":
			with.from = a.Value.String()
		}
	}
	return &with
}

func (t *logTeller) WithGroup(name string) slog.Handler {
	with := *t
	with.Handler = t.Handler.WithGroup(name)
	return &with
}

// logTell passes a fact on, if somebody wants it.
func logTell(log *slog.Logger, fact logFact) {
	if t, ok := log.Handler().(*logTeller); ok {
		fact.at, fact.door, fact.from = time.Now(), t.door, t.from
		t.tell(fact)
	}
}
