package mgmt

import (
	"iter"
	"maps"
	"slices"

	"weir/mgmt/document"
)

// schema is what there is to set in a configuration, with a line of help for each. Tests hold it to the decoder: they have the
// same keys and words.
var schema = &document.Schema{Form: document.Section, Keys: []*document.Schema{
	{Key: "version", Help: "version of the configuration language", Form: document.Value, Type: document.Number,
		Words: []document.Word{{Word: "1", Help: "the only one there is"}}},
	systemSchema,
	portsSchema,
	neighborsSchema,
	{Key: "groups", Help: "numbers of interface groups, where the kernel must know them", Form: document.Named,
		Each: &document.Schema{Key: "<group>", Help: "its number", Type: document.Number, Example: "<number>"}},
	{Key: "sets", Help: "named sets of prefixes or numbers, for conditions of statements", Form: document.Named,
		Each: &document.Schema{Key: "<set>", Help: "a member: a prefix, a number, or a range of numbers", Form: document.Values, Flow: true, Example: "<prefix or range>"}},
	{Key: "tags", Help: "names for marks", Form: document.Named,
		Each: &document.Schema{Key: "<tag>", Help: "the mark that it stands for", Example: "<mark/mask>"}},
	tablesSchema,
	marksSchema,
	rulesSchema,
	{Key: "default-rules", Help: "have the rules that Linux begins with: local 0, main 32766, default 32767", Type: document.Boolean, Words: trueFalse},
	{Key: "fragments", Help: "what later fragments are to rules and statements", Words: []document.Word{
		{Word: "linux", Help: "packets without ports, as in Linux"}, {Word: "consistent", Help: "they go the way of the first one"}}},
}}

// Schema is what there is to set in a configuration.
func Schema() *document.Schema { return schema }

var trueFalse = []document.Word{{Word: "true"}, {Word: "false"}}

var systemSchema = &document.Schema{Key: "system", Help: "the router itself", Form: document.Section, Keys: []*document.Schema{
	{Key: "hostname", Help: "name of the machine", Example: "<name>"},
	{Key: "workers", Help: "CPUs that forward packets, one worker on each", Form: document.Values, Type: document.Number, Alone: "auto", Flow: true,
		Words: []document.Word{{Word: "auto", Help: "all CPUs but one"}}, Open: true, Example: "<cpu>"},
	{Key: "kernel-routes", Help: "give tables and rules to the kernel too: it routes by them when weir has stopped", Type: document.Boolean, Words: trueFalse},
	{Key: "multipath-hash", Help: "what of a flow chooses among several next hops", Words: []document.Word{
		{Word: "l4", Help: "addresses, protocol and ports"}, {Word: "l3", Help: "addresses alone"}}},
	{Key: "icmp", Help: "limits of the ICMP errors that are sent", Form: document.Section, Flow: true, Keys: append(rateSchema(),
		&document.Schema{Key: "per-destination", Help: "limits for each receiver", Form: document.Section, Flow: true, Keys: rateSchema()})},
	{Key: "metrics", Help: "metrics for Prometheus", Form: document.Section, Flow: true, Keys: []*document.Schema{
		{Key: "listen", Help: "address and port that they are served on", Example: "<address:port>"}}},
	{Key: "syslog", Help: "a server that gets the log too, by UDP", Form: document.Section, Flow: true, Keys: []*document.Schema{
		{Key: "server", Help: "its address and port", Example: "<address:port>"}}},
	{Key: "management", Help: "a network device that the machine is reached by, and weir does not drive", Form: document.Section, Flow: true, Keys: []*document.Schema{
		{Key: "port", Help: "its name", Example: "<name>"},
		{Key: "dhcp", Help: "ask for an IPv4 address and gateway", Type: document.Boolean, Words: trueFalse},
		{Key: "addresses", Help: "an address, with the length of its network's prefix", Form: document.Values, Flow: true, Example: "<address/length>"},
		{Key: "gateways", Help: "gateway of the default route, one for a family", Form: document.Values, Flow: true, Example: "<address>"}}},
	{Key: "ssh", Help: "access by SSH", Form: document.Section, Keys: []*document.Schema{
		{Key: "listen", Help: "an address and port to listen on", Form: document.Values, Flow: true, Example: "<address:port>"},
		{Key: "users", Help: "who may log in", Form: document.Named, Each: &document.Schema{Key: "<user>", Help: "a user's name", Form: document.Section, Stays: true, Keys: []*document.Schema{
			{Key: "role", Help: "what the user may do", Words: []document.Word{
				{Word: "read-only", Help: "show and explain"}, {Word: "operator", Help: "also clear, capture and test"}, {Word: "admin", Help: "also change the configuration"}}},
			{Key: "keys", Help: "a public key, as in authorized_keys", Form: document.Values, Flow: true, Example: "<public key>"},
		}}},
	}},
}}

