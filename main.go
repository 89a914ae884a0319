// Command letterbox is a mail appliance in one binary: SMTP in, Maildir on disk,
// POP3 and IMAP out.
package main

func main() {}
