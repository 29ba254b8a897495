package appliance

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// kernelRoutes has the kernel follow the running policy, where the configuration wants that (system.kernel-routes): what
// the router itself sends goes the same way, and when weir is killed, the kernel forwards on.
//
// It works on a goroutine of its own and without Router.mu, since the kernel takes a while for many routes. A file in the
// state directory says that there may be something of ours in the kernel. It stays where weir is killed, and so do the rules
// and routes; the next weir takes them over, with the addresses and links that they need (adoptSettings).
type kernelRoutes struct {
	log  *zap.Logger
	path string // of the file
	left bool   // the file was there at the start: an earlier weir was killed

	routing *sync.RWMutex // keeps tables as they are

	bell chan struct{} // has a token when there is something to do
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex // guards what follows
	want  kernelPolicy
	state KernelRoutesState
}

// KernelRoutesState is what the kernel has of the policy.
type KernelRoutesState struct {
	Generation uint64   `json:"generation"` // that the kernel follows
	Routes     int      `json:"routes"`
	Rules      int      `json:"rules"`
	Trouble    []string `json:"trouble,omitempty"` // what is missing; it is tried again every kernelRetry
}

// kernelRetry is how long after a refusal the kernel is asked again: whoever has a route of the same key may remove it.
const kernelRetry = 10 * time.Second

// openKernelRoutes looks whether an earlier weir has left something.
func openKernelRoutes(dir string, routing *sync.RWMutex, log *zap.Logger) (*kernelRoutes, error) {
	path, err := statePath(dir, "kernel-routes")
	if err != nil {
		return nil, err
	}
	k := &kernelRoutes{log: log, path: path, routing: routing, bell: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if _, err := os.Stat(path); err == nil {
		k.left = true
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for kernel routes of an earlier weir: %w", err)
	}
	go k.run()
	return k, nil
}

// follow has the kernel follow a setup from now on. It does not wait for it.
func (k *kernelRoutes) follow(s *setup) {
	k.mu.Lock()
	k.want = kernelPolicy{linux: s.snap.Linux(), ifindex: slices.Clone(s.ifindex), generation: s.snap.Generation}
	k.mu.Unlock()
	k.again()
}

// again looks after the kernel's routes: it removes those of a link that goes down, and does not bring them back.
func (k *kernelRoutes) again() {
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

func (k *kernelRoutes) run() {
	defer close(k.done)
	var retry <-chan time.Time
	for {
		select {
		case <-k.stop:
			return
		case <-k.bell:
		case <-retry:
		}
		k.mu.Lock()
		want := k.want
		k.mu.Unlock()
		if want.generation == 0 {
			continue // nothing was published yet
		}
		retry = nil
		state, err := k.sync(want)
		if err != nil {
			state.Trouble = append(state.Trouble, err.Error())
		}
		k.mu.Lock()
		told := slices.Equal(k.state.Trouble, state.Trouble)
		k.state = state
		k.mu.Unlock()
		if len(state.Trouble) > 0 {
			if !told {
				k.log.Error("kernel routes", zap.Strings("trouble", state.Trouble))
			}
			retry = time.After(kernelRetry)
		}
	}
}

// sync makes the kernel have what is wanted, and keeps the file.
func (k *kernelRoutes) sync(want kernelPolicy) (state KernelRoutesState, err error) {
	state.Generation = want.generation
	nothing := want.linux == nil
	if nothing && !k.noted() {
		return state, nil
	}
	if !nothing {
		if err := os.WriteFile(k.path, fmt.Appendf(nil, "protocol %d\n", kernelProtocol), 0o600); err != nil {
			return state, fmt.Errorf("note kernel routes: %w", err)
		}
	}
	begin := time.Now()
	socket, err := openRouteSocket()
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, socket.close()) }()
	pass := kernelSync{routeSocket: socket, want: want, routing: k.routing}
	err = pass.run()
	state.Routes, state.Rules, state.Trouble = pass.routes, pass.rules, pass.trouble
	if err != nil {
		return state, err
	}
	if nothing && len(pass.trouble) == 0 {
		err = ignore(os.Remove(k.path), os.ErrNotExist)
	}
	k.log.Info("kernel routes", zap.Uint64("generation", want.generation), zap.Int("routes", pass.routes), zap.Int("rules", pass.rules),
		zap.Int("changes", pass.changed), zap.Int("without netdev", pass.portless), zap.Duration("took", time.Since(begin)))
	return state, err
}

// noted reports whether there may be something of ours in the kernel.
func (k *kernelRoutes) noted() bool {
	_, err := os.Stat(k.path)
	return !errors.Is(err, os.ErrNotExist)
}

// close ends the goroutine, and takes back what is in the kernel, unless keep.
func (k *kernelRoutes) close(keep bool) error {
	close(k.stop)
	<-k.done
	if keep {
		return nil
	}
	state, err := k.sync(kernelPolicy{})
	if len(state.Trouble) > 0 {
		err = errors.Join(err, fmt.Errorf("remove kernel routes: %s", strings.Join(state.Trouble, "; ")))
	}
	return err
}

// look is the state, nil if the kernel is to have nothing, and what is wrong.
func (k *kernelRoutes) look() (state *KernelRoutesState, trouble []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.state.Trouble {
		trouble = append(trouble, "kernel routes: "+t)
	}
	if k.want.linux == nil && len(trouble) == 0 {
		return nil, nil
	}
	s := k.state
	return &s, trouble
}

// statePath is the path of a file in the state directory, which is made if it is not there. A router has a network namespace to
// itself, whose number is part of the name.
func statePath(dir, what string) (string, error) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return "", fmt.Errorf("find network namespace: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make state directory: %w", err)
	}
	return fmt.Sprintf("%s/%s-%d", dir, what, ns.Ino), nil
}
