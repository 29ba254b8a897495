package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// fakeRoot has files below it, by their paths.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindPartition(t *testing.T) {
	root := fakeRoot(t, map[string]string{
		"sys/class/block/sda/uevent":       "MAJOR=8\nDEVNAME=sda\nDEVTYPE=disk\n",
		"sys/class/block/sda1/uevent":      "DEVNAME=sda1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=WEIR-ESP\n",
		"sys/class/block/nvme0n1p2/uevent": "DEVNAME=nvme0n1p2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=WEIR-CONFIG\n",
		"sys/class/block/sdb3/uevent":      "DEVNAME=sdb3\nDEVTYPE=partition\nPARTNAME=WEIR-CONFIG\n",
		"sys/class/block/sdc/uevent":       "DEVNAME=sdc\nDEVTYPE=disk\nPARTNAME=WEIR-ODD\n",
		"sys/class/block/sdd1/uevent":      "DEVNAME=sdd1\nDEVTYPE=partition\n",
	})
	for label, want := range map[string]string{layout.ESP: "sda1", layout.Config: "nvme0n1p2"} {
		if got, err := findPartition(root, label); err != nil || got != filepath.Join(root, "dev", want) {
			t.Errorf("%s: %s, %v", label, got, err)
		}
	}
	for _, label := range []string{"WEIR-ODD", "OTHER", ""} {
		if got, err := findPartition(root, label); !errors.Is(err, errNoPartition) {
			t.Errorf("%q: %s, %v", label, got, err)
		}
	}
	if _, err := findPartition(t.TempDir(), layout.ESP); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without sysfs: %v", err)
	}
	// The device may come after its entry in sysfs.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := awaitPartition(ctx, root, layout.ESP); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a device: %v", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "dev"), 0o755), os.WriteFile(filepath.Join(root, "dev/sda1"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := awaitPartition(ctx, root, layout.ESP); err != nil {
		t.Error(err)
	}
}

func TestLoadModules(t *testing.T) {
	root := fakeRoot(t, map[string]string{layout.ModulesFile: "/lib/a.ko\n\n# a comment\n/lib/bad.ko\n/lib/b.ko\n"})
	var got []string
	n, err := loadModules(root, func(path string) error {
		got = append(got, strings.TrimPrefix(path, root))
		if strings.HasSuffix(path, "bad.ko") {
			return unix.EINVAL
		}
		return nil
	})
	if n != 2 || !errors.Is(err, unix.EINVAL) || !slices.Equal(got, []string{"/lib/a.ko", "/lib/bad.ko", "/lib/b.ko"}) {
		t.Errorf("%d loaded, %v: %v", n, err, got)
	}
	if n, err := loadModules(t.TempDir(), nil); n != 0 || err != nil {
		t.Errorf("without a list: %d, %v", n, err)
	}
}

func TestFirstConfig(t *testing.T) {
	read := func(dir string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, layout.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	dir := fakeRoot(t, map[string]string{layout.KeysFile: "# who\nssh-ed25519 AAAAC3 alice \"x\"\n\n"})
	if made, err := ensureConfig(dir); !made || err != nil || !strings.Contains(read(dir), `- "ssh-ed25519 AAAAC3 alice \"x\""`) || !strings.Contains(read(dir), "dhcp: true") {
		t.Errorf("%v, %v: %s", made, err, read(dir))
	}
	if made, err := ensureConfig(dir); made || err != nil {
		t.Errorf("made again: %v", err)
	}
	dir = t.TempDir()
	if made, err := ensureConfig(dir); !made || err != nil || strings.Contains(read(dir), "ssh") {
		t.Errorf("%v, %v: %s", made, err, read(dir))
	}
	dir = fakeRoot(t, map[string]string{layout.KeysFile: "from=\"10.0.0.1\" ssh-ed25519 AAAAC3\n"})
	if _, err := ensureConfig(dir); err == nil || strings.Contains(read(dir), "AAAA") {
		t.Errorf("a key with options: %v: %s", err, read(dir))
	}
}

func TestJudge(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:22")
	fine := func(netip.AddrPort) error { return nil }
	silent := func(netip.AddrPort) error { return unix.ECONNREFUSED }
	for _, c := range []struct {
		name    string
		health  Health
		ports   []string
		answers func(netip.AddrPort) error
		want    string
	}{
		{"all is well", Health{Ports: []string{"eth1", "eth2"}, SSH: []netip.AddrPort{at}}, []string{"eth1"}, fine, ""},
		{"no SSH asked for", Health{}, nil, silent, ""},
		{"trouble", Health{Trouble: []string{"the file is not in force"}}, nil, fine, "the file is not in force"},
		{"a port is lost", Health{Ports: []string{"eth1"}}, []string{"eth1", "eth2", "eth3"}, fine, "not up, and were before: eth2, eth3"},
		{"SSH is silent", Health{SSH: []netip.AddrPort{at}}, nil, silent, "SSH does not answer: connection refused"},
	} {
		if got := judge(c.health, c.ports, c.answers); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestAnswersSSH(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	banners := make(chan string, 3)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, <-banners)
			c.Close()
		}
	}()
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	for banner, want := range map[string]bool{"SSH-2.0-weir\r\n": true, "HTTP/1.1 400 Bad Request\r\n": false, "SSH": false} {
		banners <- banner
		if err := answersSSH(netip.AddrPortFrom(netip.IPv4Unspecified(), port)); (err == nil) != want {
			t.Errorf("%q: %v", banner, err)
		}
	}
	l.Close()
	if err := answersSSH(netip.AddrPortFrom(netip.IPv4Unspecified(), port)); err == nil {
		t.Error("nobody listens, and yet it answers")
	}
}

