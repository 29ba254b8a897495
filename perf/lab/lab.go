package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrNotRoot is returned by New to a process that may not make namespaces.
var ErrNotRoot = errors.New("laboratories need root")

// ErrClosed is returned by operations on a laboratory that has been closed.
var ErrClosed = errors.New("laboratory is closed")

// Lab is a set of hosts and what connects them. Its methods may be called from several goroutines.
type Lab struct {
	id int

	mu        sync.Mutex
	hosts     []*Host
	closers   []*closer // run last to first, before the namespaces go
	closed    bool
	closeDone chan struct{}
	closeErr  error
}

var (
	labCount atomic.Int64

	openLabsMu sync.Mutex
	openLabs   = make(map[*Lab]struct{})
)

// New makes an empty laboratory, after it has removed what laboratories of dead processes left in /run/netns.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	if err := removeStaleNamespaces(); err != nil {
		return nil, err
	}
	l := &Lab{id: int(labCount.Add(1)), closeDone: make(chan struct{})}
	openLabsMu.Lock()
	openLabs[l] = struct{}{}
	openLabsMu.Unlock()
	return l, nil
}

// Hosts lists the hosts in the order in which they were made.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// closer is something that Close must do, unless it has been done before.
type closer struct{ run func() error }

// onClose registers f to be run by Close, before everything registered earlier and before any namespace goes. The
// result forgets it again. A closed laboratory runs f at once.
func (l *Lab) onClose(f func() error) (forget func(), err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errors.Join(ErrClosed, f())
	}
	defer l.mu.Unlock()
	c := &closer{f}
	l.closers = append(l.closers, c)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.closers, c); i >= 0 {
			l.closers = slices.Delete(l.closers, i, i+1)
		}
	}, nil
}

// Close stops all processes and relays, closes all sockets and removes all namespaces. It may be called more than
// once and from several goroutines: all wait for the first and return its errors.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.closeDone
		return l.closeErr
	}
	l.closed = true
	hosts, closers := l.hosts, slices.Clone(l.closers)
	l.mu.Unlock()

	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.stopProcesses())
	}
	for _, c := range slices.Backward(closers) {
		errs = append(errs, c.run())
	}
	for _, h := range slices.Backward(hosts) {
		errs = append(errs, h.close())
	}
	l.closeErr = errors.Join(errs...)
	if l.closeErr != nil {
		l.closeErr = fmt.Errorf("close laboratory: %w", l.closeErr)
	}
	openLabsMu.Lock()
	delete(openLabs, l)
	openLabsMu.Unlock()
	close(l.closeDone)
	return l.closeErr
}

// CloseAll closes every laboratory of this process that is still open.
func CloseAll() error {
	openLabsMu.Lock()
	var labs []*Lab
	for l := range openLabs {
		labs = append(labs, l)
	}
	openLabsMu.Unlock()
	var errs []error
	for _, l := range labs {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
