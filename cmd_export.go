package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func cmdExportFlags(line *cmdLine, flags *flag.FlagSet) {
	flags.StringVar(&line.transfer.user, "user", "", "")
	flags.StringVar(&line.transfer.folder, "folder", "", "")
	flags.StringVar(&line.transfer.format, "format", "", "")
}

// cmdExport writes a user's mail for other programs.
func cmdExport(line *cmdLine) error {
	if len(line.args) != 1 {
		return cmdWrong("export takes one file")
	}
	path, format := line.args[0], line.transfer.format
	if format != "mbox" && format != "zip" {
		return cmdWrong("-format is mbox or zip")
	}
	c, user, err := line.transferUser()
	if err != nil {
		return err
	}
	only := ""
	if line.transfer.folder != "" {
		if only, err = mailboxCleanName(line.transfer.folder); err != nil {
			return err
		}
	}
	st, err := serverOpenStore(c, logNew(line.stderr, slog.LevelWarn))
	if err != nil {
		return err
	}
	defer st.close()
	tree, err := st.tree(user)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := newCmdProgress(line.stderr)
	x := &transferExport{tree: tree, tell: progress.tell}
	err = line.runExport(ctx, x, path, format, only)
	progress.clear()
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w\nhint: nothing is overwritten; remove it, or choose another name", err)
	} else if errors.Is(err, os.ErrPermission) && path != "-" {
		return fmt.Errorf("%w\nhint: this runs as the user that the mail belongs to; where only you may write, give - for the file, and > FILE behind the command", err)
	} else if err != nil {
		return err
	}
	say := line.stdout
	if path == "-" {
		say = line.stderr
	}
	_, err = fmt.Fprintf(say, "exported %s from %s of %s\n", cmdMessages(x.counts.imported), cmdFolders(len(x.counts.folders)), user)
	return err
}

func (l *cmdLine) runExport(ctx context.Context, x *transferExport, path, format, only string) error {
	names, err := x.names(only)
	if err != nil {
		return err
	}
	info, statErr := os.Stat(path)
	isDir := strings.HasSuffix(path, "/") || statErr == nil && info.IsDir()
	write := func(w io.Writer) error { return x.zip(ctx, names, w) }
	switch {
	case format == "mbox" && isDir && path != "-":
		return x.mboxTree(ctx, names, path)
	case format == "mbox" && only == "":
		return errors.New("an mbox file holds one folder\nhint: name it by -folder, or give a directory, which gets a file for each folder")
	case format == "mbox":
		x.counts.total = 0 // the folders below it do not count
		write = func(w io.Writer) error { return x.mbox(ctx, only, w) }
	}
	if path == "-" {
		return write(l.stdout)
	}
	return transferWriteFile(path, write)
}

func cmdFolders(n int) string {
	if n == 1 {
		return "1 folder"
	}
	return fmt.Sprintf("%d folders", n)
}
