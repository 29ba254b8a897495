package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/appliance/image"
	"weir/appliance/image/layout"
	"weir/appliance/image/vm"
	"weir/perf/lab"
)

// TestBoots starts an image of each flavour whose PID 1 looks at what the image gives it: the command line, modules, both partitions to
// write to, a NIC. It renames its slot, which the next start finds good.
func TestBoots(t *testing.T) {
	vm.Require(t)
	standin := buildStandin(t)
	for _, flavour := range []string{"cloud", "metal"} {
		t.Run(flavour, func(t *testing.T) {
			host, err := lab.ForTest(t).Host("client")
			if err != nil {
				t.Fatal(err)
			}
			disk := filepath.Join(t.TempDir(), "weir.img")
			build(t, image.Options{
				Disk: disk, Format: "raw", Flavour: flavour, Binary: standin, Version: "test", WorkerCPUs: "1", HugePages: 4, KernelOptions: "extra=word",
				Config: []image.File{{Name: layout.ConfigFile, Data: []byte("version: 1\n")}}, Keys: []byte("ssh-ed25519 AAAA somebody\n"),
			})
			options := vm.Options{Disk: disk, NICs: []vm.NIC{{Host: host, Device: "eth0", Queues: 2}}, Watchdog: flavour == "metal"}
			m := vm.Start(t, options)
			said := func(expression string) {
				t.Helper()
				if line := m.Await(`standin: .*: (?s:.*?)\r\n`)[0]; !regexp.MustCompile(`^standin: ` + expression + `: <nil>\r\n$`).MatchString(line) {
					t.Errorf("%q, expected %s", line, expression)
				}
			}
			for _, expression := range []string{"mount proc", "mount sysfs", "mount dev",
				`command line weir.boot=1 weir.slot=A .*isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1 irqaffinity=0 default_hugepagesz=2M hugepages=4 extra=word`,
				"load true", "mount WEIR-CONFIG", "mount WEIR-ESP",
				"see /config/authorized_keys /config/lost.found /config/weir.yaml", "see /esp/EFI/BOOT /esp/EFI/Linux /esp/loader/loader.conf", "see /sys/class/net/eth0 /sys/class/net/lo",
				"see /dev/net/tun", "see /dev/watchdog", "write", "unmount", "done"} {
				said(expression)
			}
			m.AwaitOff()
			t.Logf("on for %v", m.Elapsed())
			if got := vm.Slots(t, disk); !slices.Equal(got, []string{"weir-A.efi"}) {
				t.Errorf("slots after the first start: %v", got)
			}
			config := vm.Config(t, disk)
			for name, want := range map[string]string{"weir.yaml": "version: 1\n", "authorized_keys": "ssh-ed25519 AAAA somebody\n", "written": "here\n"} {
				if got := vm.ReadConfig(t, config, name); got != want {
					t.Errorf("%s is %q, not %q", name, got, want)
				}
			}
		})
	}
}

// buildStandin builds the PID 1 of these tests.
func buildStandin(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "standin")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", name, "./testdata/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v: %s", err, out)
	}
	return name
}

// build builds an image.
func build(t *testing.T, o image.Options) *image.Manifest {
	t.Helper()
	needTools(t)
	m, err := image.Build(o)
	if err != nil {
		t.Fatal(strings.TrimSpace(err.Error()))
	}
	return m
}

// needTools skips the test where there is no apt and what else building needs, unless that is where it should be.
func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"apt-get", "dpkg-deb", "/sbin/mke2fs", "/sbin/debugfs", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: `make setup-image` installs it", err)
			}
			t.Skipf("%v: images are not built (`make setup-image` installs what it needs)", err)
		}
	}
}
