package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"weir/appliance"
	"weir/appliance/boot"
	"weir/appliance/image"
	"weir/appliance/image/layout"
	"weir/appliance/image/vm"
	"weir/perf/lab"
)

var allImages = flag.Bool("image.all", false, "try all that can happen to an appliance, not only what takes few minutes")

// bed is an image and what a machine that runs it is connected to: an administrator, and two hosts that it routes between.
type bed struct {
	t                  *testing.T
	dir                string
	binary             string
	signKey            ed25519.PrivateKey
	key                ssh.Signer
	keyLine            string
	disk               string
	admin, left, right *lab.Host
	login              vm.Login
	cpu                string // more of the machine's processor
	nics               string // more of the NICs that it routes between
}

const (
	managementAddress = "192.0.2.1"
	voiceAddress      = "203.0.113.7" // of right; only the table voice leads there
	voiceAddress6     = "2001:db8:7::7"
)

// configOf is the bed's configuration; hostname tells one from another.
func (b *bed) configOf(hostname string) string {
	return fmt.Sprintf(`version: 1
system:
  hostname: %s
  kernel-routes: true
  management: {port: eth0, addresses: [%s/24]}
  ssh:
    listen: ["%s:22"]
    users:
      alice: {role: admin, keys: [%q]}
ports:
  eth1: {group: gold, addresses: [10.1.0.1/24, "fd00:1::1/64"]}
  eth2: {addresses: [10.2.0.1/24, "fd00:2::1/64"]}
groups: {gold: 1}
tables:
  voice:
    id: 100
    routes:
      - {to: %s/32, via: 10.2.0.2}
      - {to: %s/128, via: "fd00:2::2"}
rules:
  - {name: gold, priority: 100, iif-group: gold, lookup: voice}
`, hostname, managementAddress, managementAddress, strings.TrimSpace(b.keyLine), voiceAddress, voiceAddress6)
}

// testOptions are the kernel's, for an image under test: the emulated machine is slow, and the test wants to end what runs there.
const testOptions = "sysrq_always_enabled=1"

// newBed builds the image, with the pinned kernel or that of other packages.
func newBed(t *testing.T, kernel ...string) *bed {
	t.Helper()
	vm.Require(t)
	b := &bed{t: t, dir: t.TempDir()}
	b.binary = filepath.Join(b.dir, "weir")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=test", "-o", b.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	_, b.signKey, _ = ed25519.GenerateKey(nil)
	b.key, b.keyLine = vm.NewKey(t)
	b.disk = filepath.Join(b.dir, "weir.img")
	_, err := image.Build(image.Options{
		Disk: b.disk, Format: "raw", Flavour: "cloud", Kernel: kernel, Binary: b.binary, Version: "test", SignKey: b.signKey, KernelOptions: testOptions, WorkerCPUs: "1",
		Config: []image.File{{Name: layout.ConfigFile, Data: []byte(b.configOf("first"))}},
	})
	need(t, err)
	l := lab.ForTest(t)
	host := must[*lab.Host](t)
	b.admin, b.left, b.right = host(l.Host("admin")), host(l.Host("left")), host(l.Host("right"))
	b.login = vm.Login{Host: b.admin, Address: managementAddress + ":22", User: "alice", Key: b.key}
	return b
}

// upgrade makes an upgrade with a binary and more options for the kernel.
func (b *bed) upgrade(binary, options string) []byte {
	b.t.Helper()
	file := filepath.Join(b.dir, "upgrade.efi")
	_, err := image.Build(image.Options{
		Upgrade: file, Format: "raw", Flavour: "cloud", Binary: binary, Version: "next", SignKey: b.signKey, KernelOptions: testOptions + " " + options,
	})
	need(b.t, err)
	return must[[]byte](b.t)(os.ReadFile(file))
}

// running is a machine that runs.
type running struct {
	*vm.Machine
	b       *bed
	t       *testing.T
	monitor string
}

