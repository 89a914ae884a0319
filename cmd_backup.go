package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func cmdBackupFlags(line *cmdLine, flags *flag.FlagSet) {
	flags.IntVar(&line.transfer.keep, "keep", 0, "")
}

// cmdBackup makes a snapshot of all mail, the users and the configuration.
func cmdBackup(line *cmdLine) error {
	if len(line.args) != 1 {
		return cmdWrong("backup takes one directory")
	}
	if line.transfer.keep < 0 {
		return cmdWrong("-keep is a number of snapshots")
	}
	c, err := line.load()
	if err != nil {
		return err
	}
	if err := cmdIsOwner(c); err != nil {
		return err
	}
	dir, err := filepath.Abs(line.args[0])
	if err != nil {
		return err
	}
	mail, err := filepath.Abs(c.storage.path)
	if err != nil {
		return err
	}
	if below, err := filepath.Rel(mail, dir); err == nil && below != ".." && !strings.HasPrefix(below, "../") {
		return fmt.Errorf("%s is in the mail directory itself\nhint: a backup belongs on another disk", dir)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := newCmdProgress(line.stderr)
	b := &transferBackup{mail: mail, dir: dir, files: cmdBackupFiles(c), now: time.Now(), keep: line.transfer.keep, tell: progress.tell, failed: progress.failed}
	name, err := b.run(ctx)
	progress.clear()
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w\nhint: the directory must belong to the user that this runs as", err)
	} else if err != nil {
		return err
	}
	notRead := ""
	if b.counts.failed > 0 {
		notRead = fmt.Sprintf("; not read: %d", b.counts.failed)
	}
	_, err = fmt.Fprintf(line.stdout, "snapshot %s: %s of %s, %d of them linked, %s copied%s\n", filepath.Join(dir, name), cmdMessages(b.counts.imported),
		cmdUsers(len(b.counts.folders)), b.counts.skipped, cmdSize(b.counts.bytes), notRead)
	if err == nil && b.later != "" {
		_, err = fmt.Fprintf(line.stderr, "note: by its name, the snapshot %s was made later than this one. The clock was wrong then, or is now. Restore takes that one for the last: rename or remove it\n", b.later)
	}
	if err == nil && b.same && b.counts.imported > 0 {
		_, err = fmt.Fprintln(line.stderr, "note: the snapshot is on the same disk as the mail. It helps against mistakes, not against a broken disk")
	}
	if err == nil && b.counts.failed > 0 {
		return errCmdFindings
	}
	return err
}

func cmdUsers(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

// cmdBackupFiles are the files besides the mail, by their names in the snapshot.
func cmdBackupFiles(c *config) map[string]string {
	files := map[string]string{"users": c.storage.users}
	if _, err := os.Stat(c.name); err == nil { // else it is the built-in one
		files["config.toml"] = c.name
	}
	dir := filepath.Join(c.storage.path, serverDirectory)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return files // there is none before the first start
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.Contains(e.Name(), ".tmp") && !strings.HasSuffix(e.Name(), ".lock") {
			files[filepath.Join("mail", serverDirectory, e.Name())] = filepath.Join(dir, e.Name())
		}
	}
	return files
}
