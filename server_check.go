package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// serverCheckPorts tries to open every address of a configuration. Where another
// Letterbox has it, that one is running, and it is no error. Nor is it one that whoever
// asks may not open a port below 1024: the systemd unit gives that privilege to the
// server alone.
func serverCheckPorts(c *config, program string) (running string, untried []string, failed []error) {
	for i := range serverServices {
		service := &serverServices[i]
		for _, address := range service.addresses(c) {
			l, err := serverListen(address)
			if err == nil {
				l.Close()
				continue
			}
			if errors.Is(err, fs.ErrPermission) && !strings.HasPrefix(address, "unix:") {
				untried = append(untried, address)
				continue
			}
			err = serverListenError(service.name, address, err)
			if _, owner, ok := strings.Cut(err.Error(), "taken by "+program+" "); ok {
				running, _, _ = strings.Cut(program+" "+owner, "\n")
				continue
			}
			failed = append(failed, err)
		}
	}
	return running, untried, failed
}

// serverCheckCert says which certificate clients are shown, or what is wrong with it.
func serverCheckCert(c *config, now time.Time) (said string, err error) {
	if c.tls.cert == "" {
		path := serverCAPath(filepath.Join(c.storage.path, serverDirectory))
		cert, err := serverReadPEM(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "a CA and a certificate of this box's own are made at the first start", nil
		} else if err != nil {
			return "", serverPathError("reading", path, err)
		}
		return fmt.Sprintf("devices that shall trust this box get %s, SHA-256 %s", path, serverFingerprint(cert)), nil
	}
	files, err := serverReadCert(c.tls.cert, c.tls.key)
	if err != nil {
		return "", err
	}
	leaf := files.cert.Leaf
	switch {
	case leaf.VerifyHostname(c.hostname) != nil:
		return "", serverHint{fmt.Errorf("the certificate in %s is not for %s but for %s", c.tls.cert, c.hostname, strings.Join(leaf.DNSNames, ", ")),
			"set hostname to the name that mail programs use"}
	case now.After(leaf.NotAfter):
		return "", serverHint{fmt.Errorf("the certificate in %s has ended on %s", c.tls.cert, leaf.NotAfter.Format(time.DateOnly)), "renew it; it is read again when it changes"}
	case now.Before(leaf.NotBefore):
		return "", serverHint{fmt.Errorf("the certificate in %s begins on %s", c.tls.cert, leaf.NotBefore.Format(time.DateOnly)), "is this box's clock right?"}
	}
	return fmt.Sprintf("the certificate in %s is good until %s", c.tls.cert, leaf.NotAfter.Format(time.DateOnly)), nil
}

// serverCheckClock says whether the time would be believed.
func serverCheckClock(c *config, now time.Time) error {
	built := serverBuilt()
	newest, err := serverNewest(filepath.Join(c.storage.path, serverDirectory, "clock"))
	if err != nil {
		return err
	}
	if now.After(built) && now.After(newest.Add(-serverClockSlack)) {
		return nil
	}
	return serverHint{fmt.Errorf("the clock says %s, but it has been later: %s", now.Format(time.RFC3339), serverLater(built, newest).Format(time.RFC3339)),
		"set it; until then no certificate is made. If it is right, remove the file clock in " + filepath.Join(c.storage.path, serverDirectory)}
}

func serverLater(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// serverCheckQuota gives what a user may have and, where there are limits, has.
func serverCheckQuota(c *config, user string) (limits, used mailboxQuota, err error) {
	return mailboxCheckQuota(filepath.Join(c.storage.path, user), serverQuotas(c)(user), c.fixesQuota(user))
}
