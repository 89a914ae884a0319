package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func cmdRestoreFlags(line *cmdLine, flags *flag.FlagSet) {
	flags.StringVar(&line.transfer.user, "user", "", "")
	flags.StringVar(&line.transfer.snapshot, "snapshot", "", "")
	flags.StringVar(&line.transfer.folder, "folder", "", "")
	flags.StringVar(&line.transfer.message, "message", "", "")
	flags.StringVar(&line.transfer.to, "to", "", "")
	flags.BoolVar(&line.transfer.list, "list", false, "")
	flags.BoolVar(&line.transfer.all, "all", false, "")
}

// cmdRestore brings mail back from a snapshot: of a user, a folder, or single messages.
func cmdRestore(line *cmdLine) error {
	if len(line.args) != 1 {
		return cmdWrong("restore takes the directory of the backup")
	}
	t := &line.transfer
	if t.user == "" {
		if t.folder != "" || t.message != "" || t.to != "" || t.list || t.all {
			return cmdWrong("whose mail? -user NAME")
		}
		return cmdRestoreSnapshots(line, line.args[0])
	}
	snapshot, err := transferSnapshot(line.args[0], t.snapshot)
	if errors.Is(err, errTransferNoSnapshot) {
		return fmt.Errorf("%w\nhint: letterbox restore %s shows them", err, line.args[0])
	} else if err != nil {
		return err
	}
	c, user, err := line.transferUser()
	if errors.As(err, new(cmdNoUser)) {
		return cmdRestoreNoUser(c, user, snapshot)
	} else if err != nil {
		return err
	}
	source := &transferMaildir{flat: t.to != ""}
	if source.root, err = transferUserIn(snapshot, user); err != nil {
		return err
	}
	if t.folder != "" {
		if source.only, err = mailboxCleanName(t.folder); err != nil {
			return err
		}
	}
	match := &transferMatch{t.message}
	if t.list || t.message != "" && !t.all {
		if done, err := cmdRestoreChoose(line, source, match); done || err != nil {
			return err
		}
	}
	line.transfer.folder = t.to // where it goes
	_, job, err := line.transferJob()
	if err != nil {
		return err
	}
	defer job.st.close()
	job.link = true
	if t.message != "" {
		job.want = match.want
	}
	return line.runImport(c, job, source)
}

// cmdRestoreNoUser says how to get back a user, whom a restore does not bring: what is in the users file now counts.
func cmdRestoreNoUser(c *config, user, snapshot string) error {
	old := filepath.Join(snapshot, "users")
	hint := "letterbox user add " + user
	if users, err := authList(old); err == nil && slices.Contains(users, user) {
		hint += fmt.Sprintf(", or, with the old passwords, add the line that begins with %s: in %s to %s", user, old, c.storage.users)
	}
	return fmt.Errorf("a restore brings back mail, and there is no user %s in %s\nhint: first %s", user, c.storage.users, hint)
}

// cmdRestoreSnapshots tells what there is.
func cmdRestoreSnapshots(line *cmdLine, dir string) error {
	names, err := transferSnapshots(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		users, err := os.ReadDir(filepath.Join(dir, name, "mail"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		text := name + " "
		for _, u := range users {
			if u.Name()[0] != '.' {
				text += " " + u.Name()
			}
		}
		if _, err := fmt.Fprintln(line.stdout, text); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no snapshot in %s", dir)
	}
	return nil
}

// cmdRestoreChoose lists messages if that is asked for, or if more are meant than one.
func cmdRestoreChoose(line *cmdLine, source *transferMaildir, match *transferMatch) (done bool, err error) {
	const most = 1000 // that are told
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var list []*transferFound
	ids := map[string]bool{}
	err = transferLook(ctx, source, match, newCmdProgress(line.stderr).failed, func(found *transferFound) error {
		if ids[found.id] = true; line.transfer.list {
			return cmdRestoreTell(line, found)
		}
		if len(list) < most {
			list = append(list, found)
		}
		return nil
	})
	switch {
	case err != nil:
		return true, err
	case line.transfer.list:
		return true, nil
	case len(list) == 0:
		return true, fmt.Errorf("no message in the snapshot has %q in its subject, or as its Message-ID\nhint: -list shows all", match.words)
	case len(list) == 1, len(ids) == 1 && !ids[""]:
		return false, nil
	}
	for _, found := range list {
		if err := cmdRestoreTell(line, found); err != nil {
			return true, err
		}
	}
	return true, errors.New("these are several messages\nhint: give -message the text in < >, or -all for all of them")
}

func cmdRestoreTell(line *cmdLine, found *transferFound) error {
	_, err := fmt.Fprintf(line.stdout, "%s  %s  %s  %s  %s\n", found.date.Format(time.DateTime), found.folder, found.from, found.subject, found.id)
	return err
}