func rateSchema() []*document.Schema {
	return []*document.Schema{
		{Key: "rate", Help: "errors a second", Type: document.Number, Example: "<number>"},
		{Key: "burst", Help: "errors at once", Type: document.Number, Example: "<number>"},
	}
}

var portsSchema = &document.Schema{Key: "ports", Help: "network devices that weir drives", Form: document.Named,
	Each: &document.Schema{Key: "<port>", Help: "name of a network device", Form: document.Section, Stays: true, Keys: append(commonPortSchema(),
		&document.Schema{Key: "mode", Help: "how frames are taken from the driver", Words: []document.Word{
			{Word: "auto", Help: "the fastest that works"}, {Word: "zero-copy", Help: "in the driver's own memory"},
			{Word: "copy", Help: "copied by the kernel"}, {Word: "generic", Help: "without the driver's help"}}},
		vlansSchema(false))}}

func commonPortSchema() []*document.Schema {
	return []*document.Schema{
		{Key: "group", Help: "interface group, to select by", Names: groupNames, Example: "<group>"},
		{Key: "addresses", Help: "an address of the router, with the length of its network's prefix", Form: document.Values, Flow: true, Example: "<address/length>"},
		{Key: "mtu", Help: "longest packet in bytes", Type: document.Number, Example: "<bytes>"},
		{Key: "reverse-path", Help: "drop packets whose source is not reached this way", Words: []document.Word{
			{Word: "off", Help: "do not check"}, {Word: "false", Hidden: true}, {Word: "no", Hidden: true}, {Word: "loose", Help: "by any port"}, {Word: "strict", Help: "by this port"}}},
		{Key: "src-valid-mark", Help: "look the way back up with the packet's mark", Type: document.Boolean, Words: trueFalse},
		{Key: "redirects", Help: "send ICMP redirects", Type: document.Boolean, Words: trueFalse},
	}
}

// vlansSchema is the VLANs of a port; those within a VLAN have no protocol and no VLANs of their own.
func vlansSchema(within bool) *document.Schema {
	keys := append([]*document.Schema{{Key: "name", Help: "name of the port; PORT.VLAN if not given", Example: "<name>"}}, commonPortSchema()...)
	help := "VLANs of the port"
	if within {
		help = "VLANs within the VLAN: frames have two tags"
	} else {
		keys = append(keys, &document.Schema{Key: "protocol", Help: "EtherType of the tag", Words: []document.Word{
			{Word: "802.1q", Help: "0x8100"}, {Word: "802.1ad", Help: "0x88a8, as a service provider's"}}}, vlansSchema(true))
	}
	return &document.Schema{Key: "vlans", Help: help, Form: document.Named,
		Each: &document.Schema{Key: "<vlan>", Help: "VLAN identifier, 1 to 4094", Form: document.Section, Stays: true, Flow: true, Keys: keys}}
}

var neighborsSchema = &document.Schema{Key: "neighbors", Help: "neighbours whose MAC addresses are given; the rest are resolved", Form: document.Entries,
	By: []string{"address"}, Also: []string{"port"},
	Each: &document.Schema{Key: "<address>", Help: "address of the neighbour", Form: document.Section, Flow: true, Keys: []*document.Schema{
		{Key: "address", Help: "its IP address", Example: "<address>"},
		{Key: "port", Help: "port that it is at", Names: portNames, Example: "<port>"},
		{Key: "mac", Help: "its MAC address", Example: "<mac>"},
	}}}

