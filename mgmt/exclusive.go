package mgmt

import (
	"fmt"
	"sync"
	"time"
)

// exclusive is the right to commit, where one has it alone.
type exclusive struct {
	by    Author
	since time.Time
}

// Lock gives one session alone the right to commit (configure exclusive), until it releases it. Rollbacks for want of a
// confirmation happen all the same.
func (e *Engine) Lock(by Author) (release func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lock != nil {
		return nil, e.lock.refusal()
	}
	mine := &exclusive{by, time.Now()}
	e.lock = mine
	return sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.lock == mine {
			e.lock = nil
		}
	}), nil
}

func (x *exclusive) refusal() error {
	return fmt.Errorf("%v has locked the configuration since %s", x.by, x.since.Format(time.TimeOnly))
}

// locked refuses a proposal while somebody else has the configuration for himself.
func (e *Engine) locked(p *proposal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lock == nil || e.lock.by == p.by || p.insist {
		return nil
	}
	return e.lock.refusal()
}
