// Package demo is the laboratory of `weir lab demo` and `weir lab shell`: a router between two clients and two uplinks,
// in network namespaces on this machine, run by the weir binary itself with the configuration of example.yaml.
//
// [Run] asks the router for every flow where it will go (weir explain), sends real pings, TCP and UDP, looks at which
// uplink they arrive, and compares. [Shell] leaves the laboratory to a person. Both remove it afterwards.
package demo
