package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"weir/policy/packet"
)

func addr16(s string) [16]byte { return netip.MustParseAddr(s).As16() }

func TestParsePacket(t *testing.T) {
	s := newLab(t).compile()
	base := packet.Key{Family: packet.IPv4, Src: addr16("10.0.0.1"), Dst: addr16("10.0.0.2"), Proto: 17, TTL: 64, Length: 84, DontFragment: true, Ingress: 1}
	base6 := base
	base6.Family, base6.Src, base6.Dst = packet.IPv6, addr16("2001:db8::1"), addr16("2001:db8::2")
	with := func(k packet.Key, change func(k *packet.Key)) packet.Key { change(&k); return k }
	for _, c := range []struct {
		args, json string
		want       packet.Key
	}{
		{"", `{}`, base},
		{"proto=tcp sport=1 dport=0x50 tcp-flags=syn,ack", `{"proto":"tcp","sport":1,"dport":"0x50","tcp-flags":18}`,
			with(base, func(k *packet.Key) { k.Proto, k.SrcPort, k.DstPort, k.TCPFlags = 6, 1, 80, 0x12 })},
		{"proto=6 tos=255 mark=0xffffffff length=65535 ttl=0", `{"proto":6,"tos":"0xff","mark":4294967295,"length":65535,"ttl":0}`,
			with(base, func(k *packet.Key) { k.Proto, k.TOS, k.Mark, k.Length, k.TTL = 6, 255, 1<<32-1, 65535, 0 })},
		{"icmp-type=8 icmp-code=1", `{"icmp-type":8,"icmp-code":"1"}`,
			with(base, func(k *packet.Key) { k.Proto, k.ICMPType, k.ICMPCode = 1, 8, 1 })},
		{"icmp-type=Echo-Request", `{"icmp-type":"echo-request"}`, with(base, func(k *packet.Key) { k.Proto, k.ICMPType = 1, 8 })},
		{"icmp-code=port-unreachable", `{"icmp-code":"port-unreachable"}`,
			with(base, func(k *packet.Key) { k.Proto, k.ICMPType, k.ICMPCode = 1, 3, 3 })},
		{"icmp-type=3 icmp-code=admin-prohibited", `{"icmp-type":"destination-unreachable","icmp-code":13}`,
			with(base, func(k *packet.Key) { k.Proto, k.ICMPType, k.ICMPCode = 1, 3, 13 })},
		{"src=2001:db8::1 dst=2001:db8::2 icmp-code=port-unreachable proto=ipv6-icmp", `{"icmp-code":"port-unreachable","src":"2001:db8::1","dst":"2001:db8::2"}`,
			with(base6, func(k *packet.Key) { k.Proto, k.ICMPType, k.ICMPCode = 58, 1, 4 })},
		{"proto=sctp dscp=ef", `{"proto":"sctp","dscp":46}`, with(base, func(k *packet.Key) { k.Proto, k.TOS = 132, 0xb8 })},
		{"proto=udp dscp=63", `{"dscp":"0x3f"}`, with(base, func(k *packet.Key) { k.TOS = 0xfc })},
		{"tcp-flags=fin", `{"tcp-flags":"fin"}`, with(base, func(k *packet.Key) { k.Proto, k.TCPFlags = 6, 1 })},
		{"fragment=first dport=53", `{"fragment":"first","dport":53}`,
			with(base, func(k *packet.Key) { k.Fragment, k.DstPort, k.DontFragment = packet.FragmentFirst, 53, false })},
		{"fragment=later dport=53", `{"fragment":"later","dport":53}`,
			with(base, func(k *packet.Key) { k.Fragment, k.DontFragment = packet.FragmentLater, false })},
		{"fragment=none df=false", `{"fragment":"none","df":false}`, with(base, func(k *packet.Key) { k.DontFragment = false })},
		{"src=2001:db8::1 dst=2001:db8::2 flowlabel=0xfffff", `{"src":"2001:db8::1","dst":"2001:db8::2","flowlabel":1048575}`,
			with(base6, func(k *packet.Key) { k.FlowLabel = 0xfffff })},
		{"src=2001:db8::1 dst=2001:db8::2 icmp-type=128", `{"src":"2001:db8::1","dst":"2001:db8::2","icmp-type":128}`,
			with(base6, func(k *packet.Key) { k.Proto, k.ICMPType = 58, 128 })},
		{"proto=47 sport=0", `{"proto":"47","sport":0}`, with(base, func(k *packet.Key) { k.Proto = 47 })},
		{"", "{\r\n\t\"proto\" :\"\\u0075dp\" }  ", base},
	} {
		args := strings.Fields(c.args)
		text := c.json
		if !strings.Contains(c.args, "src=") {
			args = append(args, "src=10.0.0.1", "dst=10.0.0.2")
			text = strings.Replace(text, "{", `{"src":"10.0.0.1","dst":"10.0.0.2",`, 1)
		}
		args = append(args, "iif=em1")
		text = strings.Replace(strings.Replace(text, "{", `{"iif":"em1",`, 1), ",}", "}", 1)
		if k, err := s.ParsePacket(args); err != nil || k != c.want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", args, err, k, c.want)
		}
		if k, err := s.ParsePacketJSON([]byte(text)); err != nil || k != c.want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", text, err, k, c.want)
		}
	}
}

