package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"
)

// cmdServe runs the server until SIGTERM or SIGINT. SIGHUP reloads. A second SIGTERM
// or SIGINT cuts the sessions that are left.
func cmdServe(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	log, err := cmdLog(line.stderr, line.log)
	if err != nil {
		return err
	}
	cmdServeMemory()
	c, err := line.load()
	if err != nil {
		return err
	}
	ends, hups := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	signal.Notify(hups, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more must not end the mail
	manager, err := serverFindManager(os.Getenv)
	if err != nil {
		return err
	}
	s, err := serverStart(serverSettings{manager: manager, multicast: serverMulticast(), config: c, load: line.load, log: log, version: cmdVersionText(), welcome: line.welcome, check: cmdFindings})
	if err != nil {
		return err
	}
	serverForgetStart()
	for {
		select {
		case <-hups:
			if err := s.reload(); err != nil {
				logServerNotReloaded(log, err)
			}
		case <-ends:
			cmdShutdown(s, ends)
			return nil
		}
	}
}

// cmdShutdown ends the server. Some programs send their signal twice at once; one that
// comes later is from somebody who does not want to wait.
func cmdShutdown(s *server, ends <-chan os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun := time.Now()
	go func() {
		for range ends {
			if time.Since(begun) > time.Second {
				cancel()
			}
		}
	}()
	s.shutdown(ctx)
}

// cmdServeMemory sets the garbage collector for a small box: most of what is in
// memory lives long, so collecting more often costs little and halves the peak.
func cmdServeMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// cmdLog makes the log.
func cmdLog(w io.Writer, level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{"info": slog.LevelInfo, "debug": slog.LevelDebug, "transcript": logTranscript}
	least, ok := levels[level]
	if !ok {
		return nil, cmdWrong(fmt.Sprintf("-log is info, debug or transcript, not %q", level))
	}
	return logNew(w, least), nil
}

// welcome shows the first user's password if there is somebody to read it.
func (l *cmdLine) welcome(text string) (bool, error) {
	f, ok := l.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false, nil
	}
	if _, err := fmt.Fprintf(f, "\n%s\n", text); err != nil {
		return false, fmt.Errorf("showing the first password: %w", err)
	}
	return true, nil
}
