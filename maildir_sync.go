package main

import "sync"

// maildirSyncGroup lets callers that come together share one fsync of a
// directory: who comes while one is going on waits for the next, which begins
// after all of them came.
type maildirSyncGroup struct {
	turn sync.Mutex // held while syncing; whoever waits for it leads the next round

	mu   sync.Mutex // guards next; never held while syncing
	next *maildirSyncRound
}

type maildirSyncRound struct {
	done chan struct{}
	err  error // valid once done is closed
}

// sync returns after an fsync of dir that began after the call.
func (g *maildirSyncGroup) sync(dir string) error {
	g.mu.Lock()
	round, leads := g.next, false
	if round == nil {
		round, leads = &maildirSyncRound{done: make(chan struct{})}, true
		g.next = round
	}
	g.mu.Unlock()
	if !leads {
		<-round.done
		return round.err
	}
	g.turn.Lock()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	round.err = syncDir(dir)
	g.turn.Unlock()
	close(round.done)
	return round.err
}

// syncDirs makes the names in new/ and/or cur/ durable. Callers that come
// together share one fsync: a call returns after an fsync that began after it.
func (md *maildir) syncDirs(new, cur bool) error {
	if new {
		if err := md.newSyncs.sync(md.dir(false)); err != nil {
			return err
		}
	}
	if cur {
		return md.curSyncs.sync(md.dir(true))
	}
	return nil
}