func TestParsePacketErrors(t *testing.T) {
	s := newLab(t).compile()
	for _, c := range []struct{ args, want string }{
		{"", "iif is missing"},
		{"iif=em0 src=10.0.0.1", "dst is missing"},
		{"iif", `"iif" is not name=value`},
		{"iif=em9", `iif: no port "em9"`},
		{"color=red", `unknown name "color"`},
		{"ttl=1 ttl=2", "ttl: given twice"},
		{"src=10.0.0", `src: "10.0.0" is not an address`},
		{"src=fe80::1%em0", "src: an address in a packet has no zone"},
		{"iif=em0 src=10.0.0.1 dst=::1", "src 10.0.0.1 and dst ::1 are of different families"},
		{"proto=sctpx", "proto: \"sctpx\" is not a protocol: a number from 0 to 255, or one of " + packet.Protocols.String()},
		{"proto=256", "proto: \"256\" is not a protocol: a number from 0 to 255, or one of " + packet.Protocols.String()},
		{"dscp=gold", "dscp: \"gold\" is not a DSCP: a number from 0 to 63, or one of " + packet.DSCPs.String()},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 dscp=ef tos=8", "tos, dscp: both say what the TOS byte is"},
		{"icmp-type=", "icmp-type: is empty"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=echo", "icmp-type: \"echo\" is not an ICMP type: a number from 0 to 255, or one of " + packet.ICMPTypes(packet.IPv4).String()},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=packet-too-big", "icmp-type: \"packet-too-big\" is not an ICMP type: a number from 0 to 255, or one of " + packet.ICMPTypes(packet.IPv4).String()},
		{"iif=em0 src=::1 dst=::2 icmp-code=frag-needed", "icmp-code: \"frag-needed\" is not an ICMPv6 code: a number from 0 to 255, or one of " + packet.ICMPCodes(packet.IPv6).String()},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=8 icmp-code=port-unreachable", "icmp-code: port-unreachable is a code of destination-unreachable (3), not of echo-request (8)"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=8 proto=icmpv6", "proto: the ICMP of IPv4 is icmp"},
		{"iif=em0 src=::1 dst=::2 icmp-type=128 proto=icmp", "proto: the ICMP of IPv6 is icmpv6"},
		{"sport=65536", "sport: 65536 is above 65535"},
		{"tos=256", "tos: 256 is above 255"},
		{"tos=010", `tos: "010" is not a number`},
		{"tos=", `tos: "" is not a number`},
		{"mark=0x", `mark: "0x" is not a number`},
		{"mark=0xg", `mark: "0xg" is not a number from 0 to 4294967295`},
		{"mark=-1", `mark: "-1" is not a number from 0 to 4294967295`},
		{"fragment=last", `fragment: "last" is not none, first or later`},
		{"df=maybe", `df: "maybe" is not true or false`},
		{"tcp-flags=syn,xyz", `tcp-flags: "xyz" is not one of fin, syn, rst, psh, ack, urg, ece, cwr`},
		{"flowlabel=0x100000", "flowlabel: 0x100000 is above 1048575"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 flowlabel=1", "flowlabel: IPv4 has none"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 length=19", "length: 19 is less than the IP header's 20"},
		{"iif=em0 src=2001:db8::1 dst=2001:db8::2 length=39", "length: 39 is less than the IP header's 40"},
		{"iif=em0 src=2001:db8::1 dst=2001:db8::2 df=0", "df: routers never fragment IPv6"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 proto=udp icmp-type=8", "icmp-type: udp has none"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 proto=udp tcp-flags=syn", "tcp-flags: udp has none"},
		{"iif=em0 src=10.0.0.1 dst=10.0.0.2 proto=47 dport=8", "sport, dport: gre has no ports"},
	} {
		if _, err := s.ParsePacket(strings.Fields(c.args)); fmt.Sprint(err) != "parse packet: "+c.want {
			t.Errorf("%s: %v, want %s", c.args, err, c.want)
		}
	}
	for _, c := range []struct{ text, want string }{
		{``, "column 1: ends where { belongs"},
		{`[]`, "column 1: '[' where { belongs"},
		{`{`, "column 2: ends where a string belongs"},
		{`{iif:1}`, "column 2: 'i' where a string belongs"},
		{`{"iif" "em0"}`, "column 8: '\"' where : belongs"},
		{`{"iif":}`, "column 8: '}' where a string or a number from 0 up belongs"},
		{`{"iif":`, "column 8: ends where a value belongs"},
		{`{"iif":"em0"`, "column 13: ends where , or } belongs"},
		{`{"iif":"em0",}`, "column 14: '}' where a string belongs"},
		{`{"iif":"em0","src":"10.0.0.1","dst":"10.0.0.2"} {}`, "column 49: '{' where the end belongs"},
		{`{"iif":"em0`, "column 12: ends where \" belongs"},
		{"{\"iif\":\"em\t0\"}", "column 11: '\\t' where a string without control characters belongs"},
		{`{"iif":"\x"}`, "column 8: invalid character 'x' in string escape code"},
		{"{\"iif\":\"\xff\"}", "not UTF-8"},
		{`{"iif":7}`, "iif: number 7 where a string belongs"},
		{`{"ttl":true}`, "ttl: true does not belong here"},
		{`{"ttl":null}`, "column 8: 'n' where a string or a number from 0 up belongs"},
		{`{"ttl":-1}`, "column 8: '-' where a string or a number from 0 up belongs"},
		{`{"ttl":1.5}`, "column 9: '.' where a whole decimal number belongs"},
		{`{"ttl":01}`, `ttl: "01" is not a number`},
		{`{"ttl":1,"ttl":1}`, "ttl: given twice"},
		{`{"color":1}`, `unknown name "color"`},
		{`{"iif":"em0","src":{"a":1}}`, "column 20: '{' where a string or a number from 0 up belongs"},
	} {
		if _, err := s.ParsePacketJSON([]byte(c.text)); fmt.Sprint(err) != "parse packet: "+c.want {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

// FuzzParsePacketJSON: whatever the scanner takes is JSON, and has the meaning that encoding/json gives it.
func FuzzParsePacketJSON(f *testing.F) {
	f.Add([]byte(`{"iif":"em0","src":"10.0.0.1","dst":"10.0.0.2","ttl":"7","dport":53,"df":true}`))
	f.Add([]byte(`{"iif":"\u0065m0","src":"::","dst":"::1","fragment":"later"} `))
	f.Add([]byte(`{"iif":"em0",}`))
	s := newLab(f).compile()
	f.Fuzz(func(t *testing.T, line []byte) {
		k, err := s.ParsePacketJSON(line)
		if err != nil {
			return
		}
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(string(line)))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			t.Fatalf("%q is a packet but no JSON: %v", line, err)
		}
		var args []string
		for name, value := range m {
			args = append(args, fmt.Sprintf("%s=%v", name, value))
		}
		if again, err := s.ParsePacket(args); err != nil || again != k {
			t.Fatalf("%q: %+v, as arguments %+v %v", line, k, again, err)
		}
	})
}

