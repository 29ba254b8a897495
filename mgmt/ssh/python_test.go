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
print("Set failed" in c.send_config_set(["set sets web 80", "set sest web 80"], exit_config_mode=False))
c.commit(check=True)
c.commit(confirm=True, confirm_delay=5, comment="by a program")
c.commit(and_quit=True)
print(c.check_config_mode())
c.disconnect()
`

const vyosScript = `
import sys
from netmiko import ConnectHandler
c = ConnectHandler(device_type="vyos", host="127.0.0.1", port=int(sys.argv[1]), username="admin+vyos", use_keys=True, key_file=sys.argv[2], global_delay_factor=0.3, session_log="/dev/stderr")
print(c.find_prompt())
print(c.send_command("show version"))
out = c.send_config_set(["set sets web 80", "set sets web 443", "set rulse"])
print("Set failed" in out, c.check_config_mode())
c.commit(comment="by a program")
print(c.send_command("run show commits | count"))
c.send_config_set(["set rules gold lookup nowhere"])
try:
    c.commit()
except ValueError as e:
    print("refused:", "no table is called nowhere" in str(e))
print("Cannot exit" in c.exit_config_mode(), c.check_config_mode())
print(c.send_command("show configuration sets"))
c.disconnect()
`

// TestNetmikoVyOS: the driver of VyOS configures.
func TestNetmikoVyOS(t *testing.T) {
	t.Parallel() // it mostly waits
	python := pythonWith(t, "netmiko")
	r := newRig(t, DefaultLimits, testCommands()...)
	r.write("script.py", vyosScript)
	got := r.client(strings.NewReader(""), python, "script.py", fmt.Sprint(port), r.file("admin"))
	want := "admin@edge1:~$\nVersion: weir test\nTrue True\nCount: 3 lines\n[edit]\nrefused: True\nTrue False\nweb: [80, 443]\n"
	if got.out != want || got.status != 0 {
		t.Errorf("%+q, want %+q", got.fields(), want)
	}
	if c := r.engine.Commits()[0]; c.Comment != "by a program" || c.By.User != "admin" {
		t.Errorf("%+v", c)
	}
}

const playbook = `
- hosts: all
  gather_facts: false
  tasks:
    - vyos.vyos.vyos_command:
        commands: [show version, show configuration commands]
      register: before
    - vyos.vyos.vyos_config:
        comment: by a playbook
        lines:
          - set sets web 80
          - set tables x id 100
          - set tables x routes 10.0.0.0/8 type blackhole
    - vyos.vyos.vyos_config:
        lines: [set sets web 80, set tables x id 100]
      register: again
    - vyos.vyos.vyos_config:
        lines: [set tables x routes 10.0.0.0/8 typ blackhole]
      register: wrong
      failed_when: "'Set failed' not in wrong.msg"
    - vyos.vyos.vyos_config:
        lines: [set rules gold lookup nowhere]
      register: refused
      failed_when: "'no table is called nowhere' not in refused.msg"
    - copy:
        content: "{{ before.stdout[0] }} {{ 'set system hostname edge1' in before.stdout_lines[1] }} {{ again.changed }}"
        dest: "{{ playbook_dir }}/said"
      delegate_to: localhost
      vars: {ansible_connection: local}
`

// TestAnsible: the modules of VyOS configure, find that nothing is to be done, and see what is refused.
func TestAnsible(t *testing.T) {
	t.Parallel() // it mostly waits
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("no ansible here")
	}
	r := newRig(t, DefaultLimits, testCommands()...)
	r.write("playbook.yaml", playbook)
	r.write("inventory", fmt.Sprintf("router ansible_host=127.0.0.1 ansible_port=%d ansible_user=admin ansible_ssh_private_key_file=%s ansible_connection=ansible.netcommon.network_cli "+
		"ansible_network_os=vyos.vyos.vyos ansible_python_interpreter=/usr/bin/python3\n", port, r.file("admin")))
	r.write("ansible.cfg", "[defaults]\nhost_key_checking = False\nlocal_tmp = "+r.file("tmp")+"\n[persistent_connection]\nconnect_timeout = 60\ncommand_timeout = 30\n")
	got := r.client(strings.NewReader(""), "env", "HOME="+r.dir, "ANSIBLE_HOME="+r.dir, "ANSIBLE_CONFIG="+r.file("ansible.cfg"), "ansible-playbook", "-v", "-i", r.file("inventory"), "playbook.yaml")
	if got.status != 0 {
		t.Fatalf("%q\n%s", got.errors, got.out)
	}
	if said := r.read("said"); said != "Version: weir test True False" {
		t.Errorf("%q\n%s", said, got.out)
	}
	if want := r.config() + "sets:\n  web: [80]\ntables:\n  x:\n    id: 100\n    routes:\n      - {to: 10.0.0.0/8, type: blackhole}\n"; r.running() != want || r.engine.Commits()[0].Comment != "by a playbook" {
		t.Errorf("runs: %s", r.running())
	}
}

// pythonWith is the distribution's Python, which has the distribution's modules.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		t.Skipf("no python3-%s here", module)
	}
	return python
}

// TestNetmiko: a driver that programs use for such devices works: it looks for the prompt and its own echo, sets the width, and waits for certain words of
// a commit.
func TestNetmiko(t *testing.T) {
	t.Parallel() // it mostly waits
	python := pythonWith(t, "netmiko")
	r := newRig(t, DefaultLimits, testCommands()...)
	r.write("script.py", netmikoScript)
	got := r.client(strings.NewReader(""), python, "script.py", fmt.Sprint(port), r.file("admin"))
	if want := "a,b\nseen\nInvalid command: nonsense\n" + strings.Repeat("x", 300) + "\nadmin@edge1>\nTrue\nFalse\n"; got.out != want || got.status != 0 {
		t.Errorf("%+q, want %+q", got.fields(), want)
	}
	if c := r.engine.Commits()[0]; c.Comment != "by a program" || r.engine.Pending() {
		t.Errorf("%+v", c)
	}
	if n := strings.Count(got.errors, "Invalid command"); n != 1 {
		t.Errorf("%d commands were bad; the session:\n%s", n, got.errors)
	}
}
