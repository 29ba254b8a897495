package ssh

func (s *session) subscribe(sh *shell) func() { return func() {} }
