package demo

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// standIn is the test program in the role of weir: `run` only reports readiness (the kernel routes), `explain` answers
// from the list of flows, `show counters` prints something. What LAB_DEMO_STAND_IN says makes it misbehave.
func standIn(mode string) int {
	switch os.Args[1] {
	case "run":
		if _, err := os.Stat(os.Args[3]); err != nil || os.Args[4] != "--control" {
			fmt.Println("bad arguments:", os.Args[1:])
			return 2
		}
		if mode == "crash" {
			fmt.Println("port em0: no such device")
			return 1
		}
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, _ = conn.Write([]byte("READY=1"))
		<-stop
		return 0
	case "explain":
		return standInExplain(mode)
	case "show":
		fmt.Println("rule gold             12 packets")
		return 0
	}
	return 2
}

func standInExplain(mode string) int {
	fields := make(map[string]string)
	for _, a := range os.Args[5:] {
		name, value, _ := strings.Cut(a, "=")
		fields[name] = value
	}
	p := protocol(strings.TrimSuffix(fields["proto"], "v6"))
	for _, f := range flows {
		for i, e := range f.ends {
			if f.port != fields["iif"] || e.from != netip.MustParseAddr(fields["src"]) || e.to != netip.MustParseAddr(fields["dst"]) ||
				!slices.Contains(f.protocols, p) || p != icmp && strconv.Itoa(int(f.dport)) != fields["dport"] ||
				(f.tos != 0) != (fields["tos"] != "") {
				continue
			}
			answer := map[string]any{"verdict": "forward", "port": "wan0", "rule": "r", "table": "t", "prefix": "0.0.0.0/0"}
			switch {
			case f.uplink == "" && i == 0:
				answer = map[string]any{"verdict": "prohibit", "icmp": map[string]int{"type": 3, "code": 13}}
			case f.uplink == "":
				answer = map[string]any{"verdict": "prohibit", "icmp": map[string]int{"type": 1, "code": 1}}
			case f.uplink == uplink1 && mode != "lie":
				answer["port"] = "wan1"
			}
			_ = json.NewEncoder(os.Stdout).Encode(answer)
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "no such flow:", os.Args[2:])
	return 1
}
