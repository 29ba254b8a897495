package mgmt

// unsupported lists what the configuration language has and this version does not do yet: section.key, or
// section.key=value where only a value of it is meant. Using one is an error that says so, never silence.
var unsupported = map[string]bool{
	"assert": true,
}

const notSupported = "not supported by this version of weir"

// impossible lists the selectors of ip-rule(8) that can never match a packet that is forwarded, with the reason.
var impossible = map[string]string{
	"rules.oif":      "only packets that the router itself sends have an oif before they are routed; weir forwards",
	"rules.uidrange": "a forwarded packet belongs to no user (Linux counts it as uid 0); weir forwards",
	"match.oif":      "marks are set before a packet is routed, when it has no oif yet",
	"match.uidrange": "a forwarded packet belongs to no user",
}
