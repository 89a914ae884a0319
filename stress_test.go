package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many clients do at random what clients do, on few mailboxes, while mail is delivered by LMTP and, in
// one of the runs, another program changes the files. Each client believes only what it was told
// (stress_client_test.go) and every answer is held against that. In between all rest: then all clients'
// pictures must be what lies in the files.
//
// Between two rounds the server may start anew, with what the index says or without.
//
//	go test -race -run TestStress . -stress 1h
//	go test -run TestStress . -stress-seed 4711     # what each client tries is the same again; who is faster is not

var (
	stressTime = flag.Duration("stress", 2*time.Second, "how long the stress test takes")
	stressSeed = flag.Uint64("stress-seed", 0, "seed of the stress test; 0: a new one")
)

var (
	stressFolders = []string{"INBOX", "Work", "Trash"}
	stressDirs    = []string{"", ".Work", ".Trash"}
)

const (
	stressClients  = 8
	stressMost     = 60 // messages in a mailbox, about
	stressOps      = 25 // of each client, before all rest
	stressPatience = 15 * time.Second
)

// stressWorld is what the clients of one run share.
type stressWorld struct {
	t       *testing.T
	dir     string
	seed    uint64
	outside bool // another program changes the files
	store   *mailboxStore
	door    *imapDoor

	serving sync.WaitGroup

	mu       sync.Mutex // guards all below
	texts    map[string]string
	mids     map[stressUID]string // what is known of who is who
	flags    map[stressModSeq]string
	emailIDs map[string]string // by Message-ID
	doomed   map[string]bool   // Message-IDs that somebody may have removed
	acked    map[string]bool
}

// stressUID is a message by its UID, which no other ever has.
type stressUID struct {
	folder string
	uid    uint32
}

// stressModSeq is a message in one state: with the same mod-sequence it has the same flags.
type stressModSeq struct {
	stressUID
	modSeq uint64
}

func TestStress(t *testing.T) {
	for _, outside := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "outside"}[outside], func(t *testing.T) { stress(t, outside) })
	}
}

func stress(t *testing.T, outside bool) {
	w := &stressWorld{t: t, dir: t.TempDir(), seed: cmp.Or(*stressSeed, uint64(time.Now().UnixNano())), outside: outside,
		texts: map[string]string{}, mids: map[stressUID]string{}, flags: map[stressModSeq]string{}, emailIDs: map[string]string{},
		doomed: map[string]bool{}, acked: map[string]bool{}}
	defer func() {
		if t.Failed() {
			t.Logf("again with -stress-seed %d", w.seed)
		}
	}()
	w.door = testImapDoor(t, w.dir)
	w.start()
	defer func() { w.store.close() }()
	var clients []*stressClient
	for i := range stressClients {
		c := &stressClient{w: w, id: i, random: rand.New(rand.NewPCG(w.seed, uint64(i))), condstore: i%4 != 0, qresync: i%4 >= 2, rev2: i%3 == 1,
			uidOnly: i == 3 || i == 4, compress: i%2 == 1, notified: i == 2 || i == 5}
		clients = append(clients, c)
		w.together(func() {
			if c.connect(); i == 0 {
				for _, folder := range stressFolders[1:] {
					c.command(false, "CREATE %s", folder)
				}
			}
			c.selects(stressFolders[i%len(stressFolders)], nil)
		})
	}
	random := rand.New(rand.NewPCG(w.seed, 3000))
	for round, end := 0, time.Now().Add(*stressTime/2); !t.Failed() && (round == 0 || time.Now().Before(end)); round++ {
		w.round(clients, round)
		if !t.Failed() && random.IntN(3) == 0 {
			w.restart(clients, random)
		}
	}
	for _, c := range clients {
		c.leave()
	}
	w.serving.Wait()
}

// round lets all do something at the same time, and then rest.
func (w *stressWorld) round(clients []*stressClient, round int) {
	var all []func()
	for _, c := range clients {
		all = append(all, func() {
			for range stressOps {
				if w.t.Failed() {
					return
				}
				c.something()
			}
		})
	}
	all = append(all, func() { w.deliver(round) })
	if w.outside {
		all = append(all, func() { w.meddle(rand.New(rand.NewPCG(w.seed, uint64(1000+round)))) })
	}
	if w.together(all...); !w.t.Failed() {
		w.settle(clients)
	}
}

// start begins with what is in the files.
func (w *stressWorld) start() {
	store, err := newMailboxStore(mailboxSettings{root: w.dir, now: time.Now, log: slog.New(slog.DiscardHandler), watch: true})
	must(w.t, err)
	w.store, w.door.store = store, store
}

