package policy

import (
	"fmt"
	"io"
	"strings"

	"weir/policy/packet"
)

// Layout of WriteText: columns, counted from 0.
const (
	textWidth  = 80
	textResult = 24 // where the result of a step begins
)

// WriteText writes the explanation for people, at most 80 columns wide where names allow it.
func (e Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, line := range e.packet {
		if line != "" {
			fmt.Fprintf(&b, "%s\n", line)
		}
	}
	for i := range e.Steps {
		step := &e.Steps[i]
		text := step.Result
		if step.Prefix != "" {
			text += " " + step.Prefix
		}
		if step.Detail != "" {
			text += ": " + step.Detail
		}
		indent := "  "
		if step.Reverse {
			indent = "    "
		}
		writeColumns(&b, indent+step.subject(), text)
	}
	writeWords(&b, 0, e.headline(), 2)
	if e.rewrite != "" {
		writeColumns(&b, "  rewritten", e.rewrite)
	}
	if by := e.decidedBy(); by != "" {
		writeColumns(&b, "  decided by", by)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// subject is what the step is about, indented by its depth.
func (s *Step) subject() string {
	switch {
	case s.Priority != nil:
		return fmt.Sprintf("rule %d %s", *s.Priority, s.Name)
	case s.Kind == "table":
		return strings.Repeat("  ", s.Depth+1) + "table " + s.Name
	case s.Kind == "mark":
		return strings.TrimSuffix(strings.Repeat("  ", s.Depth)+"mark "+s.Chain+" "+s.Name, " ")
	case s.Kind == "end":
		return "end of rules"
	}
	return s.Kind
}

// headline is the decision in one line.
func (e *Explanation) headline() string {
	text := strings.ToUpper(e.Verdict)
	switch {
	case e.Verdict == "forward" && e.Gateway != "":
		text += " via " + e.Gateway + " at " + e.Port
	case e.Verdict == "forward":
		text += " on link at " + e.Port
	case e.Verdict == "local":
		text += " to the router itself"
	case e.Reset:
		text += ", answered with a TCP reset"
	case e.ICMP != nil && e.unsent != "":
		text += ", silently: no ICMP error is sent about " + e.unsent
	case e.ICMP != nil:
		text += ", answered with " + errorText(e.family, *e.ICMP)
	default:
		text += ", silently"
	}
	if e.Verdict == "forward" && e.MTU != 0 {
		text += ", fragmented: " + fragmentsText(e.Fragments, e.MTU)
	} else if e.MTU != 0 {
		text += fmt.Sprintf(", mtu %d", e.MTU)
	}
	if e.Redirect != "" {
		text += ", with a redirect to " + e.Redirect
	}
	if e.Reason != "" && e.Reason != e.Verdict {
		text += " (" + e.Reason + ")"
	}
	return text
}

func (e *Explanation) decidedBy() string {
	var parts []string
	for _, p := range [...]struct{ what, name string }{{"statement ", e.Statement}, {"chain ", e.Chain}, {"rule ", e.Rule}, {"table ", e.Table}, {"prefix ", e.Prefix}} {
		if p.name != "" {
			parts = append(parts, p.what+p.name)
		}
	}
	return strings.Join(parts, ", ")
}

// writeColumns writes two columns, and breaks the right one between words.
func writeColumns(b *strings.Builder, left, right string) {
	b.WriteString(left)
	b.WriteString(strings.Repeat(" ", max(textResult-len(left)-1, 0)))
	writeWords(b, max(len(left), textResult-1), " "+right, textResult+2)
}

// writeWords writes a line of which column bytes are there already, and breaks it between words; what follows is
// indented.
func writeWords(b *strings.Builder, column int, text string, indent int) {
	for i, word := range strings.Split(text, " ") {
		switch {
		case i == 0:
		case column > indent && column+1+len(word) > textWidth:
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
}

// packetText describes a packet in two lines: what it is, and the rest that a decision may look at.
func packetText(s *Snapshot, k *packet.Key) [2]string {
	proto := protoText(k.Proto)
	switch {
	case k.Fragment == packet.FragmentLater && !s.consistent:
	case k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP:
		proto += fmt.Sprintf(" %d -> %d", k.SrcPort, k.DstPort)
	case k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6:
		proto += " " + icmpText(k)
	}
	if k.Proto == packet.ProtoTCP && k.TCPFlags != 0 {
		proto += " " + tcpFlagsText(k.TCPFlags, k.TCPFlags)
	}
	tos := fmt.Sprintf("0x%02x", k.TOS)
	if dscp := packet.DSCPs.Text(k.TOS >> 2); dscp != "" && k.TOS>>2 != 0 {
		tos += " (dscp " + dscp + ")"
	}
	rest := fmt.Sprintf("  in %s, mark 0x%x, tos %s, ttl %d, length %d", s.ingressText(k), k.Mark, tos, k.TTL, k.Length)
	if k.Fragment != packet.FragmentNone {
		rest += ", " + fragmentNames[k.Fragment] + " fragment"
	}
	if k.Family == packet.IPv6 && k.FlowLabel != 0 {
		rest += fmt.Sprintf(", flowlabel 0x%x", k.FlowLabel)
	}
	return [2]string{fmt.Sprintf("%v -> %v %s", k.SrcAddr(), k.DstAddr(), proto), rest}
}

// icmpText is the type and code of an ICMP packet, by name as far as they have one.
func icmpText(k *packet.Key) string {
	numbers := fmt.Sprintf("%d/%d", k.ICMPType, k.ICMPCode)
	text := packet.ICMPTypes(k.Family).Text(k.ICMPType)
	if text == "" {
		return numbers
	}
	if isUnreachable(k) {
		text = strings.TrimSuffix(text+" "+packet.ICMPCodes(k.Family).Text(k.ICMPCode), " ")
	}
	return text + " (" + numbers + ")"
}

// isUnreachable reports whether an ICMP packet's code is one of packet.ICMPCodes.
func isUnreachable(k *packet.Key) bool {
	if k.Family == packet.IPv6 {
		return k.ICMPType == packet.ICMPv6Unreachable
	}
	return k.ICMPType == packet.ICMPUnreachable
}

// unsentText says what of the packet forbids an ICMP error about it, and is empty where nothing does.
func unsentText(k *packet.Key) string {
	whole := *k
	whole.L4 = 1 // a description has its L4 header
	switch {
	case whole.Answerable():
		return ""
	case k.Fragment == packet.FragmentLater:
		return "a later fragment"
	case k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6:
		return "what may itself be one"
	}
	return "a packet from such a source"
}

// rewriteText is what of the packet is not as it came, beside its MAC addresses.
func rewriteText(k *packet.Key, v Verdict) string {
	what := "ttl"
	if k.Family == packet.IPv6 {
		what = "hop limit"
	}
	text := fmt.Sprintf("%s %d -> %d", what, k.TTL, k.TTL-1)
	if v.SetDSCP {
		text += fmt.Sprintf(", dscp %s -> %s", dscpText(k.TOS>>2), dscpText(v.TOS>>2))
	}
	return text
}

// errorText names an ICMP error that a router sends.
func errorText(family uint8, e ICMP) string {
	words := errorWords
	if family == packet.IPv6 {
		words = errorWords6
	}
	if text := words[e]; text != "" {
		return fmt.Sprintf("%s %s (%d/%d)", icmpName(family), text, e.Type, e.Code)
	}
	return fmt.Sprintf("%s %d/%d", icmpName(family), e.Type, e.Code)
}

// errorWords are the words of RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1, errorWords6 those of RFC
// 4443 section 3, shortened.
var (
	errorWords = map[ICMP]string{
		{packet.ICMPUnreachable, packet.ICMPNetUnreachable}:  "destination net unreachable",
		{packet.ICMPUnreachable, packet.ICMPHostUnreachable}: "destination host unreachable",
		{packet.ICMPUnreachable, packet.ICMPPortUnreachable}: "destination port unreachable",
		{packet.ICMPUnreachable, packet.ICMPFragNeeded}:      "fragmentation needed",
		{packet.ICMPUnreachable, packet.ICMPAdminProhibited}: "administratively prohibited",
		{packet.ICMPTimeExceeded, packet.ICMPTTLExceeded}:    "time to live exceeded",
	}
	errorWords6 = map[ICMP]string{
		{packet.ICMPv6Unreachable, packet.ICMPv6NoRoute}:           "no route to destination",
		{packet.ICMPv6Unreachable, packet.ICMPv6AdminProhibited}:   "administratively prohibited",
		{packet.ICMPv6Unreachable, packet.ICMPv6BeyondScope}:       "beyond scope of source address",
		{packet.ICMPv6Unreachable, packet.ICMPv6PortUnreachable}:   "destination port unreachable",
		{packet.ICMPv6PacketTooBig, 0}:                             "packet too big",
		{packet.ICMPv6TimeExceeded, packet.ICMPv6HopLimitExceeded}: "hop limit exceeded",
	}
)
