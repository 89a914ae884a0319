package main

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strconv"
)

// THREAD and UID THREAD (RFC 5256): ORDEREDSUBJECT, REFERENCES, and REFS, which is REFERENCES
// without a look at the subjects, its threads in the order of their newest message.
//
// Message ids and subjects are known by hashes, so a message takes some sixty bytes while its
// thread is looked for.

// imapThreads are messages on their way into threads. A node is a message, 0 to n-1, or a dummy,
// n and above: a message that is referred to and is not there.
type imapThreads struct {
	messages []imapThreadMessage
	byID     map[uint64]int32 // nodes
	nodes    []imapThreadNode
}

// imapThreadMessage is what counts of a message.
type imapThreadMessage struct {
	date       int64 // the sent date, seconds since 1970
	id         uint64
	subject    uint64 // of the base subject; 0: it is empty
	references []uint64
	reply      bool // or forwarded
}

type imapThreadNode struct {
	parent int32 // -1: none
	parted bool  // it has, or had, children
	gone   bool  // a dummy that was not needed
	date   int64 // that it is sorted by among its siblings
	by     int32 // the message of equal dates decides
}

const imapThreadNone = -1

// imapThreadDeep bounds how many ancestors are looked at before one more link is made.
const imapThreadDeep = 10_000

