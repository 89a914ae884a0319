package main

import (
	"sort"
	"time"
)

// Which messages of INBOX POP3 clients have fetched, and when. What it says is never the only reason to keep a
// message: without it, messages count as not fetched yet.

// mailboxFetchedRange are messages of INBOX that were fetched at one time.
type mailboxFetchedRange struct {
	validity    uint32
	first, last uint32 // UIDs
	at          time.Time
}

// mailboxFetched is all that was fetched.
type mailboxFetched struct {
	list  []mailboxFetchedRange
	stale bool // there is a reason to write it anew
	size  int64
}

// noteFetched keeps that messages were fetched, those that were fetched before left out. at is zero while the time is
// not believed. It is durable when it returns.
func (t *mailboxTree) noteFetched(validity uint32, uids []uint32, at time.Time) error {
	if len(uids) == 0 {
		return nil
	}
	t.fetching.Lock()
	defer t.fetching.Unlock()
	known, _, err := maildirReadFetched(t.root)
	if err != nil {
		return err
	}
	sort.Slice(known, func(i, j int) bool { // no generic one: each type of it takes 10 KiB of the program
		return known[i].validity < known[j].validity || known[i].validity == known[j].validity && known[i].first < known[j].first
	})
	var news []maildirFetched
	seconds := int64(0)
	if !at.IsZero() {
		seconds = at.Unix()
	}
	for _, uid := range uids {
		i := sort.Search(len(known), func(i int) bool {
			return known[i].validity > validity || known[i].validity == validity && known[i].first > uid
		})
		if i > 0 && known[i-1].validity == validity && known[i-1].last >= uid {
			continue
		}
		if n := len(news); n > 0 && news[n-1].last+1 == uid {
			news[n-1].last = uid
			continue
		}
		news = append(news, maildirFetched{validity, uid, uid, seconds})
	}
	if len(news) == 0 {
		return nil
	}
	return mailboxError(maildirAddFetched(t.root, news))
}

// fetched gives what was fetched. What has no time, or one that is still to come, was fetched now, as far as
// anybody can know.
func (t *mailboxTree) fetched(now time.Time) (mailboxFetched, error) {
	t.fetching.Lock()
	defer t.fetching.Unlock()
	known, size, err := maildirReadFetched(t.root)
	all := mailboxFetched{size: size}
	for _, f := range known {
		at := time.Unix(f.at, 0)
		if f.at == 0 || at.After(now.Add(time.Hour)) {
			at, all.stale = now, true
		}
		all.list = append(all.list, mailboxFetchedRange{f.validity, f.first, f.last, at})
	}
	return all, err
}

// keepFetched keeps the rest of what fetched gave, in order of UIDs. What has been noted meanwhile stays.
func (t *mailboxTree) keepFetched(old mailboxFetched, rest []mailboxFetchedRange) error {
	t.fetching.Lock()
	defer t.fetching.Unlock()
	var list []maildirFetched
	for _, f := range rest {
		if n := len(list) - 1; n >= 0 && list[n].validity == f.validity && list[n].last+1 == f.first && list[n].at == f.at.Unix() {
			list[n].last = f.last
			continue
		}
		list = append(list, maildirFetched{f.validity, f.first, f.last, f.at.Unix()})
	}
	return mailboxError(maildirReplaceFetched(t.root, list, old.size))
}
