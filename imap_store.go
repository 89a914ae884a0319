package main

// STORE and UID STORE (RFC 9051, sections 6.4.6 and 6.4.9).

// imapStore is what STORE asks for.
type imapStore struct {
	set      imapSet
	op       mailboxStoreOp
	silent   bool
	flags    mailboxFlags
	keywords []string
}

func (s *imapSession) cmdStore() error {
	var want imapStore
	if err := s.r.readStore(&want); err != nil {
		return err
	}
	v := s.selected.view
	uids, err := s.selected.resolve(want.set, s.byUID())
	if err != nil {
		return err
	}
	if v.readOnly() {
		return errMailboxReadOnly
	}
	flags, err := want.bits(v)
	if err != nil {
		return err
	}
	if _, err := v.store(uids, want.op, flags, true, 0); err != nil {
		return err
	}
	s.tellKeywords()
	f := s.newFetch(&imapFetchItems{})
	if want.silent {
		f.gone = len(v.messages(uids)) < len(uids)
	} else {
		if s.byUID() {
			f.items.addPlain(imapFetchUID)
		}
		f.items.addPlain(imapFetchFlags)
		if err := f.run(imapSpansOf(v.uids(), uids)); err != nil {
			return s.r.fail(err)
		}
	}
	if f.gone && !s.byUID() { // RFC 2180, section 4.2.1
		return errMailboxExpunged
	}
	return nil
}

// readStore reads the arguments up to the end of the command.
func (r *imapReader) readStore(want *imapStore) (err error) {
	if err = r.readSpace(); err != nil {
		return err
	}
	if want.set, err = r.readSet(); err == nil {
		err = r.readSpace()
	}
	if err != nil {
		return err
	}
	switch {
	case r.take('+'):
		want.op = mailboxAdd
	case r.take('-'):
		want.op = mailboxRemove
	}
	name, err := r.readWord()
	if err != nil {
		return err
	}
	switch name {
	case "FLAGS":
	case "FLAGS.SILENT":
		want.silent = true
	default:
		return imapBad("STORE takes FLAGS, +FLAGS, -FLAGS, with or without .SILENT")
	}
	if err := r.readSpace(); err != nil {
		return err
	}
	if want.flags, want.keywords, err = r.readFlags(); err != nil {
		return err
	}
	return r.readEnd()
}

// bits gives the flags as the mailbox has them. Keywords that are to be set and that
// it does not have are added.
func (want *imapStore) bits(v *mailboxView) (mailboxFlags, error) {
	if want.op == mailboxRemove {
		return want.flags | v.knownKeywordFlags(want.keywords), nil
	}
	keywords, err := v.keywordFlags(want.keywords)
	return want.flags | keywords, err
}
