package policy

import (
	"weir/fib"
	"weir/policy/packet"
)

// arrayRoutes is how many routes a table has when its array forms pay. A lookup in the tree of a table that fits the
// caches takes 30 to 60 ns, in the arrays 3 to 8; but for routes scattered over the Internet those take more than a
// kilobyte a route until there are some hundred thousand.
const arrayRoutes = 8192

// Promote makes the array forms of large tables, which Decide then looks up a batch at a time. It is for snapshots that
// will run, before they do. What it could not make is in the errors, and stays as it was.
func (s *Snapshot) Promote() (errs []error) {
	return s.promote(func(t *fib.Table) bool { return t.Len() >= arrayRoutes })
}

func (s *Snapshot) promote(pays func(*fib.Table) bool) (errs []error) {
	for i := range s.tables {
		t := s.tables[i].routes
		if !pays(t) {
			continue
		}
		if err := t.Build(); err != nil {
			errs = append(errs, err)
			continue
		}
		s.arrays = true
	}
	return errs
}

// Form says how Decide looks up table i.
func (s *Snapshot) Form(i uint16) string {
	if !s.arrays {
		return "tree"
	}
	return s.tables[i].routes.Form()
}

// Decide gives each key its verdict: verdicts[i] is the decision on keys[i]. Verdicts must be at least as long as
// keys. Key.Ingress must be set (see Ingress). The tally, if there is one, counts what matched. It allocates nothing.
//
// It is the specification, packet by packet, until a rule asks a table that has array forms: there packets wait, and those
// that wait for one table are looked up together, so that the cache misses of their lookups overlap.
func (s *Snapshot) Decide(keys []packet.Key, verdicts []Verdict, tally *Tally) {
	verdicts = verdicts[:len(keys)]
	if !s.arrays {
		for i := range keys {
			s.evaluate(&keys[i], &verdicts[i], tally, nil)
		}
		return
	}
	for len(keys) > fib.BatchMax {
		s.decide(keys[:fib.BatchMax], verdicts[:fib.BatchMax], tally)
		keys, verdicts = keys[fib.BatchMax:], verdicts[fib.BatchMax:]
	}
	s.decide(keys, verdicts, tally)
}

// batch is packets on their way through the rules.
type batch struct {
	flows [fib.BatchMax]flow
	rules [fib.BatchMax]uint16 // that a packet waits at: it asks a table with array forms
	open  [fib.BatchMax]uint8  // packets that wait
	n     int                  // their number
	now   [fib.BatchMax]uint8  // those that are looked up now

	four  [fib.BatchMax]uint32
	six   [4][fib.BatchMax]uint32
	found fib.Found
}

func (s *Snapshot) decide(keys []packet.Key, verdicts []Verdict, tally *Tally) {
	var b batch
	for i := range keys {
		if s.begin(&b.flows[i], &keys[i], &verdicts[i], tally, nil) {
			s.advance(&b, uint8(i), 0, &verdicts[i])
		}
	}
	for b.n > 0 {
		s.lookUp(&b, verdicts)
	}
}

// advance takes a packet on through the rules from the given one, to its end or to where it waits.
func (s *Snapshot) advance(b *batch, i uint8, rule int, v *Verdict) {
	f := &b.flows[i]
	r, at := s.walkFrom(f, rule, true, nil)
	if at < 0 {
		s.conclude(f, v, r, nil)
		return
	}
	b.rules[i] = uint16(at)
	b.open[b.n] = i
	b.n++
}

// lookUp looks up the packets that wait for the same table as the first one, and takes them on.
func (s *Snapshot) lookUp(b *batch, verdicts []Verdict) {
	first := b.open[0]
	index, family := s.rules[b.rules[first]].Table, b.flows[first].key.Family
	tab := &s.tables[index]
	n, left := 0, 0
	for _, i := range b.open[:b.n] {
		f := &b.flows[i]
		if s.rules[b.rules[i]].Table != index || f.key.Family != family {
			b.open[left] = i
			left++
			continue
		}
		addr := &f.key.Dst
		if tab.key == BySource {
			addr = &f.key.Src
		}
		if family == packet.IPv6 {
			for w := range b.six {
				b.six[w][n] = ipv4Word(addr[4*w : 4*w+4])
			}
		} else {
			b.four[n] = ipv4Word(addr[12:16])
		}
		b.now[n] = i
		n++
	}
	b.n = left

	array, ok := tab.routes.Array()
	var answers []*fib.Answer
	switch {
	case !ok: // a change has just taken them away
	case family == packet.IPv6:
		array.Lookup6(&b.six, n, &b.found)
		answers = array.Answers()
	default:
		array.Lookup4(&b.four, n, &b.found)
		answers = array.Answers()
	}
	for j, i := range b.now[:n] {
		f, rule := &b.flows[i], b.rules[i]
		var r result
		if answers == nil {
			r = s.lookup(index, f, nil)
		} else {
			r = s.answered(index, f, answers[b.found[j]])
		}
		if s.passedOver(&s.rules[rule], r, f, nil) {
			s.advance(b, i, int(rule)+1, &verdicts[i])
			continue
		}
		r.rule = rule
		s.conclude(f, &verdicts[i], r, nil)
	}
}

// answered goes on from what array forms have found. Where links are down, the tree knows what comes after a route that does
// not stand.
func (s *Snapshot) answered(index uint16, f *flow, answer *fib.Answer) result {
	addr := f.dst
	if s.tables[index].key == BySource {
		addr = f.src
	}
	route, ok := answer.Route(f.tos)
	if s.linksDown && ok && route.Action == fib.Unicast && !s.Adjacencies.Stands(route) {
		return s.lookup(index, f, nil)
	}
	return s.follow(index, f, addr, route, ok, nil)
}
