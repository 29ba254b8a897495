package ssh

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

const netmikoScript = `
import sys
from netmiko import ConnectHandler
c = ConnectHandler(device_type="juniper_junos", host="127.0.0.1", port=int(sys.argv[1]), username="admin", use_keys=True, key_file=sys.argv[2], session_log="/dev/stderr")
for command in ("echo a b", "change look | match se+n", "nonsense", "echo " + "x" * 300):
    print(c.send_command(command))
print(c.find_prompt())
c.disconnect()
`

// TestNetmiko: a driver that programs use for such devices works: it looks for the prompt and its own echo, and sets the width.
func TestNetmiko(t *testing.T) {
	const python = "/usr/bin/python3" // the distribution's, which has the distribution's modules
	if err := exec.Command(python, "-c", "import netmiko").Run(); err != nil {
		t.Skip("no python3-netmiko here")
	}
	r := newRig(t, DefaultLimits, testCommands()...)
	r.write("script.py", netmikoScript)
	got := r.client(strings.NewReader(""), python, "script.py", fmt.Sprint(port), r.file("admin"))
	if want := "a,b\nseen\nInvalid command: nonsense\n" + strings.Repeat("x", 300) + "\nadmin@edge1>\n"; got.out != want || got.status != 0 {
		t.Errorf("%+q, want %+q", got.fields(), want)
	}
	if n := strings.Count(got.errors, "Invalid command"); n != 1 {
		t.Errorf("%d commands were bad; the session:\n%s", n, got.errors)
	}
}
