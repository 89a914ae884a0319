package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// The cmd room: the command line, one file for each subcommand. It knows what people
// type and read, and no protocol.

// cmdLine is what was typed, and where to answer.
type cmdLine struct {
	config string // -config, "" if not given
	log    string // -log
	args   []string
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer

	transfer cmdTransferFlags
	json     bool              // status
	setup    map[string]string // answers to setup's questions, by the names of their flags
}

const cmdUsage = `usage:
  letterbox [serve] [-config FILE] [-log LEVEL]         run; LEVEL is info, debug or transcript
  letterbox setup [-hostname NAME] [-domains LIST] [-trust home|machine|LIST] [-ports low|high] [-data DIR] [-spool DIR]
                  [-admins LIST] [-add LIST] [-yes]
  letterbox user add|passwd|del|list [-config FILE] [NAME]
  letterbox check [-config FILE]                        look at the configuration, the ports and the mail
  letterbox status [-json] [-config FILE]               what the running server does
  letterbox import -user NAME [-folder NAME] SOURCE     mail from an mbox file, a Maildir, a directory of .eml files
  letterbox import -user NAME [-folder NAME] [-ca FILE] [-password-file FILE] [-again] imaps://USER@HOST     or imap:// with STARTTLS
  letterbox export -user NAME [-folder NAME] -format mbox|zip FILE     FILE may be - for the standard output
  letterbox backup [-keep N] DIR                        a snapshot of everything
  letterbox restore DIR                                 what snapshots there are
  letterbox restore -user NAME [-snapshot NAME] [-folder NAME] [-message ID|WORDS] [-to FOLDER] [-list] [-all] DIR
  letterbox sendmail [-t] [-i] [-f ADDRESS] [-F NAME] [RECIPIENT...]   mail from cron and scripts: sendmail(8)
  letterbox version

Without -config: ./config.toml, then /etc/letterbox/config.toml, then the built-in one with its data in ./data.
`

// cmdCommands is every subcommand.
var cmdCommands = map[string]func(line *cmdLine) error{
	"serve":    cmdServe,
	"setup":    cmdSetup,
	"user":     cmdUser,
	"check":    cmdCheck,
	"status":   cmdStatus,
	"version":  cmdVersion,
	"import":   cmdImport,
	"export":   cmdExport,
	"backup":   cmdBackup,
	"restore":  cmdRestore,
	"sendmail": cmdSendmail,
}

// cmdOptions are the flags of single subcommands, which stand after its name.
var cmdOptions = map[string]func(line *cmdLine, flags *flag.FlagSet){
	"setup":   cmdSetupFlags,
	"status":  cmdStatusFlags,
	"import":  cmdImportFlags,
	"export":  cmdExportFlags,
	"backup":  cmdBackupFlags,
	"restore": cmdRestoreFlags,
}

// cmdWrong is a command line that cannot be meant.
type cmdWrong string

func (e cmdWrong) Error() string { return string(e) }

var errCmdFindings = errors.New("there are findings") // which have been told

// cmdRun runs a command line and gives the exit code: 0 done, 1 it did not work, 2 it
// was not understood; those of sysexits.h for sendmail.
func cmdRun(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	line, err := cmdParse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, cmdUsage)
		return 0
	}
	if err == nil {
		line.stdin, line.stdout, line.stderr = stdin, stdout, stderr
		name := "serve"
		if len(line.args) > 0 {
			name, line.args = line.args[0], line.args[1:]
		}
		if command, ok := cmdCommands[name]; ok {
			err = command(line)
		} else {
			err = cmdWrong(fmt.Sprintf("unknown command %q", name))
		}
	}
	var wrong cmdWrong
	var bad *configError
	var exit cmdExit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		fmt.Fprintf(stderr, "sendmail: %s\n", strings.ReplaceAll(exit.text, "\n", "\nsendmail: "))
		return exit.status
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "letterbox: %v\n\n%s", err, cmdUsage)
		return 2
	case errors.Is(err, errCmdFindings):
		return 1
	case errors.As(err, &bad): // each line begins with its place, for editors
		fmt.Fprintln(stderr, bad)
		return 1
	}
	fmt.Fprintf(stderr, "letterbox: %v\n", err)
	return 1
}

// cmdParse takes the flags out of a command line, wherever they stand.
func cmdParse(args []string) (*cmdLine, error) {
	line := &cmdLine{}
	flags := flag.NewFlagSet("letterbox", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&line.config, "config", "", "")
	flags.StringVar(&line.log, "log", "info", "")
	for len(args) > 0 {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, cmdWrong(err.Error())
		}
		if args = flags.Args(); len(args) > 0 {
			if args[0] == "sendmail" && len(line.args) == 0 { // whose options are read otherwise
				line.args = args
				return line, nil
			}
			if options := cmdOptions[args[0]]; options != nil && len(line.args) == 0 {
				options(line, flags)
			}
			line.args = append(line.args, args[0])
			args = args[1:]
		}
	}
	if len(line.args) > 0 && line.args[0] == "help" {
		return nil, flag.ErrHelp
	}
	return line, nil
}

// load reads the configuration that the command line means.
func (l *cmdLine) load() (*config, error) { return configLoad(l.config, serverCapabilities()) }

// none refuses words that the command has no use for.
func (l *cmdLine) none() error {
	if len(l.args) > 0 {
		return cmdWrong(fmt.Sprintf("what is %q?", strings.Join(l.args, " ")))
	}
	return nil
}
