package boot

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// page is what the console shows: there is nobody to log in there.
type page struct {
	Version     string
	Slot        layout.Slot
	Fingerprint string // of the SSH host key
	Addresses   []string
	Child       Child
	Trial       string
	Upgrade     *Upgrade // that failed
	Trouble     []string
}

func (p *page) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "\nweir %s, slot %s\n", p.Version, p.Slot)
	state := string(p.Child.Phase)
	if p.Child.LastGood {
		state += ", with the last good configuration"
	}
	line("state", "%s", state)
	if p.Child.Ended != "" {
		line("", "started %d times; it ended last at %s: %s", p.Child.Starts, p.Child.EndedAt.UTC().Format("15:04:05"), p.Child.Ended)
	}
	if p.Trial != "" {
		line("image", "%s", p.Trial)
	}
	if p.Upgrade != nil {
		line("upgrade", "generation %d in slot %s was tried, and is given up: %s", p.Upgrade.Generation, p.Upgrade.Slot, p.Upgrade.Reason)
	}
	for _, a := range p.Addresses {
		line("address", "%s", a)
	}
	if len(p.Addresses) == 0 {
		line("address", "none yet")
	}
	if p.Fingerprint != "" {
		line("host key", "%s", p.Fingerprint)
	}
	for _, t := range p.Trouble {
		line("TROUBLE", "%s", t)
	}
	return b.String()
}

// console is the machine's.
type console struct {
	out io.Writer
	mu  sync.Mutex // one at a time writes
}

// say writes a line of the log.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "weir: "+format+"\n", args...)
}

// Write writes what the data plane logs, line by line.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

// show writes the page.
func (c *console) show(p page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, p.text())
}

const (
	typedMax = 1024 // bytes of a line
	prompt   = "weir# "
)

// read shows the page whenever somebody presses Enter, and where run is not nil has it answer the lines that he types.
func (c *console) read(in io.Reader, current func() page, run func(line string) string) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, typedMax), typedMax)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || run == nil {
			c.show(current())
		} else {
			output := strings.TrimRight(run(line), "\n")
			c.mu.Lock()
			fmt.Fprintln(c.out, output)
			c.mu.Unlock()
		}
		if run != nil {
			c.mu.Lock()
			_, _ = io.WriteString(c.out, prompt)
			c.mu.Unlock()
		}
	}
}

// watchAddresses tells the addresses that the machine can be reached at, each time that they change, until the context ends.
func watchAddresses(ctx context.Context, tell func([]string)) error {
	updates := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribe(updates, ctx.Done()); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	var last []string
	for {
		if now, err := addresses(); err == nil && !slices.Equal(now, last) {
			last = now
			tell(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				return fmt.Errorf("watch addresses: %w", unix.ENOBUFS)
			}
		}
	}
}

func addresses() (list []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			continue // gone
		}
		for _, a := range addrs {
			ip, ok := netip.AddrFromSlice(a.IP)
			if ip = ip.Unmap(); ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				list = append(list, fmt.Sprintf("%s (%s)", ip, link.Attrs().Name))
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// tail keeps the end of what is written to it, and passes it on to one who may be slow.
type tail struct {
	pass chan []byte

	mu   sync.Mutex
	text []byte
}

const (
	tailMax = 64 << 10
	passMax = 256 // pieces on their way; what comes beyond is not passed on
)

func newTail(out io.Writer) *tail {
	t := &tail{pass: make(chan []byte, passMax)}
	go func() {
		for p := range t.pass {
			_, _ = out.Write(p)
		}
	}()
	return t
}

// Write neither fails nor waits: a console that takes nothing must not stop who logs.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.text = append(t.text, p...)
	if beyond := len(t.text) - tailMax; beyond > 0 {
		t.text = append(t.text[:0], t.text[beyond:]...)
	}
	t.mu.Unlock()
	select {
	case t.pass <- bytes.Clone(p):
	default:
	}
	return len(p), nil
}

// take returns the end, from a whole line on, and forgets it.
func (t *tail) take() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.text
	t.text = nil
	if len(text) == tailMax {
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return text
}
