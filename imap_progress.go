package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// INPROGRESS (RFC 9585): a client that has to wait for long is told that its command is under way, and how far it is,
// which also keeps routers from forgetting the connection.
//
// What may take long does not touch the connection, and a timer's goroutine tells meanwhile. A command of usual
// length ends before there is anything to tell, and pays no more than the timer.

// imapProgressEach is the time between two notifications (RFC 9585, section 4: every 10 to 15 seconds).
const imapProgressEach = 10 * time.Second

// imapProgress is how far the command is that is running.
type imapProgress struct {
	each  time.Duration
	next  time.Time    // when the client is told, if it has heard nothing else until then
	done  atomic.Int64 // messages dealt with, each as often as times says
	goal  int64        // how many messages there are; 0: not known
	times int64
}

// begins notes how much the command that is running has to do. Without that, nobody knows.
func (s *imapSession) begins(messages, times int) *imapProgress {
	p := &imapProgress{each: cmp.Or(s.door.progressEach, imapProgressEach), goal: int64(messages), times: int64(times)}
	if p.delay(); s.progress != nil {
		p.next = s.progress.next
	}
	s.progress = p
	return p
}

// during runs work, and tells the client meanwhile how far it is. Who tells is the timer: work does not touch the
// connection, and mostly it has ended before.
func (s *imapSession) during(work func() error) error {
	if s.progress == nil {
		s.begins(0, 1)
	}
	var telling sync.Mutex // guards all of the session while it is told
	ended := false
	var panicked any // of who tells: it ends the session, not the server
	telling.Lock()
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(s.progress.next), func() {
		telling.Lock()
		defer telling.Unlock()
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
		}()
		if !ended {
			s.tellProgress()
			timer.Reset(time.Until(s.progress.next))
		}
	})
	telling.Unlock()
	defer func() {
		timer.Stop()
		telling.Lock()
		defer telling.Unlock()
		if ended = true; panicked != nil {
			panic(panicked)
		}
	}()
	return work()
}

// tellProgress tells how far the command is.
func (s *imapSession) tellProgress() {
	p := s.progress
	p.delay()
	tag := `"` + s.tag + `"`
	if strings.Contains(s.tag, "]") { // it would end the response code
		tag = "NIL"
	}
	s.c.printf("* OK [INPROGRESS (%s %s)] %s is under way", tag, p.state(), s.name)
	s.c.flush() // an error is met again
}

// delay puts off when the client is told next.
func (p *imapProgress) delay() { p.next = time.Now().Add(p.each) }

// state is inprogress-state (RFC 9585, section 5). What is done stays below the goal until the command has ended.
func (p *imapProgress) state() string {
	done := p.done.Load() / p.times
	switch {
	case p.goal > 0:
		return fmt.Sprintf("%d %d", max(0, min(done, p.goal-1)), p.goal)
	case done > 0:
		return fmt.Sprintf("%d NIL", done)
	}
	return "NIL NIL"
}
