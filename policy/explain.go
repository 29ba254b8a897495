package policy

import "weir/policy/packet"

// Explanation is a decision for people and tools. Its JSON form is that of AppendJSON, with the steps.
type Explanation struct {
	Verdict   string `json:"verdict"`             // see verdictWord
	Port      string `json:"port,omitempty"`      // egress
	Gateway   string `json:"gateway,omitempty"`   // absent where the destination is on the link
	Table     string `json:"table,omitempty"`     // that decided
	Rule      string `json:"rule,omitempty"`      // that decided
	Prefix    string `json:"prefix,omitempty"`    // that decided
	Chain     string `json:"chain,omitempty"`     // of Statement
	Statement string `json:"statement,omitempty"` // of marks, that dropped or rejected it
	Mark      uint32 `json:"mark"`                // after the mark program
	TOS       uint8  `json:"tos"`                 // after the mark program
	ICMP      *ICMP  `json:"icmp,omitempty"`      // the error that is sent
	Reset     bool   `json:"reset,omitempty"`     // a TCP reset is sent
	MTU       uint16 `json:"mtu,omitempty"`       // that the packet exceeds
	Fragments int    `json:"fragments,omitempty"` // that it is forwarded in
	Redirect  string `json:"redirect,omitempty"`  // next hop that the sender is told of
	Reason    string `json:"reason,omitempty"`    // the drop counter (packet.Reason)
	Steps     []Step `json:"steps,omitempty"`

	// For people.
	packet  [2]string
	family  uint8
	unsent  string // why no ICMP error is sent about the packet, or empty
	rewrite string // of a packet that is forwarded
}

// ICMP is the type and code of an ICMP or ICMPv6 error.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// Explain evaluates the packet and says why it is decided so. Neighbours count as resolved.
func (s *Snapshot) Explain(k *packet.Key) Explanation {
	var t Trace
	v := s.Evaluate(k, &t)
	e := s.explanation(k, v)
	e.Steps = t.Steps
	e.packet, e.family, e.unsent = packetText(s, k), k.Family, unsentText(k)
	if v.Action == Forward && k.Ingress != LocalOutput {
		e.rewrite = rewriteText(k, v)
	}
	return e
}

// explanation is the verdict in words.
func (s *Snapshot) explanation(k *packet.Key, v Verdict) Explanation {
	e := Explanation{
		Verdict: verdictWord(v),
		Port:    s.PortName(v.Port),
		Table:   s.TableName(v.Table),
		Rule:    s.RuleName(v.Rule),
		Mark:    v.Mark,
		TOS:     v.TOS,
		Reset:   v.Action == Reset,
		MTU:     v.MTU,
	}
	if gateway, ok := s.gateway(v); ok {
		e.Gateway = gateway.String()
	}
	if prefix, ok := s.prefix(k, v); ok {
		e.Prefix = prefix.String()
	}
	if v.Statement != None {
		e.Chain, e.Statement = s.StatementName(v.Statement)
	}
	if v.Action == Reject {
		e.ICMP = &ICMP{v.Type, v.Code}
	}
	if v.fragmented() {
		e.Fragments = fragments(k, v.MTU)
	}
	if next, ok := s.Redirect(k, &v); ok {
		e.Redirect = next.String()
	}
	if v.Reason != packet.None {
		e.Reason = v.Reason.String()
	}
	return e
}

// verdictWord is the one word for a verdict that tools compare.
func verdictWord(v Verdict) string {
	switch v.Action {
	case Forward:
		return "forward"
	case Punt:
		return "local"
	}
	switch v.Reason {
	case packet.Martian, packet.OwnSource:
		return "martian"
	case packet.Blackhole:
		return "blackhole"
	case packet.Unreachable, packet.NoRoute:
		return "unreachable"
	case packet.Prohibit:
		return "prohibit"
	case packet.ReversePath:
		return "reverse-path"
	case packet.TTLExceeded:
		return "ttl-exceeded"
	case packet.TooBig:
		return "too-big"
	case packet.MarkReject:
		return "reject"
	}
	if v.Action == Reject {
		return "reject"
	}
	return "drop"
}