// restart ends the server and begins anew, perhaps without what it had noted for itself. The clients come back
// from where they left.
func (w *stressWorld) restart(clients []*stressClient, random *rand.Rand) {
	for _, c := range clients {
		c.remember()
		c.leave()
	}
	w.serving.Wait()
	w.store.close()
	for _, dir := range stressDirs {
		if random.IntN(3) == 0 {
			w.forget(dir)
		}
	}
	w.start()
	var all []func()
	for _, c := range clients {
		all = append(all, func() {
			c.connect()
			if points := c.points[c.was]; len(points) > 0 && random.IntN(4) > 0 {
				c.selects(c.was, &points[len(points)-1])
			} else {
				c.selects(c.was, nil)
			}
		})
	}
	for _, f := range all { // one after another: random is not made for more
		w.together(f)
	}
}

// forget removes what the server has noted for itself of a folder.
func (w *stressWorld) forget(dir string) {
	names, _ := filepath.Glob(filepath.Join(w.dir, "alice", dir, "letterbox.index*"))
	for _, name := range names {
		os.Remove(name) // it may have gone already
	}
}

// together runs all of these at the same time. One that fails ends itself, by runtime.Goexit.
func (w *stressWorld) together(all ...func()) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f)
	}
	wg.Wait()
}

// text makes a new message.
func (w *stressWorld) text(random *rand.Rand) (mid, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mid = fmt.Sprintf("<%d@stress>", len(w.texts))
	text = fmt.Sprintf("Message-ID: %s\r\nSubject: %06d\r\n\r\n%s\r\n", mid, len(w.texts), strings.Repeat("x", random.IntN(3000)))
	w.texts[mid] = text
	return mid, text
}

// is notes, and checks, which message has a UID.
func (w *stressWorld) is(folder string, uid uint32, mid string) (before string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before = cmp.Or(w.mids[stressUID{folder, uid}], mid)
	if mid != "" {
		w.mids[stressUID{folder, uid}] = before
	}
	return before, mid == "" || before == mid
}

func (w *stressWorld) doom(folder string, uids []uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, uid := range uids {
		w.doomed[w.mids[stressUID{folder, uid}]] = true
	}
}

// deliver brings mail by LMTP.
func (w *stressWorld) deliver(round int) {
	random := rand.New(rand.NewPCG(w.seed, uint64(2000+round)))
	door := &smtpDoor{kind: smtpLMTP, auth: w.door.auth, hostname: "box.example.org", plaintext: authPlaintextLoopback, maxMessageSize: 1 << 20, maxRecipients: 10, now: time.Now,
		deliverer: newDeliverer(deliverSettings{hostname: "box.example.org", userExists: w.door.auth.exists, users: w.door.auth.users, store: w.store, log: slog.New(slog.DiscardHandler)})}
	theirs, ours := stressPair(w.t)
	defer theirs.Close()
	go door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
	theirs.SetDeadline(time.Now().Add(stressPatience))
	r := bufio.NewReader(theirs)
	say := func(text, want string) {
		if text != "" {
			if _, err := theirs.Write([]byte(text)); err != nil {
				w.t.Errorf("LMTP: %v", err)
				return
			}
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) {
				w.t.Errorf("LMTP: %q: %q, %v", text, line, err)
				return
			}
			if line[3] == ' ' {
				return
			}
		}
	}
	say("", "220")
	say("LHLO pc\r\n", "250")
	for range 8 {
		if w.t.Failed() {
			return
		}
		mid, text := w.text(random)
		say("MAIL FROM:<a@b.example>\r\n", "250")
		say("RCPT TO:<alice>\r\n", "250")
		say("DATA\r\n", "354")
		say(text+".\r\n", "250")
		w.mu.Lock()
		w.acked[mid] = true
		w.mu.Unlock()
	}
}

