package policy

import (
	"encoding/json"
	"net/netip"
	"strconv"

	"weir/policy/packet"
)

// names are those of a snapshot as JSON strings, by index; chains are those of the statements.
type names struct{ ports, tables, rules, chains, statements []string }

func quoteNames(s *Snapshot) names {
	quote := func(n int, name func(uint16) string) []string {
		list := make([]string, n)
		for i := range list {
			b, err := json.Marshal(name(uint16(i)))
			if err != nil {
				panic("policy: a string does not marshal: " + err.Error())
			}
			list[i] = string(b)
		}
		return list
	}
	return names{quote(len(s.Ports), s.PortName), quote(len(s.tables), s.TableName), quote(len(s.rules), s.RuleName),
		quote(len(s.marks.statements), func(i uint16) string { chain, _ := s.StatementName(i); return chain }),
		quote(len(s.marks.statements), func(i uint16) string { _, name := s.StatementName(i); return name })}
}

// AppendJSON appends the verdict on a packet as a JSON object, without a newline. It is the JSON form of an
// Explanation without steps, byte for byte, and allocates only what dst lacks.
func (s *Snapshot) AppendJSON(dst []byte, k *packet.Key, v Verdict) []byte {
	dst = append(dst, `{"verdict":"`...)
	dst = append(dst, verdictWord(v)...)
	dst = append(dst, '"')
	dst = appendName(dst, `,"port":`, s.names.ports, v.Port)
	if gateway, ok := s.gateway(v); ok {
		dst = append(dst, `,"gateway":"`...)
		dst = gateway.AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendName(dst, `,"table":`, s.names.tables, v.Table)
	dst = appendName(dst, `,"rule":`, s.names.rules, v.Rule)
	if prefix, ok := s.prefix(k, v); ok {
		dst = append(dst, `,"prefix":"`...)
		dst = prefix.AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendName(dst, `,"chain":`, s.names.chains, v.Statement)
	dst = appendName(dst, `,"statement":`, s.names.statements, v.Statement)
	dst = appendNumber(dst, `,"mark":`, uint64(v.Mark))
	dst = appendNumber(dst, `,"tos":`, uint64(v.TOS))
	if v.Action == Reject {
		dst = appendNumber(dst, `,"icmp":{"type":`, uint64(v.Type))
		dst = appendNumber(dst, `,"code":`, uint64(v.Code))
		dst = append(dst, '}')
	}
	if v.Action == Reset {
		dst = append(dst, `,"reset":true`...)
	}
	if v.MTU != 0 {
		dst = appendNumber(dst, `,"mtu":`, uint64(v.MTU))
	}
	if v.fragmented() {
		dst = appendNumber(dst, `,"fragments":`, uint64(fragments(k, v.MTU)))
	}
	if next, ok := s.Redirect(k, &v); ok {
		dst = append(dst, `,"redirect":"`...)
		dst = next.AppendTo(dst)
		dst = append(dst, '"')
	}
	if v.Reason != packet.None {
		dst = append(dst, `,"reason":"`...)
		dst = append(dst, v.Reason.String()...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func appendName(dst []byte, key string, names []string, i uint16) []byte {
	if int(i) >= len(names) || names[i] == `""` {
		return dst
	}
	dst = append(dst, key...)
	return append(dst, names[i]...)
}

func appendNumber(dst []byte, key string, n uint64) []byte {
	return strconv.AppendUint(append(dst, key...), n, 10)
}

// gateway is the one that the verdict forwards to, if any.
func (s *Snapshot) gateway(v Verdict) (netip.Addr, bool) {
	if v.Action != Forward || v.OnLink || v.Adjacency == Unresolved {
		return netip.Addr{}, false
	}
	return s.Adjacencies.At(v.Adjacency).Neighbor.Addr, true
}

// prefix is the one that decided, if any.
func (s *Snapshot) prefix(k *packet.Key, v Verdict) (netip.Prefix, bool) {
	if v.Prefix == NoPrefix || v.Table == None {
		return netip.Prefix{}, false
	}
	addr := k.DstAddr()
	if s.tables[v.Table].key == BySource {
		addr = k.SrcAddr()
	}
	return netip.PrefixFrom(addr, int(v.Prefix)).Masked(), true
}
