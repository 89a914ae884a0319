package main

import (
	"slices"

	"github.com/emersion/go-imap/v2"
)

// STORE and UID STORE (RFC 9051, sections 6.4.6 and 6.4.9).

// imapStore is what STORE asks for.
type imapStore struct {
	set      imapSet
	op       mailboxStoreOp
	silent   bool
	guarded  bool // UNCHANGEDSINCE was given
	since    uint64
	flags    mailboxFlags
	keywords []string
}

func (s *imapSession) cmdStore() error {
	var want imapStore
	if err := s.r.readStore(&want); err != nil {
		return err
	}
	v := s.selected.view
	spans, err := s.selected.spans(want.set, s.byUID())
	if err != nil {
		return err
	}
	spans, lowest := s.limit(spans)
	uids := spans.pick(v.uids())
	if v.readOnly() {
		return errMailboxReadOnly
	}
	unchangedSince := uint64(0) // no condition
	if want.guarded {
		s.useModSeqs()
		unchangedSince = max(1, v.since(want.since)) // none is so low
	}
	flags, err := want.bits(v)
	if err != nil {
		return err
	}
	var modified []uint32
	err = s.during(func() (err error) { modified, err = v.store(uids, want.op, flags, true, unchangedSince); return err })
	if err != nil {
		return err
	}
	s.lowest = lowest
	s.tellKeywords()
	gone, err := s.tellStored(&want, uids, modified)
	if err != nil {
		return err
	}
	code := ""
	if len(modified) > 0 { // RFC 7162, section 3.1.3
		code = "MODIFIED " + string(imapAppendSet(nil, s.numbered(modified)))
	}
	switch {
	case gone && !s.byUID() && code == "": // RFC 2180, section 4.2.1
		return errMailboxExpunged
	case gone && !s.byUID():
		return imapNo{imap.ResponseCode(code), "some of the messages are gone"}
	case code != "":
		return imapOK{code, "some of the messages have changed since"}
	}
	return nil
}

// tellStored tells the flags that messages have now: of all, or with SILENT of those that were
// not to be changed, and of the others only the mod-sequence, to a client that knows of these.
// gone tells that some are not there any more.
func (s *imapSession) tellStored(want *imapStore, uids, modified []uint32) (gone bool, err error) {
	v := s.selected.view
	if want.silent && !s.condstore {
		return len(v.messages(uids)) < len(uids), nil
	}
	tell := func(uids []uint32, kinds ...imapFetchKind) error {
		items := &imapFetchItems{}
		if (s.byUID() || s.condstore) && !s.uidOnly {
			items.addPlain(imapFetchUID)
		}
		for _, kind := range kinds {
			items.addPlain(kind)
		}
		f := s.newFetch(items)
		err := f.run(imapSpansOf(v.uids(), uids))
		gone = gone || f.gone
		return s.r.fail(err)
	}
	switch {
	case !s.condstore:
		err = tell(uids, imapFetchFlags)
	case !want.silent:
		err = tell(uids, imapFetchFlags, imapFetchModSeq)
	default:
		if err = tell(modified, imapFetchFlags, imapFetchModSeq); err == nil {
			err = tell(imapWithout(uids, modified), imapFetchModSeq)
		}
	}
	return gone, err
}

// imapWithout gives those of uids that are not among others; both ascend.
func imapWithout(uids, others []uint32) []uint32 {
	if len(others) == 0 {
		return uids
	}
	rest := make([]uint32, 0, len(uids))
	for _, uid := range uids {
		if _, there := slices.BinarySearch(others, uid); !there {
			rest = append(rest, uid)
		}
	}
	return rest
}

// numbered gives UIDs as the command has them: as they are, or as sequence numbers.
func (s *imapSession) numbered(uids []uint32) []uint32 {
	if s.byUID() {
		return uids
	}
	list := s.selected.view.uids()
	numbers := make([]uint32, 0, len(uids))
	for _, uid := range uids {
		if i, there := slices.BinarySearch(list, uid); there {
			numbers = append(numbers, uint32(i+1))
		}
	}
	return numbers
}

// readStore reads the arguments up to the end of the command.
func (r *imapReader) readStore(want *imapStore) (err error) {
	if err = r.readSpace(); err != nil {
		return err
	}
	if want.set, err = r.readSet(); err == nil {
		err = r.readSpace()
	}
	if err == nil && r.peek() == '(' {
		err = r.readStoreModifiers(want)
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

// readStoreModifiers reads what may stand before the flags (RFC 7162, section 3.1.3), and the
// space behind it.
func (r *imapReader) readStoreModifiers(want *imapStore) error {
	err := r.readList(func() error {
		name, err := r.readWord()
		if err == nil && name != "UNCHANGEDSINCE" {
			err = imapBad("there is no such modifier")
		}
		if err == nil {
			err = r.readSpace()
		}
		if err == nil {
			want.guarded = true
			want.since, err = r.readModSeq()
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.readSpace()
}

// bits gives the flags as the mailbox has them. Keywords that are to be set and that
// it does not have are added.
func (want *imapStore) bits(v *mailboxView) (mailboxFlags, error) {
	if want.flags == 0 && len(want.keywords) > 0 && !v.may(mailboxRightWrite) { // RFC 4314, section 4
		return 0, errMailboxRights
	}
	if want.op == mailboxRemove {
		return want.flags | v.knownKeywordFlags(want.keywords), nil
	}
	keywords, err := v.keywordFlags(want.keywords)
	return want.flags | keywords, err
}