// FuzzParsePacket: what is taken is a packet that can be decided and explained, and said again in JSON is the same one.
func FuzzParsePacket(f *testing.F) {
	f.Add("iif=em0 src=10.0.0.1 dst=10.0.0.2 proto=tcp sport=1 dport=0x50 tcp-flags=syn,ack dscp=ef mark=0xffffffff")
	f.Add("iif=em0 src=2001:db8::1 dst=2001:db8::2 icmp-code=port-unreachable flowlabel=0xfffff ttl=0 length=40")
	f.Add("iif=em1 src=10.0.0.1 dst=10.0.0.2 icmp-type=echo-request fragment=later df=true tos=255")
	f.Add("iif=em2 src=::ffff:10.0.0.1 dst=::ffff:10.0.0.2 proto=ipv6-icmp icmp-type=")
	s := marksLab(f).compile()
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Fields(text)
		k, err := s.ParsePacket(args)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "parse packet: ") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var b strings.Builder
		if err := s.Explain(&k).WriteText(&b); err != nil {
			t.Error(err)
		}
		object := map[string]string{}
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			object[name] = value
		}
		line, err := json.Marshal(object)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		if again, err := s.ParsePacketJSON(line); err != nil || again != k {
			t.Errorf("%q: %+v, as %s %+v %v", text, k, line, again, err)
		}
	})
}

// FuzzExplainPackets: of any stream, each line before the first that is wrong is answered by a line of JSON.
func FuzzExplainPackets(f *testing.F) {
	f.Add([]byte(`{"iif":"em0","src":"10.0.0.1","dst":"10.0.0.2"}`+"\r\n\n"+`{"iif":"em1","src":"::1","dst":"2001:db8::2","dscp":"ef"}`), true)
	f.Add([]byte("\ufeff{}\n"), false)
	f.Add([]byte(`{"iif":"em0","src":"10.0.0.1","dst":"10.0.0.2"}`+"\n\x00"), false)
	s := marksLab(f).compile()
	f.Fuzz(func(t *testing.T, in []byte, steps bool) {
		var out bytes.Buffer
		err := s.ExplainPackets(bytes.NewReader(in), &out, steps)
		good, lines := 0, bytes.Split(in, []byte("\n"))
		for _, line := range lines {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if _, wrong := s.ParsePacketJSON(line); wrong != nil || len(line) >= packetLineMax {
				if err == nil {
					t.Errorf("%q is taken", line)
				}
				break
			}
			good++
		}
		if got := bytes.Count(out.Bytes(), []byte("\n")); err == nil && got != good || got > good {
			t.Errorf("%d answers about %d packets in %q, %v", got, good, in, err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("no JSON: %s", line)
			}
		}
	})
}
