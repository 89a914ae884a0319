package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"
)

// cmdUser adds, changes, removes and lists users. A running server sees it at once.
func cmdUser(line *cmdLine) error {
	if len(line.args) == 0 {
		return cmdWrong("user add, user passwd, user del or user list?")
	}
	verb, names := line.args[0], line.args[1:]
	switch verb {
	case "add", "passwd", "del":
		if len(names) != 1 {
			return cmdWrong(fmt.Sprintf("user %s takes one name", verb))
		}
		name, err := authName(names[0])
		if err != nil {
			return err
		}
		names[0] = name
	case "list":
		line.args = names
		if err := line.none(); err != nil {
			return err
		}
	default:
		return cmdWrong(fmt.Sprintf("unknown command \"user %s\"", verb))
	}
	c, err := line.load()
	if err != nil {
		return err
	}
	if verb == "list" {
		return cmdUserList(line, c)
	}
	return cmdUserChange(line, c, verb, names[0])
}

func cmdUserList(line *cmdLine, c *config) error {
	users, err := authList(c.storage.users)
	if err != nil {
		return err
	}
	for _, user := range users {
		if _, err := fmt.Fprintln(line.stdout, user); err != nil {
			return err
		}
	}
	return nil
}

func cmdUserChange(line *cmdLine, c *config, verb, name string) error {
	users := c.storage.users
	if err := cmdUserKnown(users, verb, name); err != nil { // before a password is asked for
		return err
	}
	var err error
	switch verb {
	case "add":
		var password string
		if password, err = line.password(name); err != nil {
			return err
		}
		err = authAdd(users, name, password)
	case "passwd":
		var password string
		if password, err = line.password(name); err != nil {
			return err
		}
		err = authPassword(users, name, password)
	case "del":
		if err = authDelete(users, name); err == nil {
			_, err = fmt.Fprintf(line.stdout, "removed %s from %s; the mail stays in %s\n", name, users, filepath.Join(c.storage.path, name))
		}
		return cmdUserError(err, name, users)
	}
	if err != nil {
		return cmdUserError(err, name, users)
	}
	done := map[string]string{"add": "added", "passwd": "changed the password of"}[verb]
	_, err = fmt.Fprintf(line.stdout, "%s %s in %s\n", done, name, users)
	return err
}

// cmdUserKnown tells early that there is such a user, or is none.
func cmdUserKnown(users, verb, name string) error {
	names, err := authList(users)
	if err != nil {
		return err
	}
	found := false
	for _, n := range names {
		found = found || n == name
	}
	switch {
	case verb == "add" && found:
		return cmdUserError(errAuthExists, name, users)
	case verb != "add" && !found:
		return cmdUserError(errAuthNoUser, name, users)
	}
	return nil
}

// cmdUserError adds what to do.
func cmdUserError(err error, name, users string) error {
	switch {
	case errors.Is(err, errAuthExists):
		return fmt.Errorf("%s: %w in %s\nhint: another password: letterbox user passwd %s", name, err, users, name)
	case errors.Is(err, errAuthNoUser):
		return fmt.Errorf("%s: %w in %s\nhint: letterbox user list shows who there is; -config must be that of the server", name, err, users)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w\nhint: run it as the user that owns the file, for example: sudo -u letterbox letterbox user list", err)
	}
	return err
}

// password asks for a password twice on a terminal, without showing it, and takes the
// first line of the standard input otherwise.
func (l *cmdLine) password(name string) (string, error) {
	fd := int(l.stdin.Fd())
	if !term.IsTerminal(fd) {
		text, err := bufio.NewReader(io.LimitReader(l.stdin, 4096)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		text = strings.TrimRight(text, "\r\n")
		if text == "" {
			return "", errors.New("no password on the standard input\nhint: printf '%s\\n' PASSWORD | letterbox user add NAME, or run it on a terminal")
		}
		return text, nil
	}
	old, err := term.MakeRaw(fd) // before the question: what is typed must at no time be shown
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	defer term.Restore(fd, old)
	terminal := term.NewTerminal(cmdTerminal{l.stdin, l.stderr}, "")
	ask := func(prompt string) (string, error) {
		password, err := terminal.ReadPassword(prompt)
		if err == io.EOF { // Ctrl-C, Ctrl-D
			return "", errors.New("no password was given, nothing was changed")
		} else if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		return password, nil
	}
	first, err := ask(fmt.Sprintf("password for %s: ", name))
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", errors.New("an empty password is none")
	}
	again, err := ask("the same again: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passwords differ, nothing was changed")
	}
	return first, nil
}

// cmdTerminal is both ends of a terminal.
type cmdTerminal struct {
	io.Reader
	io.Writer
}
