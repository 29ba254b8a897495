package image

import (
	"strings"
	"testing"
)

func TestOtherCPUs(t *testing.T) {
	for list, want := range map[string]string{"2-7": "0-1", "1": "0", "2,3": "0-1", "1,3": "0,2", "3-4,8": "0-2,5-7", "2-3,5,7-7": "0-1,4,6"} {
		if got, err := otherCPUs(list); err != nil || got != want {
			t.Errorf("%s: %q, %v; expected %q", list, got, err, want)
		}
	}
	for _, list := range []string{"", "0", "0-3", "7-2", "x", "1-", "-3", "1,,2", "1 2", "9999", "1-99999"} {
		if got, err := otherCPUs(list); err == nil {
			t.Errorf("%q: %q and no error", list, got)
		}
	}
}

func TestCommandLine(t *testing.T) {
	got, err := Options{WorkerCPUs: "2-7", HugePages: 3, KernelOptions: " a=b \n c "}.commandLine()
	const want = "weir.boot=1 weir.slot=A console=tty0 console=ttyS0,115200n8 panic=10 loglevel=4 isolcpus=managed_irq,domain,2-7 " +
		"nohz_full=2-7 rcu_nocbs=2-7 irqaffinity=0-1 default_hugepagesz=2M hugepages=3 a=b c"
	if err != nil || got != want {
		t.Errorf("%v\n%s, expected\n%s", err, got, want)
	}
	if _, err := (Options{HugePages: -1}).commandLine(); err == nil || !strings.Contains(err.Error(), "-1") {
		t.Errorf("less than no huge pages: %v", err)
	}
}
