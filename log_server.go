package main

import (
	"log/slog"
	"time"
)

// The facts of the server.

func logServerReady(log *slog.Logger, version, config, hostname string) {
	log.Info("ready", "version", version, "config", config, "hostname", hostname)
}

func logServerRoot(log *slog.Logger) {
	log.Warn("running as root, which mail does not need", "hint", "set user in config.toml, or use the systemd unit")
}

func logServerListening(log *slog.Logger, service, address string) {
	log.Info("listening", "service", service, "address", address)
}

func logServerClosed(log *slog.Logger, service, address string) {
	log.Info("no longer listening", "service", service, "address", address)
}

func logServerReloaded(log *slog.Logger, config string) {
	log.Info("reloaded", "config", config)
}

// logServerNotReloaded says that the old configuration stays, and why.
func logServerNotReloaded(log *slog.Logger, err error) {
	log.Error("not reloaded, the old configuration stays", "err", err)
}

func logServerNeedsRestart(log *slog.Logger, what string) {
	log.Warn("this change needs a restart, until then the old value stays", "setting", what)
}

func logServerStopping(log *slog.Logger, sessions int) {
	log.Info("stopping", "sessions", sessions)
}

func logServerStopped(log *slog.Logger, cut int) {
	log.Info("stopped", "cut", cut)
}

func logServerAccept(log *slog.Logger, service string, err error) {
	log.Error("cannot accept connections for now", "service", service, "err", err)
}

func logServerTooMany(log *slog.Logger, service, from string, all, fromThere int) {
	log.Warn("too many connections", "service", service, "from", from, "connections", all, "of_address", fromThere)
}

func logServerUntrusted(log *slog.Logger, service, from string) {
	log.Warn("refused, not in trusted_networks", "service", service, "from", from)
}

// logServerPanic says that a session met a fault of ours and was ended.
func logServerPanic(log *slog.Logger, fault any, stack []byte) {
	log.Error("a session ended by a fault of the program", "fault", fault, "stack", string(stack))
}

// logServerClock says that the time is not believed, and what follows.
func logServerClock(log *slog.Logger, now, built, newest time.Time) {
	log.Warn("the clock is not believed: no certificates are made and nothing is removed until it is set",
		"clock", now, "built", built, "newest", newest)
}

func logServerClockFile(log *slog.Logger, path string, err error) {
	log.Error("cannot keep the time", "file", path, "err", err)
}

func logServerCAMade(log *slog.Logger, path, fingerprint, why string) {
	log.Warn("made a CA, devices that shall trust this box need it", "file", path, "sha256", fingerprint, "why", why)
}

func logServerLeafMade(log *slog.Logger, path, why string, until time.Time) {
	log.Info("made a certificate", "file", path, "why", why, "until", until)
}

func logServerCertRead(log *slog.Logger, path string, until time.Time) {
	log.Info("took the new certificate", "file", path, "until", until)
}

// logServerCertBad says that a certificate cannot be had; the old one stays.
func logServerCertBad(log *slog.Logger, path string, err error) {
	log.Error("no new certificate", "file", path, "err", err)
}

func logServerACME(log *slog.Logger, name string, until time.Time) {
	log.Info("got a certificate", "name", name, "until", until)
}

// logServerACMEFailed says why the CA gives no certificate; devices are shown the old one, or our own.
func logServerACMEFailed(log *slog.Logger, name string, err error) {
	log.Error("no certificate from the CA", "name", name, "err", err)
}

// logServerFirstUser says where the first user's password is; file is "" if it was shown.
func logServerFirstUser(log *slog.Logger, name, users, file string) {
	if file == "" {
		log.Info("made the first user", "user", name, "users", users)
		return
	}
	log.Warn("made the first user, its password is in a file", "user", name, "users", users, "file", file)
}

// logServerStatus says that letterbox status does not get an answer; path is "" if only one did not.
func logServerStatus(log *slog.Logger, path string, err error) {
	log.Warn("letterbox status cannot be answered", "socket", path, "err", err)
}

// logServerLogins says that the record of logins cannot be kept.
func logServerLogins(log *slog.Logger, err error) {
	log.Error("the record of logins cannot be read or written", "err", err)
}

// logServerExpire says that nobody knows whose mail is to be looked at.
func logServerExpire(log *slog.Logger, err error) {
	log.Error("no mail expires for now", "err", err)
}

func logMDNS(log *slog.Logger, what string, err error) {
	log.Warn("multicast DNS: "+what, "error", err)
}

func logMDNSTaken(log *slog.Logger, name, address string) {
	log.Warn("another box at home has this name, so that nothing is announced there", "name", name, "address", address, "hint", "set another hostname in config.toml")
}
