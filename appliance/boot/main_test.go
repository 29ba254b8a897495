package boot

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain has the test program be other processes too.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asBoot) != "":
		beBoot()
	case os.Getenv(asChild) != "":
		beChild(os.Getenv(asChild))
	default:
		os.Exit(m.Run())
	}
}

func inNamespaces(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET}
}

// beBoot tries to be the appliance, and says what it came to.
func beBoot() {
	if os.Getpid() != 1 {
		fmt.Println("not PID 1, but", os.Getpid())
	}
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	mounts := func() string {
		text, err := os.ReadFile("/tmp/proc-of-the-test/self/mountinfo")
		check(err)
		return string(text)
	}
	check(os.MkdirAll("/tmp/proc-of-the-test", 0o755))
	defer os.Remove("/tmp/proc-of-the-test")
	check(unix.Mount("proc", "/tmp/proc-of-the-test", "proc", 0, ""))
	if os.Getenv("PROCFS") == "" { // as in an initramfs, where nothing is mounted yet
		check(unix.Mount("tmpfs", "/proc", "tmpfs", unix.MS_RDONLY, ""))
	}
	before := mounts()
	fmt.Println(Run(Hooks{}))
	if mounts() == before {
		fmt.Println("mounts are as they were")
	}
	check(unix.Unmount("/tmp/proc-of-the-test", 0))
}
