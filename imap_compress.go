package main

import "github.com/emersion/go-imap/v2"

// cmdCompress compresses all that follows its answer (RFC 4978). TLS's own compression is not
// spoken here, so that NO [COMPRESSIONACTIVE] never applies.
func (s *imapSession) cmdCompress() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	algorithm, err := s.r.readWord()
	if err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	switch {
	case algorithm != "DEFLATE":
		return imapBad("DEFLATE is the only compression here")
	case s.c.deflating():
		return imapBad("this connection is compressed already")
	}
	s.respond(imap.StatusResponseTypeOK, "", "compressed from here on")
	if err := s.c.startDeflate(); err != nil {
		return s.r.fail(err)
	}
	return imapDone
}
