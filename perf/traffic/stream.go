package traffic

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weir/perf/trial"
)

// Stream is what packets of one kind are like. Its flows are drawn at random out of the ranges, the same at every call.
type Stream struct {
	Name   string
	Weight int // of its packets among those of all streams

	From, To         Range          // addresses
	Prefixes         []netip.Prefix // in place of To: destinations are addresses within these, each prefix equally often
	Proto            uint8          // TCP, UDP, ICMP or ICMPv6
	SrcPort, DstPort [2]uint16      // first and last; of ICMP the identifier is drawn from SrcPort
	VLAN             uint16         // 0: no tag
	DSCP             uint8

	Flows int         // 5-tuples; 1 to FlowsMax
	Zipf  float64     // how unequal flows are: flow i has 1/i^Zipf of the packets; 0: all the same
	Sizes trial.Sizes // of frames, with FCS, in turn
}

// Range is addresses from the first to the last, of one family.
type Range struct{ First, Last netip.Addr }

// FlowsMax bounds the flows of all streams together: a stamp has 24 bits for them, a flow some 150 bytes of memory.
const FlowsMax = 1 << 20

// Protocols.
const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

// fields are a stream as text: what a file's mapping or a flag's words have.
type fields struct {
	Name     string `yaml:"name"`
	Weight   string `yaml:"weight"`
	From     string `yaml:"from"`
	To       string `yaml:"to"`
	Prefixes string `yaml:"prefixes"`
	Proto    string `yaml:"proto"`
	Sport    string `yaml:"sport"`
	Dport    string `yaml:"dport"`
	VLAN     string `yaml:"vlan"`
	DSCP     string `yaml:"dscp"`
	Flows    string `yaml:"flows"`
	Choice   string `yaml:"choice"`
	Size     string `yaml:"size"`
}

// fieldError is an error in one of the fields.
type fieldError struct {
	name string
	err  error
}

func (e *fieldError) Error() string { return e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// ParseStream reads a stream from words such as "to=198.51.100.0/24 proto=tcp dport=443", with the names of a file's keys.
func ParseStream(text string) (Stream, error) {
	var f fields
	to := map[string]*string{
		"name": &f.Name, "weight": &f.Weight, "from": &f.From, "to": &f.To, "prefixes": &f.Prefixes, "proto": &f.Proto, "sport": &f.Sport, "dport": &f.Dport,
		"vlan": &f.VLAN, "dscp": &f.DSCP, "flows": &f.Flows, "choice": &f.Choice, "size": &f.Size,
	}
	for word := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(word, "=")
		field := to[name]
		switch {
		case !ok:
			return Stream{}, fmt.Errorf("stream %q: %q is not NAME=VALUE", text, word)
		case field == nil:
			return Stream{}, fmt.Errorf("stream %q: no such name %q: expected from, to, prefixes, proto, sport, dport, flows, choice, size, weight, dscp, vlan or name", text, name)
		case *field != "":
			return Stream{}, fmt.Errorf("stream %q: %s is given twice", text, name)
		}
		*field = value
	}
	s, err := f.stream()
	if err != nil {
		return Stream{}, fmt.Errorf("stream %q: %w", text, err)
	}
	return s, nil
}

// stream reads the fields, and completes those that are not there.
func (f *fields) stream() (s Stream, err error) {
	s = Stream{Name: f.Name, Weight: 1, Proto: udp, SrcPort: [2]uint16{1024, 65535}, DstPort: [2]uint16{9, 9}, Flows: 1}
	number := func(name, text string, low, high int, set func(int)) {
		if text == "" || err != nil {
			return
		}
		n, e := strconv.Atoi(text)
		if e != nil || n < low || n > high {
			err = &fieldError{name, fmt.Errorf("%s %q: expected a number from %d to %d", name, text, low, high)}
			return
		}
		set(n)
	}
	ports := func(name, text string, to *[2]uint16) {
		if text == "" || err != nil {
			return
		}
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		a, e1 := strconv.ParseUint(first, 10, 16)
		b, e2 := strconv.ParseUint(last, 10, 16)
		if e1 != nil || e2 != nil || a > b {
			err = &fieldError{name, fmt.Errorf("%s %q: expected a port or a range such as 1024-65535", name, text)}
			return
		}
		*to = [2]uint16{uint16(a), uint16(b)}
	}
	number("weight", f.Weight, 1, 1000, func(n int) { s.Weight = n })
	number("vlan", f.VLAN, 0, 4094, func(n int) { s.VLAN = uint16(n) })
	number("dscp", f.DSCP, 0, 63, func(n int) { s.DSCP = uint8(n) })
	number("flows", f.Flows, 1, FlowsMax, func(n int) { s.Flows = n })
	ports("sport", f.Sport, &s.SrcPort)
	ports("dport", f.Dport, &s.DstPort)
	if err != nil {
		return s, err
	}
	if s.From, err = parseRange("from", f.From); err != nil {
		return s, &fieldError{"from", err}
	}
	switch {
	case f.Prefixes != "" && f.To != "":
		return s, &fieldError{"prefixes", errors.New("to and prefixes: expected one of them")}
	case f.Prefixes != "":
		if s.Prefixes, err = ReadPrefixes(f.Prefixes); err != nil {
			return s, &fieldError{"prefixes", err}
		}
		s.Prefixes = slices.DeleteFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() != s.From.First.Is4() })
		if len(s.Prefixes) == 0 {
			return s, &fieldError{"prefixes", fmt.Errorf("prefixes %s: none of the family of from", f.Prefixes)}
		}
	default:
		if s.To, err = parseRange("to", f.To); err != nil {
			return s, &fieldError{"to", err}
		}
	}
	if s.Proto, err = parseProto(f.Proto, s.From.First.Is4()); err != nil {
		return s, &fieldError{"proto", err}
	}
	if s.Zipf, err = parseChoice(f.Choice); err != nil {
		return s, &fieldError{"choice", err}
	}
	s.Sizes = trial.Sizes{s.SizeMin()}
	if f.Size != "" {
		if s.Sizes, err = trial.ParseSizes(f.Size); err != nil {
			return s, &fieldError{"size", err}
		}
	}
	return s, s.check()
}

