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
		writeColumns(&b, "  "+step.subject(), text)
	}
	fmt.Fprintf(&b, "%s\n", e.headline())
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
	case e.ICMP != nil:
		text += fmt.Sprintf(", answered with ICMP%s %d/%d", e.version, e.ICMP.Type, e.ICMP.Code)
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
	column := len(left)
	b.WriteString(left)
	pad := textResult - column
	if pad < 1 {
		pad = 1
	}
	for _, word := range strings.Fields(right) {
		if pad == 1 && column > textResult && column+1+len(word) > textWidth {
			b.WriteByte('\n')
			column, pad = 0, textResult+2
		}
		b.WriteString(strings.Repeat(" ", pad))
		b.WriteString(word)
		column += pad + len(word)
		pad = 1
	}
	b.WriteByte('\n')
}

// packetText describes a packet in two lines: what it is, and the rest that a decision may look at.
func packetText(s *Snapshot, k *packet.Key) [2]string {
	proto := protoText(k.Proto)
	switch {
	case k.Fragment == packet.FragmentLater:
	case k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP:
		proto += fmt.Sprintf(" %d -> %d", k.SrcPort, k.DstPort)
	case k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6:
		proto += fmt.Sprintf(" %d/%d", k.ICMPType, k.ICMPCode)
	}
	rest := fmt.Sprintf("  in %s, mark 0x%x, tos 0x%02x, ttl %d, length %d", s.ingressText(k), k.Mark, k.TOS, k.TTL, k.Length)
	if k.Fragment != packet.FragmentNone {
		rest += ", " + fragmentNames[k.Fragment] + " fragment"
	}
	if k.Family == packet.IPv6 && k.FlowLabel != 0 {
		rest += fmt.Sprintf(", flowlabel 0x%x", k.FlowLabel)
	}
	return [2]string{fmt.Sprintf("%v -> %v %s", k.SrcAddr(), k.DstAddr(), proto), rest}
}
