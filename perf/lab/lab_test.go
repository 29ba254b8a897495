package lab

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
)

func TestLinkIsReady(t *testing.T) {
	r := newRouted(t)
	for _, end := range []struct {
		host *Host
		name string
	}{{r.client, "eth0"}, {r.router, "em0"}} {
		features := must[map[string]bool](t)(end.host.Features(end.name))
		for _, off := range []string{"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-generic-segmentation", "tx-vlan-hw-insert"} {
			if on, known := features[off]; on || !known {
				t.Errorf("%s of %s: %v, known %v", off, end.host.Name(), on, known)
			}
		}
		if !features["rx-gro"] {
			t.Errorf("rx-gro of %s is off", end.host.Name())
		}
	}
	if _, err := r.client.Sysfs("class/net/eth0/queues/rx-1/rps_cpus"); err != nil {
		t.Error(err)
	}
	if _, err := r.client.Sysfs("class/net/eth0/queues/rx-2/rps_cpus"); err == nil {
		t.Error("a third queue")
	}
	check(t, r.router.SetSysfs("class/net/em0/threaded", "1"))
	if got := must[string](t)(r.router.Sysfs("class/net/em0/threaded")); got != "1" {
		t.Errorf("threaded is %q", got)
	}
}

func TestLinkChanges(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	check(t, r.router.SetDown("em0"), r.client.WaitCarrierLost(ctx, "eth0"))
	if _, err := r.client.Ping(ctx, PingOptions{To: router6, Timeout: 1}); err == nil {
		t.Error("a ping passed a link that is down")
	}
	check(t, r.router.SetUp("em0"), r.client.WaitUp(ctx, "eth0"))
	must[Echo](t)(r.client.Ping(ctx, PingOptions{To: router6}))

	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	check(t, r.client.SetMAC("eth0", mac))
	if got := must[net.HardwareAddr](t)(r.client.MAC("eth0")); got.String() != mac.String() {
		t.Errorf("MAC %s", got)
	}
	must[Echo](t)(r.client.Ping(ctx, PingOptions{To: router4}))

	check(t, r.near.Delete(), r.router.WaitDevice(ctx, "em0", false))
	check(t, r.near.Recreate(), r.router.WaitUp(ctx, "em0"))
	must[Echo](t)(r.client.Ping(ctx, PingOptions{To: router6}))

	check(t, r.client.AddNeighbor("eth0", netip.MustParseAddr("192.0.2.77"), mac),
		r.client.RemoveNeighbor("eth0", netip.MustParseAddr("192.0.2.77")),
		r.client.AddAddress("eth0", "192.0.2.78/24"), r.client.RemoveAddress("eth0", "192.0.2.78/24"))
	if err := r.client.RemoveAddress("eth0", "192.0.2.78/24"); err == nil {
		t.Error("an address was removed twice")
	}
}

func TestDoComesBack(t *testing.T) {
	l := ForTest(t)
	h := must[*Host](t)(l.Host("a"))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := must[netns.NsHandle](t)(netns.Get())
	defer before.Close()
	want := errors.New("mine")
	if err := h.Do(func() error {
		inside, err := netns.Get()
		if err != nil {
			return err
		}
		defer inside.Close()
		if !inside.Equal(h.ns) {
			t.Error("not inside")
		}
		return want
	}); err != want {
		t.Errorf("error %v", err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); err != ErrNoReturn {
		t.Errorf("after Goexit: %v", err)
	}
	if err := <-h.Go(func() error { return want }); err != want {
		t.Errorf("Go: %v", err)
	}
	after := must[netns.NsHandle](t)(netns.Get())
	defer after.Close()
	if !after.Equal(before) {
		t.Error("this thread has moved")
	}
	check(t, l.Close(), l.Close())
	if err := h.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := l.Host("b"); !errors.Is(err, ErrClosed) {
		t.Errorf("host after Close: %v", err)
	}
}

func TestCommand(t *testing.T) {
	l := ForTest(t)
	h := must[*Host](t)(l.Host("a"))
	ctx := testContext(t)
	p := must[*Process](t)(h.Command(ctx, "sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net; echo oops >&2; exit 3"))
	if err := p.Wait(); err == nil {
		t.Error("exit code 3 is no error")
	}
	if out := p.Output(); !strings.HasPrefix(out, "lo\nnet:[") || !strings.Contains(out, "oops") {
		t.Errorf("output %q", out)
	}

	// One that is stopped by its context, and one that leaves a child in a session of its own.
	cancelled, cancel := context.WithCancel(ctx)
	p = must[*Process](t)(h.Command(cancelled, "sleep", "1000"))
	cancel()
	<-p.Done()
	must[*Process](t)(h.Command(ctx, "sh", "-c", "setsid sleep 1000 & exec sleep 1000"))
	left := must[[]string](t)(Leftovers())
	if len(left) < 3 { // the namespace, its descriptor, a process
		t.Errorf("left over before Close: %q", left)
	}
	check(t, l.Close())
	if left := must[[]string](t)(Leftovers()); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestNotify(t *testing.T) {
	l := ForTest(t)
	h := must[*Host](t)(l.Host("a"))
	n := must[*Notify](t)(l.ListenNotify())
	ctx := testContext(t)
	check(t, h.Do(func() error {
		conn, err := net.Dial("unixgram", strings.TrimPrefix(n.Env(), "NOTIFY_SOCKET="))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("STATUS=x\nREADY=1"))
		return err
	}))
	check(t, n.Wait(ctx, "READY=1"), n.Close(), n.Close())
}

// victim is the child of TestSignal and TestStale.
func victim() {
	if os.Getenv("LAB_TEST_VICTIM") == "handle" {
		CloseOnSignal()
	}
	l, err := New()
	if err != nil {
		panic(err)
	}
	h, err := l.Host("victim")
	if err != nil {
		panic(err)
	}
	p, err := h.Command(context.Background(), "sleep", "1000")
	if err != nil {
		panic(err)
	}
	println(h.Namespace(), p.PID())
	select {}
}

// startVictim returns a process that has a laboratory, its namespace's path, and the PID of a process inside.
func startVictim(t *testing.T, mode string) (cmd *exec.Cmd, path, pid string) {
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "LAB_TEST_VICTIM="+mode)
	stderr, err := cmd.StderrPipe()
	check(t, err, cmd.Start())
	line, err := bufio.NewReader(stderr).ReadString('\n')
	check(t, err)
	name, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
	path = filepath.Join(namespaceDir, name)
	_, err = os.Stat(path)
	check(t, err)
	return cmd, path, pid
}

func TestSignal(t *testing.T) {
	ForTest(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, path, pid := startVictim(t, "handle")
		check(t, cmd.Process.Signal(sig))
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
			t.Errorf("ended with %v, not by %v", err, sig)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left after %v", path, sig)
		}
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is left after %v", pid, sig)
		}
	}
}

func TestStale(t *testing.T) {
	ForTest(t)
	cmd, path, _ := startVictim(t, "ignore")
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("a killed process cannot clean up, but: %v", err)
	}
	check(t, must[*Lab](t)(New()).Close())
	if _, err := os.Stat(path); err == nil {
		t.Errorf("%s is left", path)
	}
}
