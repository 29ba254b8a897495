package mgmt

import (
	"weir/mgmt/document"
	"weir/policy/packet"
)

var rulesSchema = &document.Schema{Key: "rules", Help: "which table decides about a packet; the lowest priority comes first", Form: document.Entries, Ordered: true, By: []string{"name"},
	Each: &document.Schema{Key: "<rule>", Help: "name of a rule", Form: document.Section, Flow: true, Stays: true, Keys: append(append([]*document.Schema{
		{Key: "name", Help: "name of the rule; made of its content if not given", Example: "<name>"},
		{Key: "priority", Help: "rules are asked from the lowest to the highest", Type: document.Number, Example: "<number>"},
		{Key: "not", Help: "match what does not meet the conditions", Type: document.Boolean, Words: trueFalse},
	}, selectorSchema(document.Value)...), []*document.Schema{
		{Key: "lookup", Help: "look up in a table", Names: tableNames, Example: "<table>"},
		{Key: "goto", Help: "go on with the rule of this priority", Type: document.Number, Example: "<priority>"},
		{Key: "action", Help: "what else becomes of the packet", Words: []document.Word{
			{Word: "nop", Help: "nothing: go on"}, {Word: "blackhole", Help: "dropped in silence"},
			{Word: "unreachable", Help: "dropped; the sender hears: unreachable"}, {Word: "prohibit", Help: "dropped; the sender hears: prohibited"}}},
		{Key: "suppress-prefixlength", Help: "do not take routes with prefixes of this length or shorter", Type: document.Number, Example: "<length>"},
		{Key: "suppress-ifgroup", Help: "do not take routes out of ports of this group", Names: groupNames, Example: "<group>"},
	}...)}}

var marksSchema = &document.Schema{Key: "marks", Help: "statements that mark or drop packets before the rules; chain main runs first", Form: document.Named,
	Each: &document.Schema{Key: "<chain>", Help: "name of a chain", Form: document.Entries, Ordered: true, By: []string{"name"}, Stays: true,
		Each: &document.Schema{Key: "<statement>", Help: "name of a statement", Form: document.Section, Flow: true, Stays: true, Keys: []*document.Schema{
			{Key: "name", Help: "name of the statement; made of its content if not given", Example: "<name>"},
			{Key: "match", Help: "conditions, all of which must be met", Form: document.Section, Flow: true, Keys: append([]*document.Schema{
				{Key: "not", Help: "match what does not meet the conditions", Type: document.Boolean, Words: trueFalse},
				{Key: "mark", Help: "mark that the packet has so far", Form: document.Values, Single: true, Not: true, Flow: true,
					Names: setNames, Example: "<mark/mask>"},
			}, selectorSchema(document.Values)...)},
			{Key: "then", Help: "what is done with packets that match", Form: document.Actions, Flow: true, Stays: true,
				Words: []document.Word{
					{Word: "accept", Help: "go on to the rules", Final: true}, {Word: "drop", Help: "drop in silence", Final: true},
					{Word: "reject", Help: "drop and tell the sender", Final: true}, {Word: "return", Help: "back to the calling chain", Final: true}},
				Keys: []*document.Schema{
					{Key: "mark", Help: "set bits of the mark", Example: "<mark/mask>"},
					{Key: "tag", Help: "set the mark that a tag stands for", Names: tagNames, Example: "<tag>"},
					{Key: "dscp", Help: "set the DSCP", Words: namedWords(packet.DSCPs.All()), Open: true, Example: "<dscp>"},
					{Key: "jump", Help: "run a chain and come back", Final: true, Names: chainNames, Example: "<chain>"},
					{Key: "goto", Help: "run a chain and do not come back", Final: true, Names: chainNames, Example: "<chain>"},
				}},
		}}}}

// selectorSchema is what rules and statements can ask of a packet: rules for one value, statements for any of several.
func selectorSchema(form document.Form) []*document.Schema {
	keys := []*document.Schema{
		{Key: "from", Help: "source address", Example: "<prefix>"},
		{Key: "to", Help: "destination address", Example: "<prefix>"},
		{Key: "iif", Help: "port that it came in on", Names: portNames, Example: "<port>", Open: true,
			Words: []document.Word{{Word: "lo", Help: "the router itself; matches nothing that is forwarded"}}},
		{Key: "iif-group", Help: "interface group of the port that it came in on", Names: groupNames, Example: "<group>"},
		{Key: "fwmark", Help: "mark that it has", Example: "<mark/mask>"},
		{Key: "tagged", Help: "tag that it has", Names: tagNames, Example: "<tag>"},
		{Key: "tos", Help: "TOS byte", Type: document.Number, Example: "<tos>"},
		{Key: "dscp", Help: "DSCP by name or number", Words: namedWords(packet.DSCPs.All()), Open: true, Example: "<dscp>"},
		{Key: "proto", Help: "protocol by name or number", Words: namedWords(packet.Protocols.All()), Open: true, Example: "<protocol>"},
		{Key: "sport", Help: "source port, or a range of ports", Example: "<ports>"},
		{Key: "dport", Help: "destination port, or a range of ports", Example: "<ports>"},
		{Key: "flowlabel", Help: "flow label of IPv6", Example: "<label/mask>"},
		{Key: "family", Help: "family of the packet", Words: []document.Word{{Word: "ipv4"}, {Word: "ipv6"}}},
		{Key: "icmp-type", Help: "type of ICMP or ICMPv6 by name or number", Example: "<type>", Open: true,
			Words: namedWords(packet.ICMPTypes(packet.IPv4).All(), packet.ICMPTypes(packet.IPv6).All())},
		{Key: "icmp-code", Help: "code of ICMP or ICMPv6 by name or number", Example: "<code>", Open: true,
			Words: namedWords(packet.ICMPCodes(packet.IPv4).All(), packet.ICMPCodes(packet.IPv6).All())},
		{Key: "tcp-flags", Help: "TCP flags, as in syn,!ack", Words: namedWords(packet.TCPFlags.All()), Open: true, Example: "<flags>"},
		{Key: "length", Help: "length of the packet in bytes, or a range", Example: "<range>"},
		{Key: "ttl", Help: "TTL or hop limit, or a range", Example: "<range>"},
		{Key: "fragment", Help: "whether it is a fragment", Words: []document.Word{
			{Word: "none", Help: "a whole packet"}, {Word: "first", Help: "a first fragment"}, {Word: "later", Help: "a later fragment"}}},
	}
	if form == document.Value {
		return keys
	}
	for _, k := range keys {
		k.Form, k.Single, k.Not, k.Flow = document.Values, true, true, true
		switch k.Key {
		case "iif", "iif-group", "tagged", "tcp-flags", "fragment", "family":
		default:
			k.Names, k.Type = setNames, document.Text
		}
	}
	return keys
}
