package mgmt

import (
	"context"
	"time"
)

// EventKind says what has happened.
type EventKind string

// Kinds of events.
const (
	EventCommit   EventKind = "commit"   // a configuration came into force
	EventConfirm  EventKind = "confirm"  // the one that waited for it was confirmed
	EventRollback EventKind = "rollback" // an earlier one came back, for want of a confirmation or since somebody asked
	EventRefused  EventKind = "refused"  // a commit did not come into force
)

// Event is something that happened to the configuration.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   EventKind `json:"kind"`
	Number int       `json:"number,omitempty"` // of the commit in force
	Text   string    `json:"text,omitempty"`   // a line for people
	By     Author    `json:"by"`
	Missed uint64    `json:"missed,omitempty"` // events before this one that found no room
}

// eventsMax is how many events wait for a subscriber that is slow.
const eventsMax = 64

type subscriber struct {
	events chan Event
	missed uint64
}

// Subscribe returns what happens from now on, until the context ends; then the channel is closed. Nobody waits for a
// subscriber: one that does not take its events misses those beyond 64, and the next one says how many.
func (e *Engine) Subscribe(ctx context.Context) <-chan Event {
	s := &subscriber{events: make(chan Event, eventsMax)}
	e.mu.Lock()
	e.subscribers[s] = true
	e.mu.Unlock()
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, s)
		close(s.events)
	})
	return s.events
}

// announce tells all subscribers.
func (e *Engine) announce(event Event) {
	event.Time = time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subscribers {
		event.Missed = s.missed
		select {
		case s.events <- event:
			s.missed = 0
		default:
			s.missed++
		}
	}
}
