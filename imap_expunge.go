package main

// EXPUNGE and UID EXPUNGE (RFC 9051, sections 6.4.3 and 6.4.9). What is gone is told
// by the loop, as after every command that may tell it.

func (s *imapSession) cmdExpunge() error {
	if err := s.r.readEnd(); err != nil {
		return err
	}
	return s.selected.view.expunge(nil)
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
	uids, err := s.selected.resolve(set, true)
	if err != nil {
		return err
	}
	return s.selected.view.expunge(append([]uint32{}, uids...)) // nil would be all
}
