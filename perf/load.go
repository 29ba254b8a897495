package perf

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Load is what routers have to carry beside the one route of the stream. None of the rules and statements matches a packet, so
// that every packet meets them all.
type Load struct {
	Rules  int            // policy rules, for sources that do not occur
	Marks  int            // statements of weir's mark program, the same; of the others only Marked has them
	Routes []netip.Prefix // of one family, all by the same gateway; the stream then goes to addresses inside of these
	Wide   bool           // rules and statements look at more than the source; for Stages
	IPv6   bool           // instead of IPv4; for Stages
}

// LoadMax is the most rules, or statements.
const LoadMax = 1 << 14

func (l *Load) empty() bool { return l.Rules == 0 && l.Marks == 0 && len(l.Routes) == 0 }

func (l *Load) check() error {
	if l.Rules < 0 || l.Marks < 0 || l.Rules > LoadMax || l.Marks > LoadMax {
		return fmt.Errorf("%d rules, %d mark statements: must be 0 to %d", l.Rules, l.Marks, LoadMax)
	}
	return nil
}

func (l *Load) String() string {
	return fmt.Sprintf("%d rules, %d mark statements (weir and nft only), %d routes", l.Rules, l.Marks, max(1, len(l.Routes)))
}

// ParseRoutes reads a number, of random prefixes, or the name of a file with a prefix a line, which may be compressed (.gz).
// The other family is left out.
func ParseRoutes(text string, six bool) ([]netip.Prefix, error) {
	if text == "" {
		return nil, nil
	}
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > 2_000_000 {
			return nil, fmt.Errorf("%d routes: must be 0 to 2000000", n)
		}
		return randomPrefixes(n, six), nil
	}
	f, err := os.Open(text)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(text, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("read routes from %s: %w", text, err)
		}
	}
	list, err := readPrefixes(r, six)
	if err == nil && len(list) == 0 {
		err = errors.New("no prefix of the family")
	}
	if err != nil {
		return nil, fmt.Errorf("read routes from %s: %w", text, err)
	}
	return list, nil
}

func readPrefixes(r io.Reader, six bool) (list []netip.Prefix, err error) {
	seen := make(map[netip.Prefix]bool)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if p = p.Masked(); p.Addr().Is4() != six && !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list, lines.Err()
}

// randomPrefixes are as long as the Internet's mostly are, in what is not reserved; the same at every call.
func randomPrefixes(n int, six bool) []netip.Prefix {
	rng := rand.New(rand.NewPCG(4, 4))
	lengths := []int{24, 24, 24, 24, 24, 24, 23, 22, 22, 21, 20, 19, 18, 16}
	seen := make(map[netip.Prefix]bool, n)
	list := make([]netip.Prefix, 0, n)
	for len(list) < n {
		a := [4]byte{byte(11 + rng.IntN(80)), byte(rng.IntN(256)), byte(rng.IntN(256))}
		p := netip.PrefixFrom(netip.AddrFrom4(a), lengths[rng.IntN(len(lengths))]).Masked()
		if six { // the same below 2a00::/8, twice as long
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x2a, a[0], a[1], a[2], byte(rng.IntN(256)), byte(rng.IntN(256))}), 2*p.Bits()).Masked()
		}
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// Flows to the addresses inside of routes, and how many packets' destinations are drawn of them before they repeat.
const (
	loadFlows        = 1_000_000
	loadDestinations = 1 << 20
)

// destinations are drawn from flows to random addresses in random routes, which are used as Zipf's distribution says, or
// uniformly.
func (l *Load) destinations(uniform bool) []netip.Addr {
	if len(l.Routes) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(7, 8))
	flows := make([]netip.Addr, loadFlows)
	for i := range flows {
		flows[i] = randomAddress(rng, l.Routes[rng.IntN(len(l.Routes))])
	}
	zipf := rand.NewZipf(rng, 1.0001, 1, loadFlows-1)
	list := make([]netip.Addr, loadDestinations)
	for i := range list {
		if uniform {
			list[i] = flows[rng.IntN(loadFlows)]
		} else {
			list[i] = flows[zipf.Uint64()]
		}
	}
	return list
}

// randomAddress is one within a prefix.
func randomAddress(rng *rand.Rand, p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for i := p.Bits() / 8; i < len(a); i++ {
		host := byte(0xff)
		if i == p.Bits()/8 {
			host >>= p.Bits() % 8
		}
		a[i] |= byte(rng.Uint32()) & host
	}
	address, _ := netip.AddrFromSlice(a)
	return address
}

// loadSource is the source that rule, or statement, i asks for: shared address space (RFC 6598) or IPv6's documentation, which
// the stream has not.
func loadSource(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i>>8), byte(i), 0}), 24)
}

func (l *Load) source(i int) netip.Prefix {
	if l.IPv6 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 8), byte(i)}), 48)
	}
	return loadSource(i)
}

// match is what rule, or statement, i asks for. Wide ones differ in which fields they look at.
func (l *Load) match(i int) string {
	text := fmt.Sprintf("from: %s", l.source(i))
	if !l.Wide {
		return text
	}
	switch i % 4 {
	case 1:
		text += fmt.Sprintf(", to: %s, proto: tcp, dport: %d", l.source(i/4), 1+i%1000)
	case 2:
		text += fmt.Sprintf(", iif: %s, proto: udp, sport: %d-%d", portIn, 1+i%1000, 2000+i%3000)
	case 3:
		text += fmt.Sprintf(", fwmark: 0x%x, dscp: %d", 1+i%16, i%64)
	}
	return text
}

// flows is where the stream goes without routes.
func (l *Load) flows() string { return flowsOf(l.IPv6) }

func flowsOf(ipv6 bool) string {
	if ipv6 {
		return flowPrefix6
	}
	return flowPrefix
}

// routesFile is where the routes are, beside the configuration.
const routesFile = "routes"

// configuration is the load in weir's words, to follow the ports and neighbours of a file. The streams go to the gateways, one a family.
func (l *Load) configuration(gateways ...netip.Addr) string {
	var b strings.Builder
	if l.Marks > 0 {
		b.WriteString("marks:\n  main:\n")
	}
	for i := range l.Marks {
		fmt.Fprintf(&b, "  - {name: m%d, match: {%s}, then: [{mark: 0x1}]}\n", i, l.match(i))
	}
	if l.Rules > 0 {
		b.WriteString("rules:\n")
	}
	for i := range l.Rules {
		fmt.Fprintf(&b, "- {name: r%d, priority: %d, %s, lookup: elsewhere}\n", i, 1+i, l.match(i))
	}
	b.WriteString("tables:\n")
	if l.Rules > 0 {
		b.WriteString("  elsewhere: {id: 100, routes: [{to: default, type: blackhole}]}\n")
	}
	b.WriteString("  main:\n    routes:\n")
	for _, gateway := range gateways {
		fmt.Fprintf(&b, "    - {to: %q, via: %q}\n", flowsOf(gateway.Is6()), gateway)
	}
	if len(l.Routes) > 0 {
		fmt.Fprintf(&b, "    routes-file: %s\n", routesFile)
	}
	return b.String()
}

// routes are those of the routes-file.
func (l *Load) routes(gateway netip.Addr) []byte {
	var b bytes.Buffer
	for _, p := range l.Routes {
		fmt.Fprintf(&b, "%s via %s\n", p, gateway)
	}
	return b.Bytes()
}
