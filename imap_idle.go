package main

import (
	"errors"
	"os"
	"strings"
	"time"
)

// imapIdleTell is how often IDLE says that it is there. Each time wakes a phone's
// radio, so it is rare; it must come before 29 minutes, when clients and routers give up
// (RFC 2177).
const imapIdleTell = 28 * time.Minute

// cmdIdle tells of changes as they come, until the client says DONE.
func (s *imapSession) cmdIdle() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	s.c.printf("+ idling")
	if s.selected != nil {
		s.selected.last = imapTree{} // a session may idle for days
	}
	told := time.Now()
	for {
		s.tellMetadata()
		next, err := s.tellNotified(true)
		if s.selected != nil && s.notify == nil {
			_, err = s.tell(true)
		}
		if err != nil {
			return s.leaveIdle(err)
		}
		if s.c.unsent() {
			told = time.Now()
		}
		if err := s.c.flush(); err != nil {
			return s.r.fail(err)
		}
		if still := told.Add(imapIdleTell); next.IsZero() || next.After(still) {
			next = still
		}
		switch err := s.c.wait(max(time.Until(next), time.Millisecond)); {
		case err == nil:
			return s.endIdle()
		case errors.Is(err, errWoken):
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(told.Add(imapIdleTell)): // a folder is due
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.c.printf("* OK Still here")
		case errors.Is(err, errShutdown):
			return imapBye("[UNAVAILABLE] the server is shutting down")
		case errors.Is(err, errConnLogin):
			return imapBye("[EXPIRED] " + err.Error())
		default:
			return s.r.fail(err)
		}
	}
}

// endIdle reads the line that ends IDLE.
func (s *imapSession) endIdle() error {
	line, err := s.c.readLine(imapLineMost)
	switch {
	case errors.Is(err, errLineTooLong):
		return imapBad("DONE ends IDLE")
	case err != nil:
		return s.r.fail(err)
	case !strings.EqualFold(string(line), "DONE"):
		return imapBad("DONE ends IDLE")
	}
	return nil
}

// leaveIdle ends IDLE for a reason of ours. The client's DONE is still to come.
func (s *imapSession) leaveIdle(reason error) error {
	if errors.Is(reason, errMailboxGone) {
		return imapBye("the mailbox was deleted or renamed") // it cannot be told within IDLE otherwise
	}
	logCommandFailed(s.c.log, s.user, s.name, reason)
	return imapBye("[SERVERBUG] something went wrong here, and was logged")
}
