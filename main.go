// Command letterbox is a mail appliance in one binary: SMTP in, Maildir on disk,
// POP3 and IMAP out.
package main

import "os"

func main() { os.Exit(cmdRun(cmdCalled(os.Args), os.Stdin, os.Stdout, os.Stderr)) }
