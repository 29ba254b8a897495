package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule is a policy rule of the kernel (ip-rule(8)). Zero values select everything.
type Rule struct {
	Priority           int
	IPv6               bool
	Not                bool
	From, To           netip.Prefix
	IIF                string
	Mark, Mask         uint32 // Mask 0: no selector
	TOS                uint8
	DSCP               *uint8 // kernel ≥ 6.13
	Protocol           uint8
	SportMin, SportMax uint16 // SportMax 0: no selector
	DportMin, DportMax uint16
	Table              int    // where Action is empty
	Action             string // "blackhole", "unreachable", "prohibit", "nop" or, with Goto, "goto"
	Goto               int
	SuppressPrefix     *int
}

// Values of linux/fib_rules.h that neither library has.
const (
	fraDSCP = 25

	frActToTable     = 1
	frActGoto        = 2
	frActNop         = 3
	frActBlackhole   = 6
	frActUnreachable = 7
	frActProhibit    = 8

	fibRuleInvert = 2
)

var ruleActions = map[string]uint8{
	"": frActToTable, "goto": frActGoto, "nop": frActNop,
	"blackhole": frActBlackhole, "unreachable": frActUnreachable, "prohibit": frActProhibit,
}

// AddRule adds a policy rule.
func (h *Host) AddRule(r Rule) error {
	return h.changeRule("add", unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, r)
}

// RemoveRule removes a policy rule.
func (h *Host) RemoveRule(r Rule) error {
	return h.changeRule("remove", unix.RTM_DELRULE, unix.NLM_F_ACK, r)
}

func (h *Host) changeRule(op string, message, flags int, r Rule) error {
	req, err := ruleRequest(message, flags, r)
	if err == nil {
		err = h.Do(func() error {
			_, err := req.Execute(unix.NETLINK_ROUTE, 0)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("%s rule %d of %s: %w", op, r.Priority, h.name, err)
	}
	return nil
}

// ruleRequest writes a struct fib_rule_hdr, which has the layout of struct rtmsg, and the attributes behind it.
func ruleRequest(message, flags int, r Rule) (*nl.NetlinkRequest, error) {
	action, ok := ruleActions[r.Action]
	if !ok {
		return nil, fmt.Errorf("unknown action %q", r.Action)
	}
	header := &nl.RtMsg{}
	header.Family = unix.AF_INET
	if r.IPv6 {
		header.Family = unix.AF_INET6
	}
	header.Tos = r.TOS
	header.Type = action
	if r.Not {
		header.Flags = fibRuleInvert
	}
	native := binary.NativeEndian
	var attrs []nl.NetlinkRequestData
	add := func(kind int, data []byte) { attrs = append(attrs, nl.NewRtAttr(kind, data)) }
	add32 := func(kind int, v uint32) { add(kind, native.AppendUint32(nil, v)) }
	addPorts := func(kind int, low, high uint16) {
		add(kind, native.AppendUint16(native.AppendUint16(nil, low), high))
	}

	add32(nl.FRA_PRIORITY, uint32(r.Priority))
	if r.From.IsValid() {
		header.Src_len = uint8(r.From.Bits())
		add(nl.FRA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.To.IsValid() {
		header.Dst_len = uint8(r.To.Bits())
		add(nl.FRA_DST, r.To.Masked().Addr().AsSlice())
	}
	if r.IIF != "" {
		add(nl.FRA_IIFNAME, append([]byte(r.IIF), 0))
	}
	if r.Mask != 0 {
		add32(nl.FRA_FWMARK, r.Mark)
		add32(nl.FRA_FWMASK, r.Mask)
	}
	if r.DSCP != nil {
		add(fraDSCP, []byte{*r.DSCP})
	}
	if r.Protocol != 0 {
		add(nl.FRA_IP_PROTO, []byte{r.Protocol})
	}
	if r.SportMax != 0 {
		addPorts(nl.FRA_SPORT_RANGE, r.SportMin, r.SportMax)
	}
	if r.DportMax != 0 {
		addPorts(nl.FRA_DPORT_RANGE, r.DportMin, r.DportMax)
	}
	if action == frActToTable {
		add32(nl.FRA_TABLE, uint32(r.Table))
	}
	if action == frActGoto {
		add32(nl.FRA_GOTO, uint32(r.Goto))
	}
	if r.SuppressPrefix != nil {
		add32(nl.FRA_SUPPRESS_PREFIXLEN, uint32(*r.SuppressPrefix))
	}

	req := nl.NewNetlinkRequest(message, flags)
	req.AddData(header)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req, nil
}
