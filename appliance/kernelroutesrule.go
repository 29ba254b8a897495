package appliance

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"weir/policy"
	"weir/policy/packet"
)

// Attributes of rules that x/sys does not have (include/uapi/linux/fib_rules.h). Those from fraDSCP on came with Linux 6.13
// to 6.16; an older kernel overlooks them, and its rule would match too much: see kernelSync.verify.
const (
	fraSportRange    = 23
	fraDportRange    = 24
	fraDSCP          = 25
	fraFlowLabel     = 26
	fraFlowLabelMask = 27
	fraSportMask     = 28
	fraDportMask     = 29
	fraDSCPMask      = 30
)

// ruleInvert is FIB_RULE_INVERT, the flag of `not`.
const ruleInvert = 2

// ruleActions are the kernel's words for actions (FR_ACT_*), in struct fib_rule_hdr, whose layout is that of struct rtmsg.
var ruleActions = [...]uint8{
	policy.RuleLookup:      1,
	policy.RuleGoto:        2,
	policy.RuleNop:         3,
	policy.RuleBlackhole:   6,
	policy.RuleUnreachable: 7,
	policy.RuleProhibit:    8,
}

var ruleFamilies = [...]struct{ packet, kernel uint8 }{{packet.IPv4, unix.AF_INET}, {packet.IPv6, unix.AF_INET6}}

func ruleFamily(family uint8) uint8 {
	if family == packet.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// appendRule is the request to add a rule behind those of its priority.
func appendRule(m message, r *policy.LinuxRule) message {
	header := [unix.SizeofRtMsg]byte{0: ruleFamily(r.Family), 3: r.TOS, 7: ruleActions[r.Action]}
	if r.To.IsValid() {
		header[1] = uint8(r.To.Bits())
	}
	if r.From.IsValid() {
		header[2] = uint8(r.From.Bits())
	}
	if r.Not {
		binary.NativeEndian.PutUint32(header[8:], ruleInvert)
	}
	m = m.begin(unix.RTM_NEWRULE, unix.NLM_F_CREATE, header).u32(unix.FRA_PRIORITY, r.Priority).u8(unix.FRA_PROTOCOL, kernelProtocol)
	if r.To.IsValid() {
		m = m.addr(unix.FRA_DST, r.To.Addr())
	}
	if r.From.IsValid() {
		m = m.addr(unix.FRA_SRC, r.From.Addr())
	}
	if r.Ingress != "" {
		m = m.bytes(unix.FRA_IIFNAME, append([]byte(r.Ingress), 0))
	}
	if r.MarkMask != 0 {
		m = m.u32(unix.FRA_FWMARK, r.Mark).u32(unix.FRA_FWMASK, r.MarkMask)
	}
	if r.HasDSCP {
		m = m.u8(fraDSCP, r.DSCP)
		if r.DSCPMask != allDSCP {
			m = m.u8(fraDSCPMask, r.DSCPMask)
		}
	}
	if r.Proto != 0 {
		m = m.u8(unix.FRA_IP_PROTO, r.Proto)
	}
	m = m.ports(&r.Sport, fraSportRange, fraSportMask).ports(&r.Dport, fraDportRange, fraDportMask)
	if r.FlowMask != 0 {
		m = m.be32(fraFlowLabel, r.FlowLabel).be32(fraFlowLabelMask, r.FlowMask)
	}
	switch r.Action {
	case policy.RuleGoto:
		m = m.u32(unix.FRA_GOTO, r.Goto)
	case policy.RuleLookup:
		m = m.u32(unix.FRA_TABLE, r.Table)
		if r.SuppressPrefixLength >= 0 {
			m = m.u32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.SuppressPrefixLength))
		}
		if r.HasSuppressGroup {
			m = m.u32(unix.FRA_SUPPRESS_IFGROUP, r.SuppressGroup)
		}
	}
	return m
}

const allDSCP = 63

func (m message) ports(p *policy.PortMatch, rangeKind, maskKind uint16) message {
	span := func(lo, hi uint16) []byte {
		return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, lo), hi)
	}
	switch p.Kind {
	case policy.PortRange:
		m = m.bytes(rangeKind, span(p.Lo, p.Hi))
	case policy.PortMask:
		m = m.bytes(rangeKind, span(p.Value, p.Value)).u16(maskKind, p.Mask)
	}
	return m
}

