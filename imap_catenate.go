package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-imap/v2"
)

// CATENATE in APPEND and REPLACE (RFC 4469): a message is put together from what the client sends and what is here
// already. All parts go to tmp/ as they come.

// catenate reads "(part part ...)" into the draft; base is what there will be more besides. The opening parenthesis was read.
func (s *imapSession) catenate(draft *mailboxDraft, base mailboxQuota) error {
	urls := &imapURLReader{tree: s.tree}
	defer urls.close()
	for {
		if err := s.catenatePart(draft, urls, base); err != nil {
			return err
		}
		if s.r.take(')') {
			break
		}
		if !s.r.take(' ') {
			return imapBad("CATENATE ( does not end")
		}
	}
	if draft.size() == 0 {
		return errImapEmpty
	}
	return nil
}

// catenatePart reads one part.
func (s *imapSession) catenatePart(draft *mailboxDraft, urls *imapURLReader, base mailboxQuota) error {
	word, err := s.r.readWord()
	if err != nil || word != "TEXT" && word != "UTF8" && word != "URL" {
		return imapBad("TEXT or URL is missing")
	}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	if word == "URL" {
		url, err := s.r.readAstring()
		if err != nil {
			return err
		}
		return s.catenateURL(draft, urls, url, base)
	}
	text, err := s.r.readAppendText(word == "UTF8")
	if err == nil {
		err = s.mayTake(&text, draft.size())
	}
	if err != nil {
		return err
	}
	return s.take(draft, &text, base)
}

// catenateURL adds what a URL stands for.
func (s *imapSession) catenateURL(draft *mailboxDraft, urls *imapURLReader, url string, base mailboxQuota) error {
	text, err := s.openURL(urls, url)
	if errors.Is(err, errImapURL) {
		return imapNo{imap.ResponseCode(`BADURL "` + imapURLShown(url) + `"`), "this URL stands for nothing here"} // RFC 4469, section 4.1
	} else if err != nil {
		return err
	}
	most := s.door.appendLimit - draft.size()
	if n, err := io.CopyN(draft, text, most+1); err != nil && err != io.EOF {
		return fmt.Errorf("catenating a message: %w", err)
	} else if n > most {
		return s.tooBig()
	}
	return draft.room(base.bytes+draft.size(), base.messages)
}

// openURL reads what a URL of one's own stands for: it has no server, and what is not absolute is relative to the selected
// mailbox (RFC 4469, section 3).
func (s *imapSession) openURL(urls *imapURLReader, url string) (io.Reader, error) {
	u, err := imapParseURL(url)
	if err != nil {
		return nil, err
	}
	if u.absolute || u.access != "" || !u.expire.IsZero() || u.relative && s.selected == nil {
		return nil, errImapURL
	}
	folder := ""
	if u.relative {
		folder = s.selected.view.name()
	} else if folder, err = s.folderNamed(u.mailbox); err != nil {
		return nil, errImapURL
	}
	return urls.open(u, folder)
}
