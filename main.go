// Command letterbox is a mail appliance in one binary: SMTP in, Maildir on disk,
// POP3 and IMAP out.
package main

import "os"

func main() { os.Exit(cmdRun(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