// appendRuleRemoval is the request to remove the first one of our rules of a priority. The kernel compares what a request
// has, and nothing else.
func appendRuleRemoval(m message, family uint8, priority uint32) message {
	header := [unix.SizeofRtMsg]byte{0: ruleFamily(family)}
	return m.begin(unix.RTM_DELRULE, 0, header).u32(unix.FRA_PRIORITY, priority).u8(unix.FRA_PROTOCOL, kernelProtocol)
}

// dumpRules is our rules in the order of the walk.
func (s *routeSocket) dumpRules() (list []policy.LinuxRule, err error) {
	for _, f := range ruleFamilies {
		had := len(list)
		reset := func() { list = list[:had] }
		none := func(m message) message { return m }
		err := s.dump(unix.RTM_GETRULE, [unix.SizeofRtMsg]byte{f.kernel}, none, reset, func(body []byte) error {
			if r, protocol := parseRule(body, f.packet); protocol == kernelProtocol {
				list = append(list, r)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
	}
	return list, nil
}

// parseRule reads a struct fib_rule_hdr with its attributes.
func parseRule(body []byte, family uint8) (r policy.LinuxRule, protocol uint8) {
	r = policy.LinuxRule{Family: family, TOS: body[3], Table: uint32(body[4]), SuppressPrefixLength: -1}
	for action, of := range ruleActions {
		if of == body[7] && of != 0 {
			r.Action = policy.RuleAction(action)
		}
	}
	r.Not = binary.NativeEndian.Uint32(body[8:])&ruleInvert != 0
	prefix := func(value []byte, bits uint8) netip.Prefix {
		a, _ := netip.AddrFromSlice(value)
		return netip.PrefixFrom(a, int(bits))
	}
	for kind, value := range attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.FRA_PRIORITY:
			r.Priority = number(value)
		case unix.FRA_PROTOCOL:
			protocol = uint8(number(value))
		case unix.FRA_DST:
			r.To = prefix(value, body[1])
		case unix.FRA_SRC:
			r.From = prefix(value, body[2])
		case unix.FRA_IIFNAME:
			r.Ingress = unix.ByteSliceToString(value)
		case unix.FRA_FWMARK:
			r.Mark = number(value)
		case unix.FRA_FWMASK:
			r.MarkMask = number(value)
		case fraDSCP:
			r.HasDSCP, r.DSCP = true, uint8(number(value))
			if r.DSCPMask == 0 {
				r.DSCPMask = allDSCP
			}
		case fraDSCPMask:
			r.DSCPMask = uint8(number(value))
		case unix.FRA_IP_PROTO:
			r.Proto = uint8(number(value))
		case fraSportRange:
			parsePorts(&r.Sport, value)
		case fraDportRange:
			parsePorts(&r.Dport, value)
		case fraSportMask:
			parsePortMask(&r.Sport, value)
		case fraDportMask:
			parsePortMask(&r.Dport, value)
		case fraFlowLabel:
			if len(value) == 4 {
				r.FlowLabel = binary.BigEndian.Uint32(value)
			}
		case fraFlowLabelMask:
			if len(value) == 4 {
				r.FlowMask = binary.BigEndian.Uint32(value)
			}
		case unix.FRA_GOTO:
			r.Goto = number(value)
		case unix.FRA_TABLE:
			r.Table = number(value)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.SuppressPrefixLength = int(int32(number(value)))
		case unix.FRA_SUPPRESS_IFGROUP:
			r.HasSuppressGroup, r.SuppressGroup = true, number(value)
		}
	}
	return r, protocol
}

func parsePorts(p *policy.PortMatch, value []byte) {
	if len(value) == 4 {
		*p = policy.PortMatch{Kind: policy.PortRange, Lo: binary.NativeEndian.Uint16(value), Hi: binary.NativeEndian.Uint16(value[2:])}
	}
}

// parsePortMask reads the mask of a port, which comes behind its range. The kernel says one for every single port.
func parsePortMask(p *policy.PortMatch, value []byte) {
	if mask := uint16(number(value)); mask != 0 && mask != 0xffff {
		*p = policy.PortMatch{Kind: policy.PortMask, Value: p.Lo, Mask: mask}
	}
}
