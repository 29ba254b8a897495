package policy

import "weir/policy/packet"

// MainChain is the name of the chain that the mark program begins with.
const MainChain = "main"

// Chain is a list of statements of the mark program: the firewall that stamps packets before rules look at them.
//
// A packet that comes in runs through the chain main; without one there is no mark program. A statement that does not
// match is passed. One that does runs its actions: mark and dscp change what later statements, the rules and the routes
// see, and the walk goes on. As in nftables and iptables, jump comes back behind the statement when the other chain
// ends or returns; goto does not come back to the chain that it leaves but to where that would have returned; return in
// main, and the end of main, accept the packet; accept ends the program, wherever it is.
//
// The router's own packets (LocalOutput) do not run through it, as in a prerouting hook of Linux.
type Chain struct {
	Name       string
	Statements []Statement
}

// Statement is a step of a chain.
type Statement struct {
	Name  string // unique in its chain
	Match Match
	Then  []Then // what it does; only the last one may end the statement (see MarkAction.ends)
}

// Then is one thing that a statement does.
type Then struct {
	Action MarkAction
	Mark   uint32 // SetMark: the mark becomes mark&^Mask | Mark&Mask
	Mask   uint32
	DSCP   uint8  // SetDSCP: six bits, 0..63; ECN stays
	Chain  uint16 // Jump, Goto: index of the chain
}

// MarkAction is what a statement does.
type MarkAction uint8

// Actions of a statement. The first two go on with the next one.
const (
	MarkSet MarkAction = iota
	MarkDSCP
	MarkAccept // the packet goes on to the rules
	MarkDrop   // silently
	MarkReject // with a TCP reset, or port unreachable
	MarkJump
	MarkGoto
	MarkReturn
	markActionEnd
)

var markActions = [markActionEnd]string{"mark", "dscp", "accept", "drop", "reject", "jump", "goto", "return"}

// String is the word of the configuration for the action.
func (a MarkAction) String() string {
	if a < markActionEnd {
		return markActions[a]
	}
	return "unknown"
}

// ends reports whether nothing of the same statement can follow the action.
func (a MarkAction) ends() bool { return a > MarkDSCP }

// Limits of a mark program.
const (
	MaxChains     = int(None) - 1
	MaxStatements = int(None) - 1 // of all chains together
	MaxJumps      = 16            // jumps that have not come back (NFT_JUMP_STACK_SIZE in net/netfilter/nf_tables_core.c)
	MaxTries      = 1 << 16       // statements that one packet may have to try
)

// program is the mark program: main first, and only the chains that it can reach. The zero program does nothing.
type program struct {
	chains     []chain
	statements []statement // of all chains, one behind the other
}

type chain struct {
	name       string
	first, end uint16 // statements[first:end]
}

type statement struct {
	name  string
	chain uint16
	match match
	then  []Then
}

// ending is how a packet leaves the mark program.
type ending uint8

const (
	accepted ending = iota
	dropped
	rejected
)

var endings = [...]string{"accepted", "dropped", "rejected"}

// run takes a packet through the program, which must not be the zero one. It changes f.mark and f.tos. by is the
// statement that ended it, or None where main ended. Compile has made sure that it ends, and that the stack suffices.
func (p *program) run(s *Snapshot, f *flow, t *Trace) (how ending, by uint16) {
	w := place{next: p.chains[0].first}
	for {
		if w.next == p.chains[w.at].end {
			left := w.at
			if !w.back() {
				return accepted, None
			}
			t.back(p, left, w.at, w.depth)
			continue
		}
		i := w.next
		w.next++
		st := &p.statements[i]
		if !st.match.families.has(f.key.Family) {
			t.skipStatement(p, st, w.depth)
			continue
		}
		bad := mismatch(st.match.conditions, f)
		matches := (bad == nil) != st.match.not
		t.statement(s, st, f, bad, w.depth)
		if !matches {
			continue
		}
		f.tally.hit(s.cells.statements+uint32(i), f)
		if how, ended := w.act(p, st, f); ended {
			return how, i
		}
	}
}

