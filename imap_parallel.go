package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// imapWorkersMost bounds how many cores one command uses.
const imapWorkersMost = 8

// imapParallel calls do for each number below n, on several cores if that is worth
// a goroutine. Calls with the same worker number come one after the other.
func imapParallel(n int, do func(worker, i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/4, imapWorkersMost)
	if workers < 2 {
		for i := range n {
			do(0, i)
		}
		return
	}
	var next atomic.Int32
	var wg sync.WaitGroup
	var panicked atomic.Pointer[string]
	for worker := range workers {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil { // one session's fault ends no other's
					text := fmt.Sprintf("%v\n%s", p, debug.Stack())
					panicked.CompareAndSwap(nil, &text)
				}
			}()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(worker, i)
			}
		})
	}
	wg.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
}
