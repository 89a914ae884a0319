package main

// Keeps go.mod complete while the rooms are being built; goes when each is imported by its room.
import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/emersion/go-imap/v2"
	_ "github.com/emersion/go-imap/v2/imapclient"
	_ "github.com/emersion/go-sasl"
	_ "github.com/emersion/go-smtp"
	_ "golang.org/x/crypto/bcrypt"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/text/encoding/htmlindex"
)