// meddle is another program: it delivers, changes flags and removes.
func (w *stressWorld) meddle(random *rand.Rand) {
	for n := range 30 {
		dir := filepath.Join(w.dir, "alice", stressDirs[random.IntN(3)])
		if random.IntN(20) == 0 {
			w.forget(stressDirs[random.IntN(3)])
		}
		if random.IntN(4) == 0 {
			mid, text := w.text(random)
			name := fmt.Sprintf("%d.M%dP1.other", time.Now().Unix(), random.IntN(1e6)*100+n)
			if err := os.WriteFile(filepath.Join(dir, "tmp", name), []byte(text), 0o600); err != nil {
				w.t.Error(err)
			} else if err := os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name)); err != nil {
				w.t.Error(err)
			}
			w.mu.Lock()
			w.acked[mid] = true
			w.mu.Unlock()
			continue
		}
		names, err := filepath.Glob(filepath.Join(dir, "cur", "*"))
		if err != nil || len(names) == 0 {
			continue
		}
		name := names[random.IntN(len(names))]
		text, err := os.ReadFile(name)
		if err != nil {
			continue // somebody was faster
		}
		if random.IntN(3) == 0 {
			w.mu.Lock()
			w.doomed[stressMID(string(text))] = true
			w.mu.Unlock()
			os.Remove(name) // likewise
		} else {
			base, _, _ := strings.Cut(name, ":2,")
			os.Rename(name, base+":2,"+[]string{"", "F", "RS", "S"}[random.IntN(4)])
		}
	}
}

func stressMID(text string) string {
	_, rest, _ := strings.Cut(text, "Message-ID: ")
	mid, _, _ := strings.Cut(rest, "\r\n")
	return mid
}

// files tells what lies in a folder: flags by UID. A file without a UID yet makes it incomplete.
func (w *stressWorld) files(folder string) (truth map[uint32]string, mids map[string]bool, complete bool) {
	dir := filepath.Join(w.dir, "alice")
	if folder != "INBOX" {
		dir = filepath.Join(dir, "."+folder)
	}
	uids := map[string]uint32{}
	list, err := os.ReadFile(filepath.Join(dir, "dovecot-uidlist"))
	if err != nil {
		return nil, nil, false
	}
	for line := range strings.Lines(string(list)) {
		fields, base, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " :")
		number, _, _ := strings.Cut(fields, " ")
		if uid, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
			uids[base] = uint32(uid)
		}
	}
	keywords, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	names := map[byte]string{'D': `\draft`, 'F': `\flagged`, 'P': "$forwarded", 'R': `\answered`, 'S': `\seen`, 'T': `\deleted`}
	for line := range strings.Lines(string(keywords)) {
		if n, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && err == nil {
			i, _ := strconv.Atoi(n)
			names['a'+byte(i)] = strings.ToLower(name)
		}
	}
	truth, mids, complete = map[uint32]string{}, map[string]bool{}, true
	for _, sub := range []string{"new", "cur"} {
		paths, _ := filepath.Glob(filepath.Join(dir, sub, "*"))
		for _, path := range paths {
			base, letters, _ := strings.Cut(filepath.Base(path), ":2,")
			var flags []string
			for i := range len(letters) {
				flags = append(flags, names[letters[i]])
			}
			text, err := os.ReadFile(path)
			uid, known := uids[base]
			mids[stressMID(string(text))] = true
			if _, twice := truth[uid]; err != nil || !known || twice {
				complete = false
				continue
			}
			slices.Sort(flags)
			truth[uid] = strings.Join(flags, " ")
			mid := stressMID(string(text))
			if !strings.HasSuffix(string(text), w.texts[mid]) || w.texts[mid] == "" {
				w.t.Errorf("%s is not what was sent as %s", path, mid)
			}
			if before, ok := w.is(folder, uid, mid); !ok {
				w.t.Errorf("%s UID %d is %s, and was %s", folder, uid, mid, before)
			}
		}
	}
	return truth, mids, complete
}

// settle waits, when nobody does anything any more, until each client has been told in IDLE all that
// lies in the files, and then asks for everything.
func (w *stressWorld) settle(clients []*stressClient) {
	end := time.Now().Add(stressPatience)
	var all []func()
	for _, c := range clients {
		all = append(all, func() {
			c.idle(func() bool {
				truth, _, complete := w.files(c.folder)
				if complete && c.agrees(truth) && c.wrongOther() == "" {
					return true
				}
				if time.Now().After(end) {
					c.fail("at rest it has %s, and in the files there is %v; %s", c.picture(), truth, c.wrongOther())
				}
				return false
			})
			c.refetch()
			if truth, _, _ := w.files(c.folder); !c.agrees(truth) {
				c.fail("at rest FETCH says %s, and in the files there is %v", c.picture(), truth)
			}
		})
	}
	if w.together(all...); w.t.Failed() {
		return
	}
	there := map[string]bool{}
	for _, folder := range stressFolders {
		_, mids, _ := w.files(folder)
		maps.Copy(there, mids)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for mid := range w.acked {
		if !there[mid] && !w.doomed[mid] {
			w.t.Errorf("%s was taken, nobody has removed it, and it is gone", mid)
		}
	}
}
