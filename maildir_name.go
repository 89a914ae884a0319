package main

import (
	"crypto/sha256"
	"encoding/base32"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"math/rand/v2"
)

// A message's file is called
//
//	1764000000.M123456P789Q12.host,S=4711,W=4800:2,FS
//	<------------- base ----------------------->  info
//
// The base never changes while the message is in its folder; the info says its
// flags. Where the file system refuses ":" it is ";" (FAT, exFAT, NTFS, SMB).

// maildirLetters are the letters of the flags, in the order of their bits and of
// the alphabet, which is also the order in a file name.
const maildirLetters = "DFPRST"

// maildirParse splits a file name. odd holds the info letters that are neither a
// flag nor a keyword ("" nearly always); canonical tells whether fileName would
// give exactly this name, but for the separator.
func maildirParse(name string) (base string, flags maildirFlags, odd string, canonical bool) {
	i := strings.IndexByte(name, ':')
	if i < 0 {
		if i = strings.LastIndex(name, ";2,"); i < 0 {
			return name, 0, "", false
		}
	}
	base = name[:i]
	letters, ok := strings.CutPrefix(name[i+1:], "2,")
	if !ok {
		return base, 0, "", false // "1," is for experiments, says the Maildir specification
	}
	canonical = true
	last := byte(0)
	for i := range len(letters) {
		c := letters[i]
		bit := maildirLetterFlag(c)
		if bit == 0 {
			canonical = false
			if c == ',' { // fields that somebody has added
				odd += letters[i:]
				break
			}
			odd += letters[i : i+1]
			continue
		}
		canonical = canonical && c > last
		last = c
		flags |= bit
	}
	return base, flags, odd, canonical
}

// maildirLetterFlag is the flag of an info letter, 0 if there is none.
func maildirLetterFlag(c byte) maildirFlags {
	switch c {
	case 'D':
		return maildirFlagDraft
	case 'F':
		return maildirFlagFlagged
	case 'P':
		return maildirFlagPassed
	case 'R':
		return maildirFlagReplied
	case 'S':
		return maildirFlagSeen
	case 'T':
		return maildirFlagTrashed
	}
	if 'a' <= c && c <= 'z' {
		return 1 << (maildirKeyword0 + c - 'a')
	}
	return 0
}

// fileName is base with its info for cur/, with this folder's separator.
func (md *maildir) fileName(base string, flags maildirFlags, odd string) string {
	var buf [320]byte
	return string(md.appendFileName(buf[:0], base, flags, odd))
}

// isFileName tells whether name is what fileName gives, without making it.
func (md *maildir) isFileName(name, base string, flags maildirFlags) bool {
	var buf [320]byte
	return name == string(md.appendFileName(buf[:0], base, flags, ""))
}

func (md *maildir) appendFileName(dst []byte, base string, flags maildirFlags, odd string) []byte {
	dst = append(dst, base...)
	dst = append(dst, md.separator(), '2', ',')
	for i := range len(maildirLetters) {
		if flags&(1<<i) != 0 {
			dst = append(dst, maildirLetters[i])
		}
	}
	if flags >= 1<<maildirKeyword0 {
		for i := range byte(maildirKeywords) {
			if flags&(1<<(maildirKeyword0+i)) != 0 {
				dst = append(dst, 'a'+i)
			}
		}
	}
	return append(dst, odd...)
}

// maildirSizes reads ,S= and ,W= from a base name; -1 where absent.
func maildirSizes(base string) (disk, wire int64) {
	return maildirSize(base, ",S="), maildirSize(base, ",W=")
}

func maildirSize(base, field string) int64 {
	_, rest, ok := strings.Cut(base, field)
	if !ok {
		return -1
	}
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// maildirWithSizes adds the sizes on disk and on the wire to a base name.
func maildirWithSizes(base string, disk, wire int64) string {
	return base + ",S=" + strconv.FormatInt(disk, 10) + ",W=" + strconv.FormatInt(wire, 10)
}

// maildirWithOrigin adds to a copy's base name which message it is a copy of: the field ,E=
// with that message's maildirOrigin. Like ,S= and ,W= it is passed over by who does not know it.
func maildirWithOrigin(base, of string) string { return base + ",E=" + maildirOrigin(of) }

// maildirOriginSize is the length of what maildirOrigin gives: 80 bits in base 32.
const maildirOriginSize = 16

// maildirOrigin identifies a message's content: what its base name says it was copied from, or
// a hash of the base name, which no other message has.
func maildirOrigin(base string) string {
	if _, origin, ok := strings.Cut(base, ",E="); ok {
		if origin, _, _ = strings.Cut(origin, ","); len(origin) == maildirOriginSize && strings.Trim(origin, "0123456789abcdefghijklmnopqrstuv") == "" {
			return origin
		}
	}
	hash := sha256.Sum256([]byte(base))
	return maildirOriginCode.EncodeToString(hash[:maildirOriginSize*5/8])
}

// maildirOriginCode has no letters that differ only by case.
var maildirOriginCode = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// maildirMade is when a base name says it was made, as a number to compare: seconds, then
// microseconds. What was delivered later has a greater one. Names without a time come last.
func maildirMade(base string) uint64 {
	sec, micro := maildirTime(base)
	return min(sec, 1<<44-1)<<20 | min(micro, 1<<20-1)
}

// maildirTime reads when a base name says it was made. A name without a time is
// later than all others.
func maildirTime(base string) (sec, micro uint64) {
	sec, rest, ok := maildirDigits(base)
	if !ok || !strings.HasPrefix(rest, ".") {
		return math.MaxUint64, 0
	}
	_, rest, ok = strings.Cut(rest, "M")
	if ok {
		micro, _, _ = maildirDigits(rest)
	}
	return sec, micro
}

func maildirDigits(s string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(s) && i < 19 && '0' <= s[i] && s[i] <= '9' {
		n = n*10 + uint64(s[i]-'0')
		i++
	}
	return n, s[i:], i > 0
}

var (
	maildirClockMu sync.Mutex
	maildirClock   int64         // microseconds of the last name made
	maildirCount   atomic.Uint32 // begins anywhere: a host whose clock and process ids begin anew with each start makes other names
	maildirHost    = sync.OnceValue(maildirHostName)
)

func init() { maildirCount.Store(rand.Uint32N(1 << 20)) }

// newBase is a fresh unique base name without sizes. Names made later sort later
// while the clock does not go back.
func (md *maildir) newBase() string {
	maildirClockMu.Lock()
	maildirClock = max(time.Now().UnixMicro(), maildirClock+1)
	if maildirClock > time.Now().Add(time.Second).UnixMicro() { // it has gone back
		maildirClock = time.Now().UnixMicro()
	}
	micros := maildirClock
	maildirClockMu.Unlock()
	var buf [160]byte
	name := strconv.AppendInt(buf[:0], micros/1e6, 10)
	name = append(name, ".M"...)
	name = strconv.AppendInt(name, micros%1e6, 10)
	name = append(name, 'P')
	name = strconv.AppendInt(name, int64(os.Getpid()), 10)
	name = append(name, 'Q')
	name = strconv.AppendUint(name, uint64(maildirCount.Add(1)), 10)
	name = append(name, '.')
	return string(append(name, maildirHost()...))
}

// maildirHostName is the host's name as a file name may have it.
func maildirHostName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	var clean []byte
	for _, c := range []byte(host) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
			clean = append(clean, c)
		default: // "/" and ":" are \057 and \072 in the Maildir specification; "\" is no better on FAT
			clean = append(clean, '-')
		}
	}
	return string(clean[:min(len(clean), 64)])
}