func (s *imapSession) cmdThread() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	word, err := s.r.readWord()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	thread := imapThreadings[word]
	if thread == nil {
		return imapBad("there is no threading algorithm " + word)
	}
	search := s.newSearch()
	if err := s.readFound(search, imapSearchReturn{}); err != nil {
		return err
	}
	hits, err := s.search(search, imapSearchReturn{}, false, false)
	if err != nil {
		return err
	}
	var t *imapThreads
	err = s.during(func() (err error) {
		if t, err = imapReadThreads(search.view, search.numbers(hits, true), word != "ORDEREDSUBJECT", s.progress); err == nil {
			thread(t)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.c.Write(t.append([]byte("* THREAD"), search.numbers(hits, s.byUID())))
	return nil
}

// imapThreadings are the threading algorithms.
var imapThreadings = map[string]func(t *imapThreads){
	"ORDEREDSUBJECT": (*imapThreads).bySubject,
	"REFERENCES":     (*imapThreads).byReferences,
	"REFS":           (*imapThreads).byRefs,
}

// imapReadThreads learns what counts of messages, UIDs ascending.
func imapReadThreads(view *mailboxView, uids []uint32, withIDs bool, progress *imapProgress) (*imapThreads, error) {
	t := &imapThreads{messages: make([]imapThreadMessage, len(uids))}
	seed := maphash.MakeSeed()
	err := imapLearn(view, uids, imapFacts{date: true, summary: true}, progress, func(at int, m *mailboxMessage, summary *messageSummary) {
		tm := &t.messages[at]
		tm.date = imapSentTime(m, summary)
		if summary == nil {
			return
		}
		base, reply := messageSortSubject(summary.header)
		if tm.reply = reply; base != "" {
			tm.subject = maphash.String(seed, base) | 1
		}
		if !withIDs {
			return
		}
		own, references := messageSortIDs(summary.header)
		if own != nil {
			tm.id = maphash.Bytes(seed, own) | 1
		}
		if len(references) > 0 {
			tm.references = make([]uint64, len(references))
			for i, id := range references {
				tm.references[i] = maphash.Bytes(seed, id) | 1
			}
		}
	})
	t.nodes = make([]imapThreadNode, len(uids))
	for i := range t.nodes {
		t.nodes[i] = imapThreadNode{parent: imapThreadNone}
	}
	return t, err
}

// isDummy tells whether a node is no message.
func (t *imapThreads) isDummy(node int32) bool { return int(node) >= len(t.messages) }

// bySubject is ORDEREDSUBJECT: the first message of a subject is the parent of the others.
func (t *imapThreads) bySubject() {
	first := map[uint64]int32{}
	for _, node := range t.byDate() {
		subject := t.messages[node].subject
		if parent, known := first[subject]; known {
			t.nodes[node].parent = parent
		} else {
			first[subject] = node
		}
	}
	t.dateRoots()
}

// byReferences is REFERENCES.
func (t *imapThreads) byReferences() {
	t.link()
	t.prune()
	t.dateRoots()
	t.mergeSubjects()
	t.dateRoots()
}

// byRefs is REFS.
func (t *imapThreads) byRefs() {
	t.link()
	t.prune()
	t.dateRoots()
	for i := range t.messages {
		root := int32(i)
		for t.nodes[root].parent != imapThreadNone {
			root = t.nodes[root].parent
		}
		t.nodes[root].date = max(t.nodes[root].date, t.messages[i].date)
	}
}

// link makes the references to parents and children (step 1).
func (t *imapThreads) link() {
	t.byID = make(map[uint64]int32, len(t.messages))
	for i := range t.messages {
		id := t.messages[i].id
		if _, taken := t.byID[id]; id != 0 && !taken {
			t.byID[id] = int32(i)
		}
	}
	for i := range t.messages {
		m := &t.messages[i]
		parent := int32(imapThreadNone)
		for _, id := range m.references {
			node, known := t.byID[id]
			if !known {
				node = t.addDummy()
				t.byID[id] = node
			}
			if parent != imapThreadNone && t.nodes[node].parent == imapThreadNone {
				t.adopt(parent, node)
			}
			parent = node
		}
		m.references = nil
		t.nodes[i].parent = imapThreadNone
		if parent != imapThreadNone {
			t.adopt(parent, int32(i))
		}
	}
	t.byID = nil
}

func (t *imapThreads) addDummy() int32 {
	t.nodes = append(t.nodes, imapThreadNode{parent: imapThreadNone})
	return int32(len(t.nodes) - 1)
}

// adopt makes parent the parent of child, unless that would be a loop.
func (t *imapThreads) adopt(parent, child int32) {
	if parent == child {
		return
	}
	if t.nodes[child].parted {
		deep := 0
		for up := parent; up != imapThreadNone; up = t.nodes[up].parent {
			if deep++; up == child || deep > imapThreadDeep {
				return
			}
		}
	}
	t.nodes[child].parent, t.nodes[parent].parted = parent, true
}

// prune removes dummies: only those under the root stay, and only with two children or more
// (step 3).
func (t *imapThreads) prune() {
	children := make([]int32, len(t.nodes))
	for i := range t.messages {
		children[max(0, t.top(int32(i)))]++ // 0 is a message: its count does not matter
	}
	for i := range t.messages {
		if p := t.nodes[i].parent; p != imapThreadNone && t.isDummy(p) && children[p] < 2 {
			t.nodes[i].parent = imapThreadNone
		}
	}
	for i := len(t.messages); i < len(t.nodes); i++ {
		t.nodes[i].gone = t.nodes[i].parent != imapThreadNone || children[i] < 2
	}
}

// top makes the parent of a message another message, or a dummy that has no parent, and gives it.
func (t *imapThreads) top(node int32) int32 {
	parent := t.nodes[node].parent
	for parent != imapThreadNone && t.isDummy(parent) && t.nodes[parent].parent != imapThreadNone {
		parent = t.nodes[parent].parent
	}
	for up := t.nodes[node].parent; up != parent; { // the next one finds it at once
		next := t.nodes[up].parent
		t.nodes[up].parent = parent
		up = next
	}
	t.nodes[node].parent = parent
	return parent
}

// byDate gives the messages in the order of their dates.
func (t *imapThreads) byDate() []int32 {
	order := make([]int32, len(t.messages))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(t.messages[a].date, t.messages[b].date), cmp.Compare(a, b))
	})
	return order
}

