package lab

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Host is one network namespace of a laboratory. Its methods may be called from several goroutines.
type Host struct {
	lab       *Lab
	name      string // as given to Lab.Host
	namespace string // as in /run/netns
	inode     uint64
	ns        netns.NsHandle
	netlink   *netlink.Handle // of this namespace, usable from any thread

	mu        sync.Mutex
	keeper    *keeper // made when first needed
	processes []*Process
	closed    bool
}

var hostNamePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// ErrNoReturn is returned by Host.Do for a function that ended its goroutine instead of returning.
var ErrNoReturn = errors.New("function did not return")

// Host makes a namespace of that name, which must be unique in the laboratory. lo is up, reverse-path filters are
// off, and IPv6 addresses are usable as soon as they are set (no duplicate address detection), also after the link
// went down and up again.
func (l *Lab) Host(name string) (*Host, error) {
	if !hostNamePattern.MatchString(name) {
		return nil, fmt.Errorf("make host %q: name is not letters, digits, dots and dashes", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("make host %s: %w", name, ErrClosed)
	}
	h := &Host{lab: l, name: name, namespace: fmt.Sprintf("weir-%d-%d-%s", os.Getpid(), l.id, name)}
	var err error
	if h.ns, err = makeNamespace(h.namespace); err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	if err := h.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("make host %s: %w", name, err), h.close())
	}
	l.hosts = append(l.hosts, h)
	return h, nil
}

// hostSysctls are set in every new namespace.
var hostSysctls = [][2]string{
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv6/conf/all/disable_ipv6", "0"},
	{"net/ipv6/conf/default/disable_ipv6", "0"},
	{"net/ipv6/conf/all/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/default/router_solicitations", "0"},
	{"net/ipv6/conf/all/keep_addr_on_down", "1"},
	{"net/ipv6/conf/default/keep_addr_on_down", "1"},
}

func (h *Host) prepare() error {
	var err error
	if h.inode, err = namespaceInode(h.ns); err != nil {
		return err
	}
	cookie, err := namespaceCookie(h.ns)
	if err != nil {
		return err
	}
	trackNamespace(h.inode, cookie, h.namespace)
	if h.netlink, err = netlink.NewHandleAt(h.ns, 0 /* NETLINK_ROUTE */); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	for _, s := range hostSysctls {
		if err := h.SetSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return h.SetUp("lo")
}

// Name is the name given to Lab.Host.
func (h *Host) Name() string { return h.name }

// Namespace is the name in /run/netns, for `ip netns exec`.
func (h *Host) Namespace() string { return h.namespace }

// Do runs f on an OS thread that is inside the host's namespace, and waits for it. f must not wait for anything that
// only another thread inside the namespace could do for it by entering the same way; blocking is fine otherwise.
// Goroutines that f starts are not inside.
func (h *Host) Do(f func() error) error {
	err := ErrNoReturn
	onSideThread(func() bool {
		home, openErr := netns.Get()
		if openErr != nil {
			err = fmt.Errorf("open own namespace: %w", openErr)
			return true
		}
		defer home.Close()
		if enterErr := h.enter(); enterErr != nil {
			err = enterErr
			return true
		}
		err = f()
		return netns.Set(home) == nil
	})
	return err
}

// Go is Do without the waiting. The channel receives f's error and is not closed.
func (h *Host) Go(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- h.Do(f) }()
	return result
}

// enter moves the calling thread into the namespace.
func (h *Host) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("enter %s: %w", h.name, ErrClosed)
	}
	if err := netns.Set(h.ns); err != nil {
		return fmt.Errorf("enter %s: %w", h.name, err)
	}
	return nil
}

// close removes the namespace. Whoever is inside keeps it alive without a name; Leftovers tells.
func (h *Host) close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	keeper := h.keeper
	h.mu.Unlock()

	var errs []error
	errs = append(errs, h.killStrangers())
	if keeper != nil {
		keeper.stop()
	}
	if h.netlink != nil {
		h.netlink.Close()
	}
	errs = append(errs, removeNamespace(h.namespace))
	if err := h.ns.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close namespace of %s: %w", h.name, err))
	}
	return errors.Join(errs...)
}
