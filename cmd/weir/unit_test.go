package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/appliance/image/vm"
)

// unitFile is systemd's unit as it is installed, but for the path of the binary.
const unitFile = "../../appliance/weir.service"

// TestUnitCapabilities runs a router with no more than the capabilities that the unit leaves it: it forwards, gives the kernel its
// routes, reloads, and takes everything back at the end.
func TestUnitCapabilities(t *testing.T) {
	text := string(must[[]byte](t)(os.ReadFile(unitFile)))
	set := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindStringSubmatch(text)
	if set == nil {
		t.Fatal("the unit bounds no capabilities")
	}
	bounding := "--bounding-set=-all"
	for name := range strings.FieldsSeq(set[1]) {
		bounding += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	n := newNetwork(t, "em0", "em1")
	key, line := vm.NewKey(t)
	login := vm.Login{Host: n.ends[0].Host, Address: n.ends[0].gateway4().String() + ":22", User: "alice", Key: key}
	config := n.config(fmt.Sprintf("system: {kernel-routes: true, ssh: {listen: [%q], users: {alice: {role: admin, keys: [%q]}}}}\n",
		login.Address, strings.TrimSpace(line)))
	w := n.prepare(config)
	w.through = []string{"setpriv", bounding, "--inh-caps=-all", "--no-new-privs"}
	w.run()
	n.warm([2]*end{n.ends[0], n.ends[1]})
	login.Await(t, "show workers")
	w.write(config + "# again\n")
	w.reload()
	n.warm([2]*end{n.ends[0], n.ends[1]})
	w.finish()
}

// TestUnit has systemd read the unit, and say how much it leaves open.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("systemd is not installed: nobody reads its unit")
	}
	text := string(must[[]byte](t)(os.ReadFile(unitFile)))
	file := filepath.Join(t.TempDir(), "weir.service")
	need(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/local/sbin/weir", executable(t))), 0o644))
	for _, args := range [][]string{
		{"verify", "--man=no", file},
		{"security", "--offline=true", "--threshold=40", file}, // in tenths: what systemd calls OK, where root has the network
	} {
		if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
