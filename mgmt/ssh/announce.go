package ssh

import (
	"context"
	"fmt"
	"time"
)

// subscribe has the client told what others do to the configuration, until stop is called.
func (s *session) subscribe() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	events := s.c.serving.engine.Subscribe(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		own := s.c.author()
		for e := range events {
			if e.Missed > 0 {
				s.tell(fmt.Sprintf("%d announcements found no room", e.Missed))
			}
			if e.By != own {
				s.tell(fmt.Sprintf("%s %s (%v)", e.Time.Local().Format(time.TimeOnly), e.Text, e.By))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// tell shows the client something that he did not ask for.
func (s *session) tell(text string) {
	s.mu.Lock()
	announce := s.announce
	s.mu.Unlock()
	if announce != nil {
		announce("*** " + text)
	}
}
