package appliance

import (
	"errors"
	"time"

	"weir/policy"
)

// HitState is what an item of the policy has seen.
type HitState struct {
	Packets uint64     `json:"packets"`
	Bytes   uint64     `json:"bytes"`
	LastHit *time.Time `json:"last_hit"` // null: never
}

// RuleState is one rule, in the order of the walk.
type RuleState struct {
	Priority uint32 `json:"priority"`
	Name     string `json:"name"`
	Text     string `json:"text"` // selectors and action, as in ip-rule(8)
	HitState
}

// StatementState is one statement of the mark program.
type StatementState struct {
	Chain string `json:"chain"`
	Name  string `json:"name"`
	Text  string `json:"text"`
	HitState
}

// TableState is one table.
type TableState struct {
	Name     string   `json:"name"`
	ID       uint32   `json:"id"`
	Key      string   `json:"key"`
	OnMiss   string   `json:"on_miss"`
	Routes   int      `json:"routes"`
	Form     string   `json:"form"`     // how it is looked up
	Counters bool     `json:"counters"` // whether its routes are counted one by one
	Answered HitState `json:"answered"` // lookups that a route of its own decided
	Missed   HitState `json:"missed"`
}

// RouteState is one route of a table.
type RouteState struct {
	Prefix string    `json:"prefix"`
	TOS    uint8     `json:"tos,omitempty"`
	Metric uint32    `json:"metric,omitempty"`
	Text   string    `json:"text"`
	Origin string    `json:"origin"`         // configuration, or run-time
	Hits   *HitState `json:"hits,omitempty"` // absent where the table does not count routes
}

// Explain explains what becomes of a packet, described by words such as iif=em0, by what runs now.
func (r *Router) Explain(words []string) (e policy.Explanation, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		return e, errors.New("nothing runs")
	}
	k, err := r.running.snap.ParsePacket(words)
	if err != nil {
		return e, err
	}
	return r.running.snap.Explain(&k), nil
}

func (h Hits) state(x policy.Hits) HitState {
	s := HitState{Packets: x.Packets, Bytes: x.Bytes}
	if x.Packets > 0 {
		s.LastHit = wallTime(h.Time(x.Last))
	}
	return s
}

// Rules lists the rules with their hits.
func (h Hits) Rules() (list []RuleState) {
	for i := range uint16(h.Snapshot.Rules()) {
		list = append(list, RuleState{h.Snapshot.Rule(i).Priority, h.Snapshot.RuleName(i), h.Snapshot.RuleText(i), h.state(h.Snapshot.RuleHits(h.Tally, i))})
	}
	return list
}

// Statements lists the statements that can run, chain by chain, with their hits.
func (h Hits) Statements() (list []StatementState) {
	for i := range uint16(h.Snapshot.Statements()) {
		chain, name := h.Snapshot.StatementName(i)
		list = append(list, StatementState{chain, name, h.Snapshot.StatementText(i), h.state(h.Snapshot.StatementHits(h.Tally, i))})
	}
	return list
}

// Tables lists the tables with their hits.
func (h Hits) Tables() (list []TableState) {
	h.routing.RLock()
	defer h.routing.RUnlock()
	for i := range uint16(h.Snapshot.Tables()) {
		t := h.Snapshot.Table(i)
		answered, missed := h.Snapshot.TableHits(h.Tally, i)
		key := "destination"
		if t.Key == policy.BySource {
			key = "source"
		}
		list = append(list, TableState{Name: t.Name, ID: t.ID, Key: key, OnMiss: h.Snapshot.OnMissText(i), Routes: h.Snapshot.Routes(i).Len(), Form: h.Snapshot.Form(i),
			Counters: t.Counters, Answered: h.state(answered), Missed: h.state(missed)})
	}
	return list
}

// Routes lists the routes of the table of that name; ok is false if there is none.
func (h Hits) Routes(table string) (list []RouteState, ok bool) {
	h.routing.RLock()
	defer h.routing.RUnlock()
	for i := range uint16(h.Snapshot.Tables()) {
		if h.Snapshot.TableName(i) != table {
			continue
		}
		for r := range h.Snapshot.Routes(i).All() {
			state := RouteState{Prefix: r.Prefix.String(), TOS: r.TOS, Metric: r.Metric, Text: h.Snapshot.RouteText(r), Origin: "configuration"}
			if r.RunTime {
				state.Origin = "run-time"
			}
			if hits, ok := h.Snapshot.RouteHits(h.Tally, r); ok {
				s := h.state(hits)
				state.Hits = &s
			}
			list = append(list, state)
		}
		return list, true
	}
	return nil, false
}
