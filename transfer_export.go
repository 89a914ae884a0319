package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Export writes a user's mail for other programs: a folder as an mbox file, or folders as a zip
// archive of .eml files. Nothing is kept in memory but what is known of each message. Mail that comes meanwhile
// is left out.

// transferExport is one export.
type transferExport struct {
	tree   *mailboxTree
	tell   func(c *transferCounts)
	counts transferCounts
}

// transferExported is a message that is written out.
type transferExported struct {
	mailboxMessage
	when     time.Time
	keywords []string
	head     []byte // its first bytes
	text     io.Reader
}

const (
	transferExportHead = 64 << 10
	transferExportLot  = 1000
)

// folder calls write for each message of a folder.
func (x *transferExport) folder(ctx context.Context, name string, write func(m *transferExported) error) error {
	v, err := x.tree.view(name, true, nil)
	if err != nil {
		return err
	}
	defer v.close()
	x.counts.folder = name
	x.counts.folders = append(x.counts.folders, name)
	text := bufio.NewReaderSize(nil, transferExportHead)
	for uids := range slices.Chunk(v.uids(), transferExportLot) {
		names := v.keywords()
		for _, m := range v.messages(uids) {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := x.message(v, m, names, text, write)
			if errors.Is(err, errMailboxExpunged) {
				continue
			} else if err != nil {
				return fmt.Errorf("folder %s, message %d: %w", name, m.uid, err)
			}
			x.counts.imported++
			x.counts.done++
			x.tell(&x.counts)
		}
	}
	return nil
}

func (x *transferExport) message(v *mailboxView, m mailboxMessage, names []string, text *bufio.Reader, write func(m *transferExported) error) error {
	when, err := v.date(m.uid)
	if err != nil {
		return err
	}
	f, err := v.open(m.uid)
	if err != nil {
		return err
	}
	defer f.Close()
	text.Reset(f)
	head, err := text.Peek(transferExportHead)
	if err != nil && err != io.EOF {
		return err
	}
	e := &transferExported{mailboxMessage: m, when: when, head: head, text: text}
	for i, name := range names {
		if name != "" && m.flags&(1<<(mailboxKeyword0+i)) != 0 {
			e.keywords = append(e.keywords, name)
		}
	}
	return write(e)
}

// names gives the folders that are meant, and counts their messages: all, or one with those below it.
func (x *transferExport) names(only string) (names []string, err error) {
	folders, err := x.tree.folders()
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if !f.selectable || only != "" && f.name != only && !strings.HasPrefix(f.name, only+"/") {
			continue
		}
		status, err := x.tree.status(f.name, false)
		if err != nil {
			return nil, err
		}
		x.counts.total += int64(status.messages)
		names = append(names, f.name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %w", only, errMailboxNotFound)
	}
	return names, nil
}