// start switches a machine on, whose disk is the bed's, and waits until it answers.
func (b *bed) start(t *testing.T, disk string) *running {
	t.Helper()
	r := &running{b: b, t: t, monitor: filepath.Join(t.TempDir(), "monitor")}
	r.Machine = vm.Start(t, vm.Options{Disk: disk, CPU: b.cpu, NICs: []vm.NIC{
		{Host: b.admin, Device: "eth0", Addresses: []string{"192.0.2.2/24"}},
		{Host: b.left, Device: "eth0", Addresses: []string{"10.1.0.2/24", "fd00:1::2/64"}, Queues: 2, Properties: b.nics},
		{Host: b.right, Device: "eth0", Addresses: []string{"10.2.0.2/24", voiceAddress + "/32", "fd00:2::2/64", voiceAddress6 + "/128"}, Queues: 2, Properties: b.nics},
	}, Extra: []string{"-qmp", "unix:" + r.monitor + ",server=on,wait=off"}})
	for host, gateways := range map[*lab.Host][]string{b.left: {"10.1.0.1", "fd00:1::1"}, b.right: {"10.2.0.1", "fd00:2::1"}} {
		for _, gateway := range gateways {
			need(t, host.AddRoute(lab.Route{To: "default", Via: gateway, Device: "eth0"}))
		}
	}
	r.answers()
	t.Logf("SSH answers %v after the machine was switched on", r.Elapsed())
	return r
}

// answers waits until a command has been answered.
func (r *running) answers() { r.b.login.Await(r.t, "show system") }

// run has the machine carry out a command.
func (r *running) run(command string, stdin []byte) vm.Answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), vm.Patience)
	defer cancel()
	a, err := r.b.login.Run(ctx, command, bytes.NewReader(stdin))
	if err != nil {
		r.t.Fatalf("%s: %v", command, err)
	}
	return a
}

// ok is run for a command that must succeed.
func (r *running) ok(command string, stdin []byte) string {
	r.t.Helper()
	a := r.run(command, stdin)
	if a.Status != 0 {
		r.t.Fatalf("%s: status %d: %s%s", command, a.Status, a.Out, a.Err)
	}
	return a.Out
}

// askMachine is a command's JSON.
func askMachine[T any](r *running, command string) (v T) {
	r.t.Helper()
	text := r.ok(command+" | json", nil)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		r.t.Fatalf("%s: %v: %s", command, err, text)
	}
	return v
}

func (r *running) hostname() string { return askMachine[systemState](r, "show system").Hostname }

// comingBack is how long an image may take that is tried three times, and then the one before it.
const comingBack = 4 * vm.Patience

