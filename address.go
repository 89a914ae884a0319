package main

// The address room knows mail addresses as RFC 5321 writes them in a path,
// RFC 6531's included. It knows no user and no folder.

// address is a mailbox as RFC 5321, section 4.1.2 has it. The zero address is
// the null path <>.
type address struct {
	local  string // without quoting
	domain string // lower case; "" for a bare local part, as cron and printers send it
}
