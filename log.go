package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// The log room says what happened, one function per fact, to log/slog. Every
// line of a session carries the session's id, put there by the conn. A line
// never holds a password or a part of a message's body.

// logTranscript is the level of the protocol transcript, below debug.
const logTranscript = slog.LevelDebug - 4

// logNew makes a log of lines of text with the facts from a level on.
func logNew(w io.Writer, least slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: least, ReplaceAttr: logAttr}))
}

// logAttr gives the transcript's level its name.
func logAttr(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && len(groups) == 0 && a.Value.Any() == logTranscript {
		a.Value = slog.StringValue("TRANSCRIPT")
	}
	return a
}

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

// logLogin says that a user has logged in; how is the command that did it, app the app password, if it was one.
func logLogin(log *slog.Logger, user, how, app string) {
	logTell(log, logFact{what: "login", user: user, how: how, app: app})
	if app != "" {
		log.Info("login", "user", user, "by", how, "app", app)
		return
	}
	log.Info("login", "user", user, "by", how)
}

// logLoginFailed says that a login was refused; user is what the client called itself.
func logLoginFailed(log *slog.Logger, user, how string, err error) {
	logTell(log, logFact{what: "login failed", user: user, how: how, text: err.Error()})
	log.Warn("login failed", "user", user[:min(len(user), 80)], "by", how, "err", err)
}

// logAuthFileRead says that a changed file was read that says who is let in.
func logAuthFileRead(log *slog.Logger, path string) {
	log.Info("took the changed file", "file", path)
}

// logAuthFileBad says that a changed file cannot be used; what it said before counts on.
func logAuthFileBad(log *slog.Logger, path string, err error) {
	log.Error("the changed file cannot be used", "file", path, "err", err)
}

// logIMAPQuotaSet says that a user has set how much mail another may have.
func logIMAPQuotaSet(log *slog.Logger, by, user string, bytes, messages int64) {
	log.Info("limits set", "by", by, "user", user, "bytes", bytes, "messages", messages)
}

// logCommandFailed says that a command failed for a reason that is ours: the client
// hears only that it happened.
func logCommandFailed(log *slog.Logger, user, command string, err error) {
	log.Error("command failed", "user", user, "command", command, "err", err)
}

// logSessionEnd says why a session ended otherwise than by the client's good-bye.
func logSessionEnd(log *slog.Logger, user string, err error) {
	log.Debug("session ended", "user", user, "err", err)
}

// logIMAPClient notes what a client says it is (RFC 2971), names and values in turn.
func logIMAPClient(log *slog.Logger, user string, pairs []string) {
	var words [2]string
	for i := 0; i+1 < len(pairs); i += 2 {
		if at := slices.Index([]string{"name", "version"}, strings.ToLower(pairs[i])); at >= 0 {
			words[at] = pairs[i+1]
		}
	}
	if user != "" && words[0] != "" {
		logTell(log, logFact{what: "client", user: user, text: strings.TrimSpace(words[0] + " " + words[1])})
	}
	log.Debug("IMAP client", "user", user, "id", pairs)
}

// logCommand is the protocol transcript: a command without its passwords.
func logCommand(log *slog.Logger, command, arguments string) {
	if log.Enabled(context.Background(), logTranscript) {
		log.Log(context.Background(), logTranscript, "command", "command", command, "arguments", arguments)
	}
}

// logPopNotHidden says that messages which a POP3 client deleted went to another
// folder, because the INBOX has no letter left for the keyword that hides them.
func logPopNotHidden(log *slog.Logger, user, folder string, messages int) {
	log.Warn("all 26 keywords of the INBOX are taken, so deleted messages cannot be hidden from POP3 there and were moved",
		"user", user, "to", folder, "messages", messages)
}

// logDeliverAlias says that an alias names what is no address of this box.
func logDeliverAlias(log *slog.Logger, alias, target string) {
	log.Warn("an alias leads nowhere", "alias", alias, "to", target)
}

// logDelivered says that a message is durably in the mailboxes of one recipient.
func logDelivered(log *slog.Logger, id, sender, recipient string, size int64) {
	logTell(log, logFact{what: "delivered", sender: sender, to: recipient, size: size})
	log.Info("delivered", "id", id, "sender", sender, "recipient", recipient, "size", size)
}

// logRefused says that a sender or recipient was refused, and how.
func logRefused(log *slog.Logger, command, arguments string, code int, text string) {
	logTell(log, logFact{what: "refused", how: command + " " + arguments[:min(len(arguments), 300)], text: fmt.Sprint(code, " ", text)})
	log.Info("refused", "command", command, "arguments", arguments[:min(len(arguments), 300)], "code", code, "text", text)
}

// logNotDelivered says that a message was not stored for one recipient; the client
// was told.
func logNotDelivered(log *slog.Logger, id, sender, recipient string, err error) {
	logTell(log, logFact{what: "not delivered", sender: sender, to: recipient, text: err.Error(), err: err})
	log.Warn("not delivered", "id", id, "sender", sender, "recipient", recipient, "err", err)
}

// logSpoolTrouble says that the directory for programs' mail cannot be used.
func logSpoolTrouble(log *slog.Logger, path string, err error) {
	log.Warn("the spool cannot be used, so programs cannot leave mail while the server is away", "spool", path, "err", err)
}

// logSpoolKept says that a file in the spool was not delivered to all, and why.
func logSpoolKept(log *slog.Logger, path string, err error) {
	log.Warn("stays in the spool", "file", path, "err", err)
}

// logSpoolTold says who was told that mail of a program cannot be delivered.
func logSpoolTold(log *slog.Logger, sender, told, lost string) {
	log.Warn("mail of a program cannot be delivered", "sender", sender, "to", lost, "told", told)
}

// logWebChange says what a user has changed on the page.
func logWebChange(log *slog.Logger, user, what, whom string) {
	log.Info("changed on the page", "user", user, "what", what, "whom", whom)
}