// await asks for the platform until it is as it shall be; SSH may be gone meanwhile.
func (r *running) await(what string, condition func(p *boot.Platform) bool) *boot.Platform {
	r.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(comingBack); ; <-tick.C {
		ctx, cancel := context.WithTimeout(context.Background(), vm.Patience/10)
		a, err := r.b.login.Run(ctx, "show platform | json", nil)
		cancel()
		var p boot.Platform
		if err == nil && a.Status == 0 {
			need(r.t, json.Unmarshal([]byte(a.Out), &p))
			if condition(&p) {
				return &p
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %+v, %v", what, a, err)
		}
	}
}

// blessed waits until the slot that runs has shown that it works.
func (r *running) blessed(slot layout.Slot) *boot.Platform {
	r.t.Helper()
	return r.await("slot "+string(slot)+" is not blessed", func(p *boot.Platform) bool {
		return p.Slot == slot && p.Trial == "" && slices.ContainsFunc(p.Images, func(i boot.Image) bool { return i.Running && i.Blessed })
	})
}

// passes waits until packets from left come to right by the table voice, and back.
func (r *running) passes(to string) {
	r.t.Helper()
	eventually(r.t, "nothing passes to "+to, func() (bool, any) {
		echo, err := r.b.left.Ping(context.Background(), lab.PingOptions{To: netip.MustParseAddr(to), Timeout: 2 * time.Second})
		return err == nil && echo.Error == nil, fmt.Sprint(err, echo.Error)
	})
}

// TestAppliance is the life of an appliance: it boots, is configured, forwards by policy, loses its data plane, loses its power, and is upgraded.
func TestAppliance(t *testing.T) {
	b := newBed(t)
	disk := vm.Copy(t, b.disk)
	r := b.start(t, disk)
	r.blessed(layout.SlotA)

	r.passes(voiceAddress)
	r.passes(voiceAddress6)
	for _, p := range askMachine[[]appliance.PortState](r, "show ports") {
		t.Logf("%s: %s, %s, driver %s, %d received", p.Name, p.Mode, p.XDP, p.Driver, p.Received)
		if p.XDP != "driver" || p.Driver != "virtio_net" || p.Received == 0 {
			t.Errorf("port %s: XDP %s, driver %s, %d received", p.Name, p.XDP, p.Driver, p.Received)
		}
	}
	if workers := askMachine[[]appliance.WorkerState](r, "show workers"); len(workers) != 1 || workers[0].CPU != 1 {
		t.Errorf("workers are not on the CPU that is isolated for them: %+v", workers)
	}
	p := askMachine[boot.Platform](r, "show platform")
	if p.CPUs.Isolated != "1" || len(p.IRQs) == 0 || p.Watchdog == nil || p.DataPlane.Starts != 1 || len(p.Trouble) > 0 {
		t.Errorf("platform %+v", p)
	}
	for _, irq := range p.IRQs {
		if irq.Port != "eth0" && strings.Contains(irq.Name, "put.") && irq.Affinity != "0" { // beside the worker
			t.Errorf("%+v", irq)
		}
	}
	if out := r.ok("explain iif=eth2 src=10.2.0.2 dst="+voiceAddress, nil); strings.Contains(out, "FORWARD") {
		t.Errorf("by no policy at all: %s", out)
	}
	t.Run("reload", func(t *testing.T) {
		r.ok("reload", []byte(b.configOf("second")))
		if got := r.hostname(); got != "second" {
			t.Errorf("it is called %s", got)
		}
		r.passes(voiceAddress)
	})
	t.Run("killed", func(t *testing.T) { r.killed(t) })
	t.Run("not confirmed", func(t *testing.T) {
		r.ok("commit confirmed 10", []byte(b.configOf("third")))
		r.ok("request power-off", nil)
		r.AwaitOff()
		r = b.start(t, disk)
		if got := r.hostname(); got != "second" {
			t.Errorf("it is called %s after a commit that nobody confirmed", got)
		}
		r.passes(voiceAddress)
		r.Cut()
	})
	t.Run("power cut", func(t *testing.T) { b.powerCuts(t, disk, 2) })
	t.Run("upgrade", func(t *testing.T) { b.upgrades(t, disk) })
}

// killed ends the data plane under traffic, and waits until it forwards again. Meanwhile the kernel does.
func (r *running) killed(t *testing.T) {
	to := netip.MustParseAddr(voiceAddress)
	before := r.await("the data plane does not run", func(p *boot.Platform) bool { return p.DataPlane.Phase == boot.Ready }).DataPlane
	ctx, stop := context.WithCancel(testContext(t))
	gaps := make(chan time.Duration, 1)
	go func() { // pings, and takes the longest time without an answer
		longest, last := time.Duration(0), time.Now()
		for ctx.Err() == nil {
			echo, err := r.b.left.Ping(ctx, lab.PingOptions{To: to, Timeout: 100 * time.Millisecond})
			if err == nil && echo.Error == nil {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		}
		gaps <- longest
	}()
	begun := time.Now()
	need(t, r.sysrq('f')) // the kernel ends what is largest
	p := r.await("the data plane was not started again", func(p *boot.Platform) bool {
		return p.DataPlane.Starts > before.Starts && p.DataPlane.Phase == boot.Ready
	})
	took := time.Since(begun)
	r.passes(voiceAddress)
	stop()
	if p.DataPlane.PID == before.PID || p.DataPlane.Ended == "" {
		t.Errorf("data plane %+v, before %+v", p.DataPlane, before)
	}
	t.Logf("killed under pings: none answered for %v at most; SSH told after %v that it runs again (%s)", <-gaps, took.Round(time.Millisecond), p.DataPlane.Ended)
}
