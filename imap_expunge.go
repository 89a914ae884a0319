package main

// EXPUNGE and UID EXPUNGE (RFC 9051, sections 6.4.3 and 6.4.9). What is gone is told
// by the loop, as after every command that may tell it.

func (s *imapSession) cmdExpunge() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	return s.during(func() error { return s.selected.view.expunge(nil) })
}

func (s *imapSession) cmdUIDExpunge() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	set, err := s.r.readSet()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	spans, err := s.selected.spans(set, true)
	if err != nil {
		return err
	}
	view := s.selected.view
	uids := append([]uint32{}, spans.pick(view.uids())...) // nil would be all
	lowest := uint32(0)
	if most := s.mostMessages(); most > 0 && len(uids) > most {
		deleted := uids[:0] // only these count (RFC 9738, section 3.1)
		for _, m := range view.messages(uids) {
			if m.flags&mailboxFlagDeleted != 0 {
				deleted = append(deleted, m.uid)
			}
		}
		if uids = deleted; len(uids) > most {
			uids = uids[len(uids)-most:]
			lowest = uids[0]
		}
	}
	if err := s.during(func() error { return view.expunge(uids) }); err != nil {
		return err
	}
	s.lowest = lowest
	return nil
}