// place is where a packet is in the program.
type place struct {
	at, next uint16 // chain, and statement: the next one to try, or the chain's end
	depth    int
	stack    [MaxJumps]struct{ chain, next uint16 } // where jumps come back to
}

// back goes to where the last jump comes back to; it is false in main, which was not jumped to.
func (w *place) back() bool {
	if w.depth == 0 {
		return false
	}
	w.depth--
	w.at, w.next = w.stack[w.depth].chain, w.stack[w.depth].next
	return true
}

// act does what the statement before next says, which the packet matches.
func (w *place) act(p *program, st *statement, f *flow) (how ending, ended bool) {
	for j := range st.then {
		switch then := &st.then[j]; then.Action {
		case MarkSet:
			f.mark = f.mark&^then.Mask | then.Mark&then.Mask
		case MarkDSCP:
			f.tos = then.DSCP<<2 | f.tos&^dscpMask
		case MarkAccept:
			return accepted, true
		case MarkDrop:
			return dropped, true
		case MarkReject:
			return rejected, true
		case MarkJump:
			w.stack[w.depth].chain, w.stack[w.depth].next = w.at, w.next
			w.depth++
			w.at, w.next = then.Chain, p.chains[then.Chain].first
		case MarkGoto:
			w.at, w.next = then.Chain, p.chains[then.Chain].first
		case MarkReturn:
			w.next = p.chains[w.at].end
		}
	}
	return accepted, false
}

// marked puts into the verdict what the mark program has done, and reports whether the packet goes on to the rules.
func (f *flow) marked(v *Verdict, how ending, by uint16) bool {
	v.Mark, v.TOS, v.SetDSCP = f.mark, f.tos, f.tos != f.key.TOS
	switch how {
	case dropped:
		v.Action, v.Reason, v.Statement = Drop, packet.MarkDrop, by
	case rejected:
		v.Action, v.Reason, v.Statement = rejection(f.key), packet.MarkReject, by
		if v.Action == Reject {
			v.Type, v.Code = packet.ICMPUnreachable, packet.ICMPPortUnreachable
			if f.key.Family == packet.IPv6 {
				v.Type, v.Code = packet.ICMPv6Unreachable, packet.ICMPv6PortUnreachable
			}
		}
	}
	return how == accepted
}

// rejection is how a rejected packet is answered (nf_reject_ip_tcphdr_get in net/ipv4/netfilter/nf_reject_ipv4.c):
// TCP by a reset, which a reset or a segment that is not all there does not get; anything else by an ICMP error, which
// a later fragment does not get.
func rejection(k *packet.Key) Action {
	switch {
	case k.Proto == packet.ProtoTCP && k.Fragment == packet.FragmentNone && k.TCPFlags&packet.TCPReset == 0:
		return Reset
	case k.Proto == packet.ProtoTCP || k.Fragment == packet.FragmentLater:
		return Drop
	}
	return Reject
}

// compileMarks lays out the chains that main leads to, in the order in which it meets them. The chains have been
// checked.
func compileMarks(chains []Chain, main int) program {
	var p program
	if main < 0 {
		return p
	}
	at := make([]uint16, len(chains)) // index in the program, or None
	for i := range at {
		at[i] = None
	}
	var order []int
	reach := func(i int) uint16 {
		if at[i] == None {
			at[i] = uint16(len(order))
			order = append(order, i)
		}
		return at[i]
	}
	reach(main)
	for c := 0; c < len(order); c++ { // order grows
		from := &chains[order[c]]
		first := len(p.statements)
		for i := range from.Statements {
			st := &from.Statements[i]
			then := append([]Then(nil), st.Then...)
			for j := range then {
				if then[j].Action == MarkJump || then[j].Action == MarkGoto {
					then[j].Chain = reach(int(then[j].Chain))
				}
			}
			p.statements = append(p.statements, statement{name: st.Name, chain: uint16(c), match: compileMatch(&st.Match), then: then})
		}
		p.chains = append(p.chains, chain{from.Name, uint16(first), uint16(len(p.statements))})
	}
	return p
}
