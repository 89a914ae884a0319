//go:build !linux

package main

import "errors"

// mailboxInotify is what watches folders on Linux. Elsewhere watching would need a
// descriptor for each file in them (kqueue), so there is none.
type mailboxInotify struct{}

func newMailboxInotify() (*mailboxInotify, error) { return nil, nil }

var errMailboxNoInotify = errors.New("there is no inotify here")

func (*mailboxInotify) add(string, bool) (int, error) { return 0, errMailboxNoInotify }
func (*mailboxInotify) remove(int)                    {}
func (*mailboxInotify) next() ([]int, bool, error)    { return nil, false, errMailboxNoInotify }
func (*mailboxInotify) close()                        {}

// mailboxIsShared is not asked: all is polled.
func mailboxIsShared(string) bool { return true }