// TestRequests: what root asks of PID 1 is answered, and goes on only when the answer was taken.
func TestRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot.sock")
	l, err := listenRequests(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	done := make(chan string, 10)
	s := &requests{
		answer: func(_ context.Context, do string, in io.Reader) (answer, error) {
			switch do {
			case AskUpgrade:
				text, err := io.ReadAll(in)
				return answer{Text: fmt.Sprintf("%d bytes", len(text))}, err
			case AskPlatform:
				return answer{Platform: &Platform{Version: "7"}}, nil
			}
			return answer{}, errors.New("not today")
		},
		done: func(do string) { done <- do },
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.serve(ctx, l) }()
	c := Client{path}
	if p, err := c.Platform(ctx); err != nil || p.Version != "7" {
		t.Errorf("%v, %v", p, err)
	}
	if did := <-done; did != AskPlatform {
		t.Errorf("done: %s", did)
	}
	text, told, err := c.Ask(ctx, AskUpgrade, bytes.NewReader(make([]byte, 1<<20)))
	if err != nil || text != "1048576 bytes" {
		t.Errorf("%q, %v", text, err)
	}
	select {
	case did := <-done:
		t.Errorf("%s was done before it was told", did)
	default:
	}
	told()
	if did := <-done; did != AskUpgrade {
		t.Errorf("done: %s", did)
	}
	if _, told, err := c.Ask(ctx, AskReboot, nil); err == nil || err.Error() != "not today" {
		t.Errorf("%v", err)
	} else {
		told()
	}
	if _, _, err := c.Ask(ctx, AskUpgrade, &failing{}); !errors.Is(err, errBroken) {
		t.Errorf("input that breaks: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := (Client{path}).Platform(context.Background()); err == nil {
		t.Error("nobody listens, and yet it answers")
	}
}

// TestConfigPartition mounts a file system in a file: whole, and with a journal that a power cut left.
func TestConfigPartition(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	image := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-F", "-t", "ext4", image, "16M").CombinedOutput(); err != nil {
		t.Skipf("mke2fs: %v: %s", err, out)
	}
	loop, err := exec.Command("/sbin/losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	device := strings.TrimSpace(string(loop))
	at := filepath.Join(t.TempDir(), "at")
	defer func() {
		_ = unix.Unmount(at, 0)                                     // unless it is by now
		_ = exec.Command("/sbin/blockdev", "--setrw", device).Run() // the next user of the loop device would have it read-only
		if err := exec.Command("/sbin/losetup", "-d", device).Run(); err != nil {
			t.Error(err)
		}
	}()
	trouble, err := mountConfig(device, at)
	if err != nil || trouble != "" {
		t.Fatalf("%q, %v", trouble, err)
	}
	if err := errors.Join(writeDurably(filepath.Join(at, "file"), []byte("text")), unix.Unmount(at, 0)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/sbin/blockdev", "--setro", device).Run(); err != nil {
		t.Fatal(err)
	}
	trouble, err = mountConfig(device, at)
	if err != nil || !strings.Contains(trouble, "read-only") {
		t.Fatalf("on a disk that cannot be written: %q, %v", trouble, err)
	}
	if text, err := os.ReadFile(filepath.Join(at, "file")); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := mountConfig(os.DevNull, at); err == nil {
		t.Error("mounted nothing")
	}
}

func TestKeepCrash(t *testing.T) {
	dir := t.TempDir()
	for i := range crashLogs + 5 {
		if err := keepCrash(dir, fmt.Sprintf("end %d", i), []byte("last words\n")); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(logs) != crashLogs {
		t.Fatalf("%v, %v", logs, err)
	}
	text, err := os.ReadFile(logs[crashLogs-1])
	if err != nil || string(text) != fmt.Sprintf("last words\nend %d\n", crashLogs+4) {
		t.Errorf("%q, %v", text, err)
	}
}

// TestTail: the last words are kept, and passed on to a console as far as it takes them.
func TestTail(t *testing.T) {
	in, out := io.Pipe() // takes nothing unless somebody reads
	l := newTail(out)
	defer close(l.pass)
	for i := range 20000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	last := string(l.take())
	if len(last) > tailMax || !strings.HasPrefix(last, "line ") || !strings.HasSuffix(last, "line 19999\n") || len(l.take()) != 0 {
		t.Errorf("%d bytes: %.20q … %q", len(last), last, last[max(0, len(last)-20):])
	}
	first := make([]byte, len("line 0\n"))
	if _, err := io.ReadFull(in, first); err != nil || string(first) != "line 0\n" {
		t.Errorf("%q, %v", first, err)
	}
	in.Close()
}

func TestPage(t *testing.T) {
	p := page{Version: "7", Slot: "A", Child: Child{Phase: Ready, Starts: 1}, Fingerprint: "SHA256:x", Addresses: []string{"192.0.2.1 (eth0)"}}
	for _, part := range []string{"weir 7, slot A", "state      running", "address    192.0.2.1 (eth0)", "host key   SHA256:x"} {
		if !strings.Contains(p.text(), part) {
			t.Errorf("%q lacks %q", p.text(), part)
		}
	}
	var out bytes.Buffer
	c := &console{out: &out}
	c.read(strings.NewReader("\nshow ports\n"), func() page { return p }, nil)
	if strings.Count(out.String(), "weir 7") != 2 {
		t.Errorf("without commands, whatever is typed shows the page: %q", out.String())
	}
	out.Reset()
	c.read(strings.NewReader("\nshow ports\n"), func() page { return p }, func(line string) string { return "<" + line + ">" })
	if strings.Count(out.String(), "weir 7") != 1 || !strings.Contains(out.String(), "<show ports>\n") {
		t.Errorf("%q", out.String())
	}
}

func TestTune(t *testing.T) {
	files := map[string]string{
		"sys/devices/system/cpu/online": "0-3\n",
		"sys/class/net/lo/flags":        "",
		"proc/interrupts": " 24: 1 2 PCI-MSI 1-edge virtio1-config\n 25: 1 2 PCI-MSI 2-edge virtio1-input.0\n 26: 0 0 PCI-MSI 3-edge virtio1-output.0\n" +
			" 27: 0 0 PCI-MSI virtio1-input.1\nNMI: 0 0 Non-maskable interrupts\n",
	}
	for _, n := range []string{"24", "25", "26", "27"} {
		files["sys/devices/pci0/0000:00:03.0/msi_irqs/"+n] = "msix"
		files["proc/irq/"+n+"/smp_affinity_list"] = "0-3"
	}
	root := fakeRoot(t, files)
	device := filepath.Join(root, "sys/devices/pci0/0000:00:03.0/virtio1")
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "sys/class/net/eth1"), 0o755), os.Mkdir(device, 0o755),
		os.Symlink(device, filepath.Join(root, "sys/class/net/eth1/device"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		workers []int
		want    string
	}{
		{[]int{2, 3}, "0-3 0 0 1"},       // two CPUs are left for two workers
		{[]int{1, 2, 3}, "0-3 1 1 2"},    // one is not enough for three
		{[]int{3}, "0-3 0 0 0"},          // all queues are one worker's
		{[]int{0, 1, 2, 3}, "0-3 0 0 1"}, // none is left
	} {
		_ = os.WriteFile(filepath.Join(root, "proc/irq/24/smp_affinity_list"), []byte("0-3"), 0o644)
		if err := tune(root, []string{"eth1", "gone"}, c.workers); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, irq := range readIRQs(root, "eth1") {
			got = append(got, irq.Affinity)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("workers %v: %v, expected %s", c.workers, got, c.want)
		}
	}
	if got := netdevs(root); !slices.Equal(got, []string{"eth1"}) {
		t.Errorf("netdevs %v", got)
	}
	for name, want := range map[string]int{"eth0-TxRx-3": 3, "mlx5_comp12@pci:0000:00:04.0": 12, "virtio1-config": -1, "i40e-0000:01:00.0:misc": -1, "": -1} {
		if queue, ok := queueOf(name); ok != (want >= 0) || ok && queue != want {
			t.Errorf("%s: queue %d, %v", name, queue, ok)
		}
	}
}
