package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// GETMETADATA and SETMETADATA (RFC 5464), METADATA in LIST (RFC 9590). The mailbox "" is
// the server: what is private there is the user's own, what is shared stands in the
// configuration and is read only.

const (
	imapMetadataValueMost   = 64 << 10 // bytes of a value
	imapMetadataEntriesMost = 100      // in one command
)

// imapMetadataWanted is what GETMETADATA asks for.
type imapMetadataWanted struct {
	entries []string
	maxSize int64 // -1: any
	depth   int   // levels below an entry, imapMetadataAll: all
}

const imapMetadataAll = 1 << 20

func (s *imapSession) cmdGetMetadata() error {
	want := imapMetadataWanted{maxSize: -1}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	options := s.r.peek() == '('
	if options { // RFC 5464, section 5, has them here, section 4.2 behind the mailbox: both are taken
		if err := want.readOptions(&s.r); err != nil {
			return err
		}
	}
	name, err := s.r.readAstring()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	if !options && s.r.peek() == '(' && len(s.r.line) > 1 && !strings.ContainsRune(`/"{`, rune(s.r.line[1])) {
		if err := want.readOptions(&s.r); err != nil {
			return err
		}
	}
	if want.entries, err = s.r.readEntries(); err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	folder, list, err := s.annotations(name)
	if err != nil {
		return err
	}
	found, longest := want.of(list)
	if len(found) > 0 {
		s.c.Write(s.metadataLine(folder, found))
	}
	if longest > 0 {
		return imapOK{fmt.Sprintf("METADATA LONGENTRIES %d", longest), "some values are longer than that"}
	}
	return nil
}

// readOptions reads GETMETADATA's options and the space behind them.
func (w *imapMetadataWanted) readOptions(r *imapReader) error {
	given := map[string]bool{}
	err := r.readList(func() error {
		word, err := r.readWord()
		if err != nil {
			return err
		}
		if given[word] {
			return imapBad("one " + word + " is enough")
		}
		given[word] = true
		switch word {
		case "MAXSIZE":
			if err := r.readSpace(); err != nil {
				return err
			}
			n, err := r.readNumber()
			w.maxSize = int64(n)
			return err
		case "DEPTH":
			if err := r.readSpace(); err != nil {
				return err
			}
			depth, err := r.readWord()
			if err != nil {
				return err
			}
			depths := map[string]int{"0": 0, "1": 1, "INFINITY": imapMetadataAll}
			var ok bool
			if w.depth, ok = depths[depth]; !ok {
				return imapBad("DEPTH is 0, 1 or infinity")
			}
			return nil
		}
		return imapBad("there is no option " + word)
	})
	if err != nil {
		return err
	}
	if len(given) == 0 {
		return imapBad("no option is given")
	}
	return r.readSpace()
}

// readEntries reads one entry or a list of them. RFC 5464, section 4.4.1, shows several
// without parentheses, too.
func (r *imapReader) readEntries() (entries []string, err error) {
	one := func() error {
		entry, err := r.readEntry()
		if err != nil {
			return err
		}
		if len(entries) == imapMetadataEntriesMost {
			return imapBad("too many entries")
		}
		if !slices.ContainsFunc(entries, func(e string) bool { return strings.EqualFold(e, entry) }) {
			entries = append(entries, entry)
		}
		return nil
	}
	if r.peek() == '(' {
		if err = r.readList(one); err == nil && len(entries) == 0 {
			err = imapBad("an entry is missing")
		}
		return entries, err
	}
	for {
		if err := one(); err != nil || !r.take(' ') {
			return entries, err
		}
	}
}

// readEntry reads the name of an entry, which may be the top of others.
func (r *imapReader) readEntry() (string, error) {
	entry, err := r.readAstring()
	if err != nil {
		return "", err
	}
	if len(entry) > imapKeywordMost {
		return "", imapNo{imap.ResponseCodeLimit, "an entry's name is too long"}
	}
	return entry, imapCheckEntry(entry)
}

// imapCheckEntry holds RFC 5464, section 3.2.
func imapCheckEntry(entry string) error {
	top, _, _ := strings.Cut(strings.TrimPrefix(entry, "/"), "/")
	switch {
	case !strings.HasPrefix(entry, "/") || !strings.EqualFold(top, "private") && !strings.EqualFold(top, "shared"):
		return imapBad("an entry's name begins with /private/ or /shared/")
	case strings.Contains(entry, "//") || strings.HasSuffix(entry, "/"):
		return imapBad("a part of an entry's name is empty")
	case strings.ContainsFunc(entry, func(c rune) bool { return c < ' ' || c > '~' || c == '*' || c == '%' }):
		return imapBad("an entry's name has * or %, or what is not ASCII")
	}
	return nil
}

// annotations are a mailbox's, or the server's.
func (s *imapSession) annotations(name string) (folder string, list []mailboxAnnotation, err error) {
	if name != "" {
		if folder, err = s.folder(name); err != nil {
			return "", nil, err
		}
		if folder == "" {
			return "", nil, errMailboxNotFound
		}
	}
	if list, err = s.tree.annotations(folder); err != nil || folder != "" {
		return folder, list, err
	}
	for _, entry := range slices.Sorted(maps.Keys(s.door.annotations)) {
		value := s.door.annotations[entry]
		list = append(list, mailboxAnnotation{entry: entry, value: &value})
	}
	return "", list, nil
}