// check finds what does not go together.
func (s *Stream) check() error {
	if s.Prefixes == nil && s.From.First.Is4() != s.To.First.Is4() {
		return &fieldError{"to", errors.New("from and to are of two families")}
	}
	if least := s.SizeMin(); len(s.Sizes) > 0 && slices.Min(s.Sizes) < least {
		return &fieldError{"size", fmt.Errorf("size %d: headers and a stamp take %d bytes", slices.Min(s.Sizes), least)}
	}
	return nil
}

// SizeMin is the least size of a frame, with FCS, that has room for all headers and a stamp.
func (s *Stream) SizeMin() int {
	n := 14 + 20 + 8 + stampLen + fcsLen
	if s.VLAN != 0 {
		n += 4
	}
	if s.From.First.Is6() {
		n += 20
	}
	if s.Proto == tcp {
		n += 12
	}
	return max(n, trial.SizeMin)
}

func parseRange(name, text string) (r Range, err error) {
	wrong := fmt.Errorf("%s %q: expected an address, a prefix, or a range such as 10.0.0.2-10.0.0.9", name, text)
	if text == "" {
		return r, fmt.Errorf("%s is missing", name)
	}
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, err1 := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		if err1 != nil || err2 != nil || a.Is4() != b.Is4() || b.Less(a) {
			return r, wrong
		}
		return Range{a, b}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return Range{p.Masked().Addr(), last(p)}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return r, wrong
	}
	return Range{a, a}, nil
}

// last is the prefix's last address.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(bytes); i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

func parseProto(text string, ipv4 bool) (uint8, error) {
	switch text {
	case "", "udp":
		return udp, nil
	case "tcp":
		return tcp, nil
	case "icmp":
		if ipv4 {
			return icmp, nil
		}
		return icmpv6, nil
	}
	return 0, fmt.Errorf("proto %q: expected udp, tcp or icmp", text)
}

func parseChoice(text string) (zipf float64, err error) {
	word, exponent, has := strings.Cut(strings.ReplaceAll(text, ":", " "), " ")
	switch {
	case word == "" || word == "uniform" && !has:
		return 0, nil
	case word == "zipf" && !has:
		return 1, nil
	case word == "zipf":
		zipf, err = strconv.ParseFloat(strings.TrimSpace(exponent), 64)
		if err == nil && zipf > 0 && zipf <= 4 && !math.IsNaN(zipf) {
			return zipf, nil
		}
	}
	return 0, fmt.Errorf("choice %q: expected uniform, zipf, or zipf:EXPONENT up to 4", text)
}

// String is the stream as ParseStream reads it, but for prefixes, which are a number.
func (s *Stream) String() string {
	words := []string{}
	if s.Name != "" {
		words = append(words, "name="+s.Name)
	}
	words = append(words, "from="+s.From.String())
	if s.Prefixes != nil {
		words = append(words, fmt.Sprintf("to %d prefixes", len(s.Prefixes)))
	} else {
		words = append(words, "to="+s.To.String())
	}
	proto := map[uint8]string{udp: "udp", tcp: "tcp", icmp: "icmp", icmpv6: "icmp"}[s.Proto]
	words = append(words, "proto="+proto)
	if proto != "icmp" {
		words = append(words, "sport="+portsText(s.SrcPort), "dport="+portsText(s.DstPort))
	}
	words = append(words, fmt.Sprintf("flows=%d", s.Flows))
	if s.Zipf > 0 {
		words = append(words, fmt.Sprintf("choice=zipf:%g", s.Zipf))
	}
	if s.Weight != 1 {
		words = append(words, fmt.Sprintf("weight=%d", s.Weight))
	}
	if s.DSCP > 0 {
		words = append(words, fmt.Sprintf("dscp=%d", s.DSCP))
	}
	if s.VLAN > 0 {
		words = append(words, fmt.Sprintf("vlan=%d", s.VLAN))
	}
	return strings.Join(words, " ")
}

// String is the range as ParseStream reads it.
func (r Range) String() string {
	for bits := range r.First.BitLen() {
		if p := netip.PrefixFrom(r.First, bits); p.Masked() == p && last(p) == r.Last {
			return p.String()
		}
	}
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

func portsText(r [2]uint16) string {
	if r[0] == r[1] {
		return strconv.Itoa(int(r[0]))
	}
	return fmt.Sprintf("%d-%d", r[0], r[1])
}
