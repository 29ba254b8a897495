package fib

// shared is how the tree of a table changes while it is read. There are two, as in the left-right technique (Ramalhete and
// Correia 2013): readers have one, the writer changes the other. Turn gives readers the changed one; when every reader has
// left the one before, Reclaim makes the same changes to that, and it is the writer's. So a reader sees a tree at rest, and
// pays one atomic load for it.
type shared struct {
	on      bool
	turned  bool     // between Turn and Reclaim
	copied  bool     // log does not do: the trees' answers have been numbered anew
	changes []change // that the writer's tree has had and the other one has not
}

// change is an insertion, or a deletion.
type change struct {
	route  Route
	answer uint32 // the leaf's, after it
	gone   bool
}

// changesMax is how many changes are remembered; beyond, Reclaim copies the whole tree.
const changesMax = 1 << 16

// Share makes the table one that may change while it is read: from now on changes come to the tree's readers with Turn. It
// copies the tree.
func (t *Table) Share() {
	if !t.shared.on {
		t.shared.on = true
		t.copy()
	}
}

// copy makes the writer's tree anew from the readers'.
func (t *Table) copy() { t.next = t.tree.Load().clone() }

// check is a programmer's error found: a reader may be where the writer is about to write.
func (t *Table) check() {
	if t.turned {
		panic("fib: change between Turn and Reclaim")
	}
}

func (t *Table) note(c change) {
	switch {
	case !t.shared.on || t.copied:
	case len(t.changes) < changesMax:
		t.changes = append(t.changes, c)
	default:
		t.renumbered()
	}
}

// renumbered is noted when the changes alone do not make the other tree what the writer's is.
func (t *Table) renumbered() {
	if t.shared.on {
		t.copied = true
		clear(t.changes)
		t.changes = t.changes[:0]
	}
}

// Turn gives the tree's readers what has changed. The array forms' have it already. Until Reclaim nothing may change.
func (t *Table) Turn() {
	if t.shared.on {
		t.turned = true
		t.next = t.tree.Swap(t.next)
	}
}

// Reclaim lets changes use again what earlier ones have left unused. The writer calls it when every reader has begun its
// present batch after the last change and after Turn.
func (t *Table) Reclaim() {
	if a := t.arrays.Load(); a != nil {
		a.tries[0].reclaim()
		a.tries[1].reclaim()
		a.answers.pool.reclaim()
	}
	if !t.turned {
		return
	}
	t.turned = false
	if t.copied {
		t.copied = false
		t.copy()
		return
	}
	for i := range t.changes {
		c := &t.changes[i]
		if !c.gone {
			l, _ := t.next.insert(c.route, &t.spare)
			l.answer = c.answer
		} else if l, ok := t.next.remove(c.route.Prefix, c.route.TOS, c.route.Metric); ok {
			l.answer = c.answer
			if len(l.routes) == 0 {
				t.spare.give(l)
			}
		}
	}
	clear(t.changes) // it holds on to hops
	t.changes = t.changes[:0]
}
