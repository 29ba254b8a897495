package policy

import (
	"net/netip"
	"strings"
	"testing"

	"weir/policy/packet"
)

// filterSnapshot has ports em0 and em1.
func filterSnapshot(t *testing.T) *Snapshot {
	t.Helper()
	s, err := Compile(&Policy{Ports: []Port{{Name: "em0", MTU: 1500}, {Name: "em1", Device: 1, MTU: 1500}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFilter(t *testing.T) {
	s := filterSnapshot(t)
	key := func(words string) packet.Key {
		k, err := s.ParsePacket(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	const udp = "iif=em0 src=10.1.2.3 dst=192.0.2.7 proto=udp sport=1000 dport=53 length=100 ttl=9 tos=0xb8"
	for _, c := range []struct {
		filter, packet string
		want           bool
	}{
		{"", udp, true},
		{"iif=em0", udp, true}, {"iif=em1", udp, false}, {"iif=em1,em0", udp, true}, {"iif!=em1", udp, true},
		{"src=10.0.0.0/8", udp, true}, {"src=10.1.2.3", udp, true}, {"src=10.1.2.4", udp, false}, {"src=2001:db8::/32,10.1.0.0/16", udp, true},
		{"src!=10.0.0.0/8", udp, false}, {"src!=11.0.0.0/8", udp, true}, {"src!=2001:db8::/32", udp, false},
		{"dst=10.0.0.0/8", udp, false}, {"dst=192.0.2.99/24", udp, true},
		{"proto=udp", udp, true}, {"proto=17", udp, true}, {"proto=tcp,icmp", udp, false}, {"proto!=tcp", udp, true},
		{"sport=1000-1001 dport=53", udp, true}, {"sport=1000 dport=54", udp, false}, {"dport=80,50-60", udp, true}, {"dport!=53", udp, false},
		{"dscp=46", udp, true}, {"dscp=0", udp, false}, {"length=0-99", udp, false}, {"length=100", udp, true}, {"ttl=0x9", udp, true},
		{"icmp-type=0-255", udp, false}, {"tcp-flags=syn", udp, false}, {"flowlabel=0", udp, false}, {"fragment=none", udp, true}, {"fragment=first,later", udp, false},
		{"icmp-type=8 icmp-code=0", "iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=8", true},
		{"icmp-type=0", "iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=8", false},
		{"tcp-flags=syn", "iif=em0 src=10.0.0.1 dst=10.0.0.2 tcp-flags=syn,ack", true},
		{"tcp-flags=syn,fin", "iif=em0 src=10.0.0.1 dst=10.0.0.2 tcp-flags=syn,ack", false},
		{"tcp-flags!=ack tcp-flags=syn", "iif=em0 src=10.0.0.1 dst=10.0.0.2 tcp-flags=syn", true},
		{"dport=53", "iif=em0 src=10.0.0.1 dst=10.0.0.2 proto=udp dport=53 fragment=later", false},
		{"flowlabel=7 src=2001:db8::/32", "iif=em1 src=2001:db8::1 dst=2001:db9::1 flowlabel=7", true},
	} {
		f, err := s.ParseFilter(strings.Fields(c.filter))
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		k := key(c.packet)
		if got := f.Match(&k); got != c.want {
			t.Errorf("%q of %s: %v", c.filter, c.packet, got)
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(&k); f.MatchPort(0) }); n != 0 {
			t.Errorf("%q: %v allocations", c.filter, n)
		}
	}
	for filter, want := range map[string]bool{"": true, "iif=em1": true, "iif=em0": false, "iif!=em0": true, "iif=em1 proto=udp": false, "src=::/0": false} {
		f, err := s.ParseFilter(strings.Fields(filter))
		if got := f.MatchPort(1); err != nil || got != want {
			t.Errorf("%q of a packet of em1 that does not parse: %v, %v", filter, got, err)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	s := filterSnapshot(t)
	for filter, want := range map[string]string{
		"em0": `"em0" is not name=value`, "iif=em7": `iif: no port "em7"`, "source=10.0.0.1": `unknown name "source"`, "=1": `unknown name ""`,
		"src=": `"" is not an address`, "src=10.0.0.0/33": "is not a prefix", "src=10.0.0.1,x": `"x" is not an address`, "src=fe80::1%em0": "no zone",
		"dport=65536": "above 65535", "dport=9-3": "range 9-3 is backwards", "dport=1-": "is not a number", "dport=-1": "is not a number", "dport=1,,2": "is not a number",
		"proto=sctq": "is not a protocol", "fragment=some": "is not none, first or later", "tcp-flags=0": "no flag", "tcp-flags=sin": "is not one of", "dscp=64": "above 63", "mark=1": "unknown name",
	} {
		if _, err := s.ParseFilter([]string{filter}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", filter, err, want)
		}
	}
}

// FuzzParseFilter: a filter of any text is refused or can be asked about any packet.
func FuzzParseFilter(f *testing.F) {
	s, err := Compile(&Policy{Ports: []Port{{Name: "em0", MTU: 1500}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "iif=em0 src=10.0.0.0/8,::1", "dport!=1-2,0x3 tcp-flags=syn", "fragment=later dscp=46"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := s.ParseFilter(strings.Fields(text))
		if err != nil {
			return
		}
		k := packet.Key{Family: packet.IPv4, Src: netip.MustParseAddr("10.0.0.1").As16(), Dst: netip.MustParseAddr("10.0.0.2").As16()}
		filter.Match(&k)
		filter.MatchPort(0)
	})
}