// mbox writes one folder as an mbox file.
func (x *transferExport) mbox(ctx context.Context, name string, to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	err := x.folder(ctx, name, func(m *transferExported) error { return transferWriteMbox(w, m) })
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// mboxTree writes folders as mbox files below a directory, as Thunderbird keeps them: what is below the folder
// "Archive" lies in Archive.sbd. No file is overwritten.
func (x *transferExport) mboxTree(ctx context.Context, names []string, dir string) error {
	files := transferFileNames{}
	for _, name := range names {
		parts := files.of(name)
		path := dir
		for _, part := range parts[:len(parts)-1] {
			path = filepath.Join(path, part+".sbd")
		}
		path = filepath.Join(path, parts[len(parts)-1])
		if err := transferWriteFile(path, func(w io.Writer) error { return x.mbox(ctx, name, w) }); err != nil {
			return err
		}
	}
	return nil
}

// transferWriteFile makes a new file, whole or not at all. One that is there is not overwritten.
func transferWriteFile(path string, write func(w io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	if err := fileMakeAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	r, err := fileReplaceBegin(path, 0o600)
	if err != nil {
		return err
	}
	if err := write(r); err != nil {
		r.abort()
		return err
	}
	return r.commit()
}

// transferWriteMbox writes a message as mboxrd has it: lines end with LF, one that begins with "From ", or
// with ">" before that, gets another ">". Flags stand in three fields at the end of the header, always and in this
// order: so the reader knows what to take away.
func transferWriteMbox(w *bufio.Writer, m *transferExported) error {
	sender, _ := messageFieldOf(m.head, "Return-Path")
	from := strings.Join(strings.Fields(strings.Trim(string(sender), "<> ")), "-")
	if from == "" || len(from) > 320 { // RFC 5321, section 4.5.3.1: none is longer; and who reads the file may take a long line for text
		from = "MAILER-DAEMON"
	}
	when := m.when.UTC()
	if year := when.Year(); year < 1970 || year > 9999 { // a date that nobody reads would make it a part of the message before
		when = time.Unix(0, 0).UTC()
	}
	fmt.Fprintf(w, "From %s %s\n", from, when.Format(time.ANSIC))
	r := bufio.NewReaderSize(m.text, transferMboxLine)
	header, begins, cr, last := true, true, false, byte(0)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		if cr { // held back: a line end may be split
			if len(line) == 0 || line[0] != '\n' {
				w.WriteByte('\r')
				last = '\r'
			}
			cr = false
		}
		ends := err == nil
		text := line
		if ends {
			text = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		} else if n := len(line); n > 0 && line[n-1] == '\r' && err != io.EOF {
			text, cr = line[:n-1], true
		}
		if begins && header && ends && len(text) == 0 {
			header = false
			transferWriteStatus(w, m)
		}
		if begins && bytes.HasPrefix(bytes.TrimLeft(text, ">"), []byte("From ")) {
			w.WriteByte('>')
		}
		w.Write(text)
		if n := len(text); n > 0 {
			last = text[n-1]
		}
		if ends && last == '\r' { // a CR of the text's own
			w.WriteByte('\r')
		}
		if ends {
			w.WriteByte('\n')
			last = 0
		}
		if err == io.EOF {
			if len(line) > 0 || !begins {
				w.WriteByte('\n') // the last line had no end
			}
			break
		}
		begins = ends
	}
	if header {
		transferWriteStatus(w, m)
	}
	_, err := w.WriteString("\n") // an error of before comes again
	return err
}

func transferWriteStatus(w *bufio.Writer, m *transferExported) {
	status, more := "O", ""
	if m.flags&mailboxFlagSeen != 0 {
		status = "RO"
	}
	for _, f := range []struct {
		flag   mailboxFlags
		letter string
	}{{mailboxFlagAnswered, "A"}, {mailboxFlagFlagged, "F"}, {mailboxFlagDraft, "T"}, {mailboxFlagDeleted, "D"}} {
		if m.flags&f.flag != 0 {
			more += f.letter
		}
	}
	words := m.keywords
	if m.flags&mailboxFlagForwarded != 0 {
		words = append([]string{"$Forwarded"}, words...)
	}
	fmt.Fprintf(w, "Status: %s\nX-Status: %s\nX-Keywords: %s\n", status, more, strings.Join(words, " "))
}

// zip writes folders as a zip archive of .eml files, byte by byte as they are on the disk.
func (x *transferExport) zip(ctx context.Context, names []string, to io.Writer) error {
	z, files := zip.NewWriter(to), transferFileNames{}
	for _, name := range names {
		dir := strings.Join(files.of(name), "/") + "/"
		if _, err := z.CreateHeader(&zip.FileHeader{Name: dir}); err != nil {
			return err
		}
		err := x.folder(ctx, name, func(m *transferExported) error {
			subject, _ := messageFieldOf(m.head, "Subject")
			file := fmt.Sprintf("%08d %s", m.uid, transferFileName(messageDecodeHeader(subject)))
			entry, err := z.CreateHeader(&zip.FileHeader{Name: dir + strings.TrimRight(file, " ") + ".eml", Method: zip.Deflate, Modified: m.when})
			if err == nil {
				_, err = io.Copy(entry, m.text)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return z.Close()
}

// transferFileNames are the names that folders have got as files or directories: no two the same, not even where upper and
// lower case are.
type transferFileNames map[string]string // the folder, by what a system sees that knows no case

// of gives the path of a folder, each of its parts as it was given before.
func (names transferFileNames) of(folder string) (parts []string) {
	path := ""
	for end := 0; end < len(folder); end++ {
		begin := end
		for end < len(folder) && folder[end] != '/' {
			end++
		}
		name := cmp.Or(transferFileName(folder[begin:end]), "_")
		part := name
		for n := 2; ; n++ {
			key := strings.ToLower(path + "/" + part)
			if owner, taken := names[key]; !taken || owner == folder[:end] {
				names[key] = folder[:end]
				break
			}
			part = fmt.Sprintf("%s_%d", name, n)
		}
		parts, path = append(parts, part), path+"/"+part
	}
	return parts
}

// transferFileName makes a text a file's name on any system.
func transferFileName(text string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || strings.ContainsRune(`<>:"/\|?*`, r) {
			return '_'
		}
		return r
	}, text)
	for len(name) > 80 {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name = strings.TrimRight(name, ". "); strings.HasPrefix(name, ".") {
		name = "_" + name[1:]
	}
	return name
}
