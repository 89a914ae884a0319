package main

// PARTIAL: a part of what is found or named (RFC 9394).

// imapPart is a partial-range: places among messages, from 1 on, or from the end backwards.
type imapPart struct {
	first, last uint32 // 0: it was not given
	backwards   bool
	text        string // as the client wrote it
}

// readPart reads a partial-range.
func (r *imapReader) readPart() (part imapPart, err error) {
	whole := r.line
	part.backwards = r.take('-')
	if part.first, err = r.readNumber(); err != nil {
		return part, err
	}
	if !r.take(':') || r.take('-') != part.backwards {
		return part, imapBad("a part is 1:100 or -1:-100")
	}
	if part.last, err = r.readNumber(); err != nil {
		return part, err
	}
	if part.first == 0 || part.last == 0 {
		return part, imapBad("places are counted from 1")
	}
	part.text = string(whole[:len(whole)-len(r.line)])
	part.first, part.last = min(part.first, part.last), max(part.first, part.last)
	return part, nil
}

func (part imapPart) given() bool { return part.first > 0 }

// of gives which of n messages are meant: those at from..to-1.
func (part imapPart) of(n int) (from, to int) {
	first, last := min(int64(part.first)-1, int64(n)), min(int64(part.last), int64(n))
	if part.backwards {
		return n - int(last), n - int(first)
	}
	return int(first), int(last)
}

// part gives the spans of the messages at from..to-1 of those in spans.
func (spans imapSpans) part(from, to int) (some imapSpans) {
	at := 0
	for _, span := range spans {
		n := span.to - span.from
		a, b := max(from-at, 0), min(to-at, n)
		if a < b {
			some = append(some, imapSpan{span.from + a, span.from + b})
		}
		at += n
	}
	return some
}