// of gives what was asked for, each once, and the size of the largest value that is larger
// than MAXSIZE, 0 if none is. An entry that is asked for by its name and is not there has NIL.
func (w *imapMetadataWanted) of(list []mailboxAnnotation) (found []mailboxAnnotation, longest int) {
	told := make([]bool, len(list))
	for _, entry := range w.entries {
		known := false
		for i, a := range list {
			if strings.EqualFold(a.entry, entry) {
				a.entry, known = entry, true // as the client spells it
			}
			if told[i] || !imapEntryWithin(a.entry, entry, w.depth) {
				continue
			}
			told[i] = true
			if n := len(*a.value); w.maxSize >= 0 && int64(n) > w.maxSize {
				longest = max(longest, n)
				continue
			}
			found = append(found, a)
		}
		if !known && w.depth == 0 {
			found = append(found, mailboxAnnotation{entry: entry})
		}
	}
	return found, longest
}

// imapEntryWithin tells whether an entry is top, or at most so many levels below it.
func imapEntryWithin(entry, top string, depth int) bool {
	if len(entry) < len(top) || !strings.EqualFold(entry[:len(top)], top) {
		return false
	}
	rest := entry[len(top):]
	return rest == "" || rest[0] == '/' && strings.Count(rest, "/") <= depth
}

// metadataLine is the METADATA response with values; folder "" is the server.
func (s *imapSession) metadataLine(folder string, list []mailboxAnnotation) []byte {
	out := append(s.appendMetadataName(nil, folder), " ("...)
	for i, a := range list {
		if i > 0 {
			out = append(out, ' ')
		}
		out = imapAppendAstring(out, a.entry)
		out = append(out, ' ')
		switch {
		case a.value == nil:
			out = append(out, "NIL"...)
		case strings.IndexByte(*a.value, 0) >= 0: // only a literal8 holds NULs
			out = imapAppendLiteral(append(out, '~'), *a.value)
		default:
			out = imapAppendString(out, *a.value)
		}
	}
	return append(out, ")\r\n"...)
}

func (s *imapSession) appendMetadataName(dst []byte, folder string) []byte {
	dst = append(dst, "* METADATA "...)
	if folder == "" {
		return append(dst, `""`...)
	}
	return s.appendName(dst, s.clientName(folder))
}

func (s *imapSession) cmdSetMetadata() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	var changes []mailboxAnnotation
	err = s.r.readList(func() error {
		c, err := s.r.readAnnotation()
		if len(changes) == imapMetadataEntriesMost && err == nil {
			err = imapBad("too many entries")
		}
		changes = append(changes, c)
		return err
	})
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		return imapBad("an entry is missing")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	folder := ""
	if name != "" {
		if folder, err = s.folder(name); err == nil && folder == "" {
			err = errMailboxNotFound
		}
		if err != nil {
			return err
		}
	}
	for _, c := range changes {
		if folder == "" && !mailboxIsPrivate(c.entry) { // RFC 5464, section 3.3
			return imapNo{imap.ResponseCodeNoPerm, "what is shared by all is set in the server's configuration"}
		}
		if n := len(imapFilterPrivate); folder == "" && c.value != nil && len(c.entry) > n && strings.EqualFold(c.entry[:n], imapFilterPrivate) {
			if err := imapCheckFilter(*c.value); err != nil {
				return err
			}
		}
	}
	return s.tree.annotate(folder, changes, s.news)
}

// readAnnotation reads an entry and the value that it is to have.
func (r *imapReader) readAnnotation() (a mailboxAnnotation, err error) {
	if a.entry, err = r.readEntry(); err != nil {
		return a, err
	}
	parts := strings.Split(a.entry, "/")
	if len(parts) < 3 || strings.EqualFold(parts[2], "vendor") && len(parts) < 5 {
		return a, imapBad("an entry's name has too few parts") // RFC 5464, section 3.2
	}
	if err := r.readSpace(); err != nil {
		return a, err
	}
	value, isNil, err := r.readValue()
	if err == nil && !isNil {
		a.value = &value
	}
	return a, err
}

// readValue reads an nstring, or a literal8, which may hold NULs.
func (r *imapReader) readValue() (value string, isNil bool, err error) {
	binary := r.peek() == '~'
	if binary {
		r.take('~')
	}
	if r.peek() == '{' {
		size, _, err := r.readLiteralHead()
		if err != nil {
			return "", false, err
		}
		if size > imapMetadataValueMost {
			return "", false, imapMetadataTooLong()
		}
		value, err = r.readBytes(binary)
		return value, false, err
	}
	if binary {
		return "", false, imapBad("a literal is missing")
	}
	value, isNil, err = r.readNstring()
	if len(value) > imapMetadataValueMost {
		err = imapMetadataTooLong()
	}
	return value, isNil, err
}

func imapMetadataTooLong() error {
	return imapNo{imap.ResponseCode("METADATA MAXSIZE " + strconv.Itoa(imapMetadataValueMost)), "a value is too long"}
}

// tellMetadata tells which annotations others have changed (RFC 5464, section 4.4.2).
func (s *imapSession) tellMetadata() {
	if s.news == nil {
		return
	}
	for _, c := range s.news.take() {
		if !s.notify.wantsMetadata(s, c.folder) {
			continue
		}
		out := append(s.appendMetadataName(nil, c.folder), ' ')
		s.c.Write(append(imapAppendAstring(out, c.entry), "\r\n"...))
	}
}

// hearMetadata begins to listen for changes by others.
func (s *imapSession) hearMetadata() {
	if s.news == nil {
		s.news = s.tree.listenAnnotations(s.c.wake)
	}
}

// ignoreMetadata ends that.
func (s *imapSession) ignoreMetadata() {
	if s.news != nil {
		s.news.close()
		s.news = nil
	}
}
