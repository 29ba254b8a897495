package steer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Errors that a caller can tell apart with errors.Is. Each says what to do.
var (
	ErrPermission       = errors.New("no permission to use BPF: run as root, or with CAP_BPF and CAP_NET_ADMIN")
	ErrUnsupported      = errors.New("kernel lacks AF_XDP: Linux 5.10 or newer with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS is needed")
	ErrNoInterface      = errors.New("no such interface in this network namespace")
	ErrNotEthernet      = errors.New("not a MAC address of six bytes: only Ethernet devices can be ports")
	ErrDriverMode       = errors.New("driver does not take the XDP program")
	ErrForeignProgram   = errors.New("another XDP program is attached")
	ErrAttached         = errors.New("program is attached already")
	ErrQueue            = errors.New("queue is beyond the number that the program was loaded for")
	ErrNotSocket        = errors.New("not an AF_XDP socket")
	ErrTooManyAddresses = errors.New("more own addresses than the router was set up for")
	ErrClosed           = errors.New("program is closed")
)

// ForeignProgramError names the XDP program that occupies an interface. It is an ErrForeignProgram.
type ForeignProgramError struct {
	Interface string
	Name      string // empty if the kernel does not tell (reading it takes CAP_SYS_ADMIN)
	ID        uint32 // 0 if unknown
}

// Error says which program it is and how to get rid of it.
func (e *ForeignProgramError) Error() string {
	if e.ID == 0 {
		return fmt.Sprintf("%v to %s, or to the bond that %[2]s belongs to: look with 'ip link show' and stop its owner",
			ErrForeignProgram, e.Interface)
	}
	return fmt.Sprintf("%v to %s: %q, id %d; stop its owner or remove it ('ip link set dev %[2]s xdp off'), or take %[2]s out of the configuration",
		ErrForeignProgram, e.Interface, e.Name, e.ID)
}

// Is makes every ForeignProgramError an ErrForeignProgram.
func (e *ForeignProgramError) Is(target error) bool { return target == ErrForeignProgram }

// explain adds to an error of a bpf(2) call the sentinel that says what to do about it.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(features.HaveMapType(ebpf.XSKMap), ebpf.ErrNotSupported):
		return fmt.Errorf("%w (%w)", ErrUnsupported, err)
	}
	return err
}

// refusal says in words why the driver of an interface did not take a program. The kernel has words too, but does not
// give them to bpf(2): the errnos are those of the drivers' ndo_bpf.
func refusal(name string, err error) string {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return "the driver of " + name + " has no XDP, or an offload excludes it (LRO, GRO-HW: ethtool -K " + name + " lro off rx-gro-hw off)"
	case errors.Is(err, unix.ENOSPC): // veth_xdp_set
		return name + " has fewer receive queues than its peer has transmit queues (ethtool -L " + name + " rx N)"
	case errors.Is(err, unix.ERANGE): // veth_xdp_set
		return "the peer's MTU is too large: a frame must fit in a page"
	case errors.Is(err, unix.EINVAL):
		return "the MTU of " + name + " is too large (a frame must fit in a page), or an offload excludes XDP (LRO)"
	case errors.Is(err, unix.ENOMEM):
		return "the driver of " + name + " has no memory, or too few queues for XDP"
	}
	return err.Error()
}