var tablesSchema = &document.Schema{Key: "tables", Help: "routing tables; main, default and local are there without being named", Form: document.Named,
	Each: &document.Schema{Key: "<table>", Help: "name of a table", Form: document.Section, Stays: true, Names: tableNames, Keys: []*document.Schema{
		{Key: "id", Help: "number of the table, 1 to 4294967295", Type: document.Number, Example: "<number>"},
		{Key: "key", Help: "what of a packet is looked up", Words: []document.Word{
			{Word: "destination", Help: "where it goes"}, {Word: "source", Help: "where it comes from"}}},
		{Key: "on-miss", Help: "what becomes of packets that no route matches", Form: document.Choice, Words: []document.Word{
			{Word: "fall-through", Help: "the next rule decides"}, {Word: "unreachable", Help: "dropped; the sender hears: unreachable"},
			{Word: "prohibit", Help: "dropped; the sender hears: prohibited"}, {Word: "blackhole", Help: "dropped in silence"}},
			Keys: []*document.Schema{{Key: "lookup", Help: "another table decides", Names: tableNames, Example: "<table>"}}},
		{Key: "counters", Help: "count the packets of each route", Type: document.Boolean, Words: trueFalse},
		routesSchema,
		{Key: "routes-file", Help: "file of more routes, in the syntax of ip-route(8)", Example: "<file>"},
	}}}

var routesSchema = &document.Schema{Key: "routes", Help: "routes of the table", Form: document.Entries,
	By: []string{"to", "from"}, ByWhere: [2]string{"key", "source"}, Also: []string{"tos", "metric"},
	Each: &document.Schema{Key: "<prefix>", Help: "prefix of the route, or default", Form: document.Section, Flow: true, Keys: []*document.Schema{
		{Key: "to", Help: "destinations that it is for", Example: "<prefix>", Words: defaultWord, Open: true},
		{Key: "from", Help: "sources that it is for, in a table with key source", Example: "<prefix>", Words: defaultWord, Open: true},
		{Key: "via", Help: "gateway; several share the flows", Form: document.Entries, By: []string{"gateway"}, Also: []string{"port"}, Single: true, Flow: true,
			Each: &document.Schema{Key: "<address>", Help: "address of a gateway", Form: document.Section, Flow: true, Keys: []*document.Schema{
				{Key: "gateway", Help: "address of the gateway", Example: "<address>"},
				{Key: "port", Help: "port towards it", Names: portNames, Example: "<port>"},
				{Key: "weight", Help: "its share of the flows, 1 to 65535", Type: document.Number, Example: "<number>"},
			}}},
		{Key: "port", Help: "port that packets leave by", Names: portNames, Example: "<port>"},
		{Key: "type", Help: "what becomes of the packets", Words: []document.Word{
			{Word: "unicast", Help: "forwarded"}, {Word: "blackhole", Help: "dropped in silence"},
			{Word: "unreachable", Help: "dropped; the sender hears: host unreachable"}, {Word: "prohibit", Help: "dropped; the sender hears: prohibited"},
			{Word: "throw", Help: "a miss of the table"}}},
		{Key: "lookup", Help: "another table decides", Names: tableNames, Example: "<table>"},
		{Key: "on-miss", Help: "what follows if that table has no route", Words: []document.Word{
			{Word: "return", Help: "a miss of this table too"}, {Word: "resume", Help: "the next shorter prefix of this table"}}},
		{Key: "tos", Help: "only for packets with this TOS", Type: document.Number, Example: "<tos>"},
		{Key: "metric", Help: "the lowest of several to a prefix is taken", Type: document.Number, Example: "<number>"},
		{Key: "mtu", Help: "longest packet in bytes", Type: document.Number, Example: "<bytes>"},
	}}}

var defaultWord = []document.Word{{Word: "default", Help: "every address"}}

// namedWords are the names that something has in packet, as words beside which numbers are possible.
func namedWords(names ...iter.Seq[string]) (words []document.Word) {
	all := map[string]bool{}
	for _, seq := range names {
		for name := range seq {
			all[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		words = append(words, document.Word{Word: name})
	}
	return words
}
