package main

import (
	"slices"
	"sync"
	"time"
)

// webEvent is something that came in, or was refused.
type webEvent struct {
	At   time.Time
	What string // as logFact has it
	From string // the client's address
	Text string // what it was about
	Why  string
	Size int64
	Good bool
}

const (
	webEventsMost = 200
	webEventText  = 160 // bytes of each text
)

// webEvents are the last ones.
type webEvents struct {
	mu   sync.Mutex // guards all below
	ring []webEvent
	next int
}

func (e *webEvents) told(fact logFact) {
	event := webEvent{At: fact.at, What: fact.what, From: webClean(fact.from, 60), Why: webClean(fact.text, webEventText), Size: fact.size, Good: fact.what == "delivered"}
	switch fact.what {
	case "delivered", "not delivered":
		sender := fact.sender
		if sender == "" {
			sender = "<>"
		}
		event.Text = webClean(sender, webEventText) + " → " + webClean(fact.to, webEventText)
	case "login failed":
		event.Text = webClean(fact.user, 80) + ", by " + webClean(fact.how, 40)
	default:
		event.Text = webClean(fact.how, webEventText)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) < webEventsMost {
		e.ring = append(e.ring, event)
		return
	}
	e.ring[e.next] = event
	e.next = (e.next + 1) % webEventsMost
}

// last are all that are kept, the newest first.
func (e *webEvents) last() []webEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Concat(e.ring[e.next:], e.ring[:e.next])
	slices.Reverse(list)
	return list
}
