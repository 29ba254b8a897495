package main

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"weir/mgmt"
	"weir/mgmt/ssh"
)

// TestCommandRoles: every command of the router is for the role that it should be for.
func TestCommandRoles(t *testing.T) {
	log := zap.NewNop()
	engine := mgmt.NewEngine("weir.yaml", nil, log)
	root := &mgmt.Command{Commands: controlCommands(engine, nil, ssh.New("key", ssh.DefaultLimits, log), nil)}
	for words, least := range root.All {
		want := mgmt.Admin
		switch {
		case slices.Contains([]string{"show", "explain", "compare"}, words[0]), strings.Join(words, " ") == "monitor log":
			want = mgmt.ReadOnly
		case slices.Contains([]string{"monitor", "capture"}, words[0]):
			want = mgmt.Operator
		}
		line := strings.Join(words, " ")
		if least != want {
			t.Errorf("%s is for %s, not %s", line, least, want)
		}
		for role := mgmt.NoRole; role <= mgmt.Admin; role++ {
			if invocation, _, status := root.Invoke(line, role); (invocation != nil) != (role >= want) {
				t.Errorf("%s as %s: status %d", line, role, status)
			}
		}
	}
}