// dateRoots gives all nodes the date that they are sorted by; dummies that of their first child
// (step 4).
func (t *imapThreads) dateRoots() {
	for i := range t.messages {
		t.nodes[i].date, t.nodes[i].by = t.messages[i].date, int32(i)
	}
	for i := len(t.messages); i < len(t.nodes); i++ {
		t.nodes[i].by = imapThreadNone
	}
	for i := range t.messages {
		p := t.nodes[i].parent
		if p == imapThreadNone || !t.isDummy(p) {
			continue
		}
		if d := &t.nodes[p]; d.by == imapThreadNone || t.messages[i].date < d.date {
			d.date, d.by = t.messages[i].date, int32(i)
		}
	}
}

func (t *imapThreads) compare(a, b int32) int {
	return cmp.Or(cmp.Compare(t.nodes[a].date, t.nodes[b].date), cmp.Compare(t.nodes[a].by, t.nodes[b].by))
}

// roots gives the nodes under the root, in their order.
func (t *imapThreads) roots() (roots []int32) {
	for i := range t.nodes {
		if t.nodes[i].parent == imapThreadNone && !t.nodes[i].gone {
			roots = append(roots, int32(i))
		}
	}
	slices.SortFunc(roots, t.compare)
	return roots
}

// mergeSubjects makes one thread of those with the same subject (step 5).
func (t *imapThreads) mergeSubjects() {
	roots := t.roots()
	table := map[uint64]int32{}
	for _, node := range roots { // B
		subject := t.messages[t.nodes[node].by].subject
		if subject == 0 {
			continue
		}
		other, known := table[subject]
		if !known || !t.isDummy(other) && (t.isDummy(node) || t.messages[other].reply && !t.messages[node].reply) {
			table[subject] = node
		}
	}
	into := map[int32]int32{}    // dummies whose children go to another
	for _, node := range roots { // C
		subject := t.messages[t.nodes[node].by].subject
		other := table[subject]
		switch {
		case subject == 0 || other == node:
		case t.isDummy(other) && t.isDummy(node):
			into[node] = other
			t.nodes[node].gone = true
		case t.isDummy(other), t.messages[node].reply && !t.messages[other].reply:
			t.nodes[node].parent = other
		default:
			dummy := t.addDummy()
			t.nodes[node].parent, t.nodes[other].parent = dummy, dummy
			t.nodes[dummy].by = t.nodes[node].by
			table[subject] = dummy
		}
	}
	for i := range t.messages {
		if to, moved := into[t.nodes[i].parent]; moved {
			t.nodes[i].parent = to
		}
	}
}

// append appends the threads; numbers are what the client calls the messages. Threads may be nested
// as deeply as there are messages.
func (t *imapThreads) append(dst []byte, numbers []uint32) []byte {
	first := make([]int32, len(t.nodes)) // children, linked
	next := make([]int32, len(t.nodes))
	for i := range t.nodes {
		first[i] = imapThreadNone
	}
	order := t.byDate()
	for _, node := range slices.Backward(order) {
		if p := t.nodes[node].parent; p != imapThreadNone {
			next[node], first[p] = first[p], node
		}
	}
	const end = imapThreadNone
	roots := t.roots()
	slices.Reverse(roots)
	if todo := roots; len(todo) > 0 {
		dst = append(dst, ' ')
		for len(todo) > 0 {
			node := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if node == end {
				dst = append(dst, ')')
				continue
			}
			dst = append(dst, '(')
			if !t.isDummy(node) {
				dst = strconv.AppendUint(dst, uint64(numbers[node]), 10)
				for first[node] != imapThreadNone && next[first[node]] == imapThreadNone { // one child
					node = first[node]
					dst = strconv.AppendUint(append(dst, ' '), uint64(numbers[node]), 10)
				}
				if first[node] != imapThreadNone {
					dst = append(dst, ' ')
				}
			}
			todo = append(todo, end)
			from := len(todo)
			for child := first[node]; child != imapThreadNone; child = next[child] {
				todo = append(todo, child)
			}
			slices.Reverse(todo[from:])
		}
	}
	return append(dst, "\r\n"...)
}
