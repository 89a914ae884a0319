package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A table of early lines does what a map would do, whatever comes in which order.
func TestMailboxEarly(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var early mailboxEarly
	model := map[string]maildirUidline{}
	for step := range 20_000 {
		base := fmt.Sprintf("%d.host", random.IntN(500))
		switch random.IntN(3) {
		case 0:
			line := maildirUidline{uint32(step + 1), "", base}
			early.put(line)
			model[base] = line
		case 1:
			early.remove(base)
			delete(model, base)
		case 2:
			if line, ok := early.get(base); line != model[base] || ok != (model[base].uid != 0) {
				t.Fatalf("step %d: %v for %s, not %v", step, line, base, model[base])
			}
		}
		if early.count != len(model) {
			t.Fatalf("step %d: %d lines, not %d", step, early.count, len(model))
		}
	}
	early.each(func(line maildirUidline) bool {
		if model[line.base] != line {
			t.Errorf("%v is there, not %v", line, model[line.base])
		}
		delete(model, line.base)
		early.remove(line.base)
		return true
	})
	if len(model) > 0 || early.count != 0 {
		t.Errorf("each did not give %v; %d are left", model, early.count)
	}
}

// Names that are kept stay what they were.
func TestMailboxKeptNames(t *testing.T) {
	var names mailboxNames
	var kept []string
	for i := range 5000 {
		kept = append(kept, names.keep(fmt.Sprintf("%0*d", 1+i%300, i)))
	}
	for i, name := range kept {
		if want := fmt.Sprintf("%0*d", 1+i%300, i); name != want {
			t.Fatalf("%q has become %q", want, name)
		}
	}
}
