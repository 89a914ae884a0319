package main

import (
	"strconv"
	"strings"
	"time"
)

// messageParseDate reads RFC 5322's date-time, obsolete forms included (section
// 4.3): two-digit years, named zones, comments, no seconds, no zone.
func messageParseDate(s string) (t time.Time, ok bool) {
	l := messageLexer{text: s}
	l.space()
	word := l.while(messageIsLetter)
	if word != "" { // the day of the week, which need not be right
		l.space()
		if l.peek() == ',' {
			l.text = l.text[1:]
		}
		l.space()
	}
	day, ok1 := l.number(2)
	l.space()
	month := messageMonth(l.while(messageIsLetter))
	l.space()
	yearDigits := len(l.text)
	year, ok2 := l.number(6)
	yearDigits -= len(l.text)
	if !ok1 || !ok2 || month == 0 || day < 1 || day > 31 {
		return t, false
	}
	switch { // RFC 5322, section 4.3
	case yearDigits == 2 && year < 50:
		year += 2000
	case yearDigits < 4:
		year += 1900
	}
	l.space()
	hour, ok1 := l.number(2)
	l.space()
	if !ok1 || l.peek() != ':' && l.peek() != '.' {
		return t, false
	}
	l.text = l.text[1:]
	l.space()
	minute, ok1 := l.number(2)
	second := 0
	l.space()
	if c := l.peek(); c == ':' || c == '.' {
		l.text = l.text[1:]
		l.space()
		second, ok2 = l.number(2)
	}
	if !ok1 || !ok2 || hour > 23 || minute > 59 || second > 60 {
		return t, false
	}
	l.space()
	zone := time.FixedZone("", l.zone())
	return time.Date(year, month, day, hour, minute, second, 0, zone), true
}

func messageIsLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// number reads up to most digits.
func (l *messageLexer) number(most int) (int, bool) {
	digits := l.while(func(c byte) bool { return '0' <= c && c <= '9' })
	n, err := strconv.Atoi(digits)
	return n, err == nil && len(digits) <= most
}

// messageMonth reads a month's name, 0 if it is none.
func messageMonth(name string) time.Month {
	if len(name) < 3 {
		return 0
	}
	for m := time.January; m <= time.December; m++ {
		if strings.EqualFold(m.String()[:3], name[:3]) {
			return m
		}
	}
	return 0
}

// zone reads a zone, in seconds east of UTC. What nobody knows is UTC (RFC 5322,
// section 4.3).
func (l *messageLexer) zone() int {
	if c := l.peek(); c == '+' || c == '-' {
		l.text = l.text[1:]
		n, ok := l.number(4)
		if !ok {
			return 0
		}
		seconds := (n/100*60 + n%100) * 60
		if c == '-' {
			return -seconds
		}
		return seconds
	}
	switch strings.ToUpper(l.while(messageIsLetter)) {
	case "EDT":
		return -4 * 3600
	case "EST", "CDT":
		return -5 * 3600
	case "CST", "MDT":
		return -6 * 3600
	case "MST", "PDT":
		return -7 * 3600
	case "PST":
		return -8 * 3600
	}
	return 0
}
