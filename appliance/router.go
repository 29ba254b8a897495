package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
	"weir/rings"
)

// Options are the parts of a configuration that a running router cannot change.
type Options struct {
	CPUs      []int         // one worker each; nil: all but one of those that the process may use
	Isolated  bool          // nil CPUs are those that the kernel isolates, if there are any
	IdleSpin  time.Duration // how long a worker without packets may spin before it sleeps; 0 never spins
	RingSize  int           // entries of each AF_XDP ring; 0: 2048
	StateDir  string        // where what was changed in the kernel is written down; "": /run/weir
	HugePages bool          // back the frames by 2 MiB pages
}

// Router is a running router. The control plane calls its methods; packets are the workers'.
//
// The walk of a configuration ends here: Prepare opens what a snapshot needs and changes nothing that forwards, Publish
// makes it the running one by one atomic store, Abort undoes Prepare.
type Router struct {
	options Options
	log     *zap.Logger
	steer   *rings.Switch
	tun     *os.File
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	published atomic.Pointer[generation]
	workers   []*Worker // fixed by the first Publish

	mu        sync.Mutex // guards what follows: one change at a time
	epoch     uint64
	commits   uint64
	running   *setup // nil before the first Publish
	prepared  *setup
	stale     []*device // that only earlier setups used, to be closed once no worker is in one of those
	settings  *settings
	kernel    *kernelRoutes
	neighbors neighborTable
	links     map[int]link // by ifindex, of the running setup
	tallies   tallies
	captures  []*capture
	started   int64     // monotonic, ns, when the workers began; 0: not yet
	past      Traffic   // of queues that are closed
	pastLost  uint64    // of them: see Lost
	refitted  time.Time // when a refit last looked
	misfit    bool      // a netdev may not be as the running setup takes it to be: refit looks
	trouble   []string  // what went wrong after the point of no return; State shows it
	closed    bool
	turning   turning

	routing sync.RWMutex // held with mu by who changes routes, and alone by who else than workers reads the tables
}

// setup is what one snapshot runs on.
type setup struct {
	snap    *policy.Snapshot
	devices []*device    // by Port.Device
	ifindex []int        // of the kernel's netdev, by logical port; 0 where the kernel has none
	links   []netip.Addr // the kernel's link-local addresses, by logical port
	opened  []*device    // those of devices that this setup opened
	desired []setting
	added   []setting          // settings that this setup made
	revert  []func() error     // takes back the settings that it changed
	base    *fib.Adjacencies   // the snapshot's own: routes refer to them
	fixed   uint32             // the number of those that the configuration names: they have the indexes below it
	users   map[uint32]int     // of adjacencies beyond those: next hops of routes that came at run time
	lost    lostRoutes         // that came at run time, and could not stay
	runTime int                // routes that came at run time
	reasons map[*device]string // of a refit: why devices are not as configured
	kernel  *kernelView        // of a refit that mends: what is there
	refit   bool               // made while it runs, for netdevs that changed: what is by hand on those that stay is left
}

// ErrNotPrepared is returned by Publish without a Prepare before it.
var ErrNotPrepared = errors.New("nothing is prepared")

// New makes a router without ports. It undoes what an earlier process left in the kernel when it was killed, unless the kernel
// forwards by it (kernelRoutes); then the first Publish does.
func New(options Options, log *zap.Logger) (*Router, error) {
	if options.RingSize == 0 {
		options.RingSize = 2048
	}
	if options.StateDir == "" {
		options.StateDir = "/run/weir"
	}
	if err := kernelFits(); err != nil {
		return nil, err
	}
	r := &Router{options: options, log: log}
	r.neighbors.init()
	var err error
	if r.tun, err = openPunt(); err != nil { // first of all: it is also what a namespace has one router by
		return nil, fmt.Errorf("start router: %w", err)
	}
	if r.kernel, err = openKernelRoutes(options.StateDir, &r.routing, log); err != nil {
		return nil, errors.Join(err, r.tun.Close())
	}
	open := openSettings
	if r.kernel.left {
		open = adoptSettings
	}
	if r.settings, err = open(options.StateDir); r.settings == nil {
		return nil, errors.Join(err, r.kernel.close(true), r.tun.Close())
	} else if err != nil {
		r.fail("undo what an earlier weir left", err)
	}
	if r.steer, err = rings.NewSwitch(); err != nil {
		return nil, errors.Join(fmt.Errorf("start router: %w", err), r.kernel.close(true), r.tun.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.follow(ctx, "addresses", func(ctx context.Context) error {
		return rings.WatchOwn(ctx, r.ownChanged)
	})
	r.follow(ctx, "neighbours", r.watchNeighbors)
	r.follow(ctx, "links", r.watchLinks)
	r.follow(ctx, "link-local addresses", r.watchLinkLocals)
	return r, nil
}

// follow runs a watcher of the kernel until the context ends, and starts it again when it fails: netlink loses messages
// when it is not read fast enough, and every watcher begins with the whole state.
func (r *Router) follow(ctx context.Context, what string, watch func(context.Context) error) {
	r.tasks.Go(func() {
		for ctx.Err() == nil {
			if err := watch(ctx); ctx.Err() == nil {
				r.log.Warn("watch kernel again", zap.String("what", what), zap.Error(err))
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond): // do not spin on an error that stays
				}
			}
		}
	})
}

// troubleMax bounds what State shows; the log has all of it.
const troubleMax = 32

// fail notes what went wrong where nothing can be undone any more.
func (r *Router) fail(what string, err error) {
	r.log.Error(what, zap.Error(err))
	trouble := fmt.Sprintf("%s: %v", what, err)
	if len(r.trouble) < troubleMax && !slices.Contains(r.trouble, trouble) {
		r.trouble = append(r.trouble, trouble)
	}
}

// Prepare opens what the snapshot needs beyond what runs. When it fails, it has undone what it did.
func (r *Router) Prepare(snap *policy.Snapshot) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.prepared != nil {
		r.abort()
	}
	s := newSetup(snap)
	r.keepRoutes(s)
	defer func() {
		if err != nil {
			r.undo(s)
		}
	}()
	if err := r.openDevices(s); err != nil {
		return err
	}
	if err := r.applySettings(s); err != nil {
		return err
	}
	if err := r.makeWorkers(s); err != nil {
		return err
	}
	if err := r.openQueues(s); err != nil {
		return err
	}
	for _, err := range s.snap.Promote() { // its lookups are slower, and right
		r.log.Warn("table without array forms", zap.Error(err))
	}
	for i := range uint16(s.snap.Tables()) {
		if s.snap.Routes(i).FellBack() {
			r.log.Warn("table in small pages: the kernel gives no huge ones (transparent_hugepage)", zap.String("table", s.snap.TableName(i)))
		}
	}
	r.prepared = s
	return nil
}

// Abort undoes Prepare.
func (r *Router) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.abort()
}

func (r *Router) abort() {
	if r.prepared != nil {
		r.undo(r.prepared)
		r.prepared = nil
	}
}

// undo takes back what a setup that does not run has done.
func (r *Router) undo(s *setup) {
	var err error
	for _, d := range s.opened {
		queues := slices.Clone(d.queues)
		err = errors.Join(err, r.closeDevice(d))
		for _, q := range queues {
			q.UMEM().Recycle(q.ID) // no worker has ever seen it
		}
	}
	err = errors.Join(err, r.settings.undo(func(t setting) bool { return slices.Contains(s.added, t) }))
	for _, revert := range s.revert {
		err = errors.Join(err, revert())
	}
	if err != nil {
		r.fail("undo", err)
	}
	if r.running == nil {
		r.dropWorkers()
	}
}

// Publish makes the prepared snapshot the running one and returns its generation. From the atomic store on no worker
// starts a batch by the old one; when Publish returns, none is left in it. An error after that point does not
// take the publication back; it says what of the old generation could not be released.
func (r *Router) Publish() (generationNumber uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.prepared
	if s == nil {
		return 0, ErrNotPrepared
	}
	old := r.running
	r.commits++
	s.snap.Generation = r.commits
	r.askLinks(s)
	snap := s.snap.WithAdjacencies(r.withLinks(s, r.resolve(s)))
	r.learnLinkLocals(s)
	g := &generation{snap: snap, lanes: r.lanes(s, nil), links: s.links, tallies: r.tallies.fresh(snap, r.workers, r.epoch+1)}
	epoch := r.publish(g)
	r.running, r.prepared = s, nil
	s.snap = snap
	r.turning = turning{} // the tables of the setup before do not change any more
	r.tellLost(s)
	if old == nil {
		r.startWorkers()
	} else {
		r.stale = append(r.stale, slices.DeleteFunc(slices.Clone(old.devices), func(d *device) bool { return slices.Contains(s.devices, d) })...)
	}
	ctx := context.Background()
	if err = r.await(ctx, epoch); err != nil {
		// A late worker will see it as soon as it runs again; packets of the new ports wait for it. What the old
		// generation alone used stays until a later commit finds all workers.
		err = errors.Join(fmt.Errorf("generation %d runs, the one before is not released: %w", r.commits, err), r.start(s))
	} else {
		err = errors.Join(r.start(s), r.release(ctx, s))
	}
	if err != nil {
		r.fail("publish", err)
	}
	r.tallies.move(snap)
	r.tallies.collect()
	r.askForGateways(s)
	r.kernel.follow(s)
	return r.commits, err
}

// release closes what only earlier setups used. No worker may be in one of them.
func (r *Router) release(ctx context.Context, s *setup) (err error) {
	var gone []retired
	for _, d := range r.stale {
		for _, q := range d.queues {
			gone = append(gone, retired{umem: q.UMEM(), id: q.ID})
		}
		err = errors.Join(err, r.closeDevice(d))
	}
	r.stale = nil
	err = errors.Join(err, r.settings.undo(func(t setting) bool {
		return t.Kind != settingOffload && !slices.ContainsFunc(s.desired, t.same)
	}))
	if len(gone) == 0 {
		return err
	}
	epoch := r.publish(&generation{snap: s.snap, lanes: r.lanes(s, gone), links: s.links, tallies: r.tallies.inUse})
	if late := r.await(ctx, epoch); late != nil {
		return errors.Join(err, late)
	}
	for _, q := range gone {
		q.umem.Recycle(q.id)
	}
	return err
}

// Close stops the workers, detaches from every port and restores what was changed in the kernel.
func (r *Router) Close() (err error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.abort()
	// A start that fails leaves to the kernel what it forwards by since the last weir was killed.
	keep := r.running == nil && r.kernel.left
	err = r.kernel.close(keep) // while the workers still forward, so that no packet meets half a policy
	if s := r.running; s != nil {
		devices := slices.Concat(s.devices, r.stale)
		for _, d := range devices {
			err = errors.Join(err, d.stop()) // from here on the kernel has the packets
		}
		lanes := r.lanes(s, nil)
		for i := range lanes {
			lanes[i].stop = true
		}
		r.publish(&generation{snap: s.snap, lanes: lanes, links: s.links, tallies: r.tallies.inUse})
		if late := r.join(); late != nil { // its queues cannot be closed under it; they go with the process
			err = errors.Join(err, late)
		} else {
			for _, d := range devices {
				err = errors.Join(err, r.closeDevice(d))
			}
			r.dropWorkers()
		}
	}
	if !keep {
		err = errors.Join(err, r.settings.undoAll())
	}
	r.mu.Unlock()

	r.stop()
	err = errors.Join(err, r.tun.Close())
	r.tasks.Wait()
	return errors.Join(err, r.steer.Close())
}

// join waits until every worker has ended.
func (r *Router) join() error {
	deadline := time.After(awaitTime)
	for _, w := range r.workers {
		select {
		case <-w.done:
		case <-deadline:
			return fmt.Errorf("worker %d does not end", w.id)
		}
	}
	return nil
}

// kernelFits refuses kernels that cannot work, with a sentence rather than an errno from the depths.
func kernelFits() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("ask for kernel version: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 5 || major == 5 && minor < 10) {
		return fmt.Errorf("kernel %s is too old: one UMEM under several ports needs Linux 5.10 or newer", release)
	}
	return nil
}

// makeWorkers decides how many workers there are, once: one for each CPU it was given, but no more than the port with
// the fewest queues has, since every worker needs a queue of every port to transmit on.
func (r *Router) makeWorkers(s *setup) error {
	fewest, narrow := fewestQueues(s.devices)
	if r.workers != nil {
		if len(s.devices) > 0 && fewest < len(r.workers) {
			return fmt.Errorf("port %s has %d queues, but %d workers run: each needs one (ethtool -L %s), or restart weir",
				narrow, fewest, len(r.workers), narrow)
		}
		return nil
	}
	usable, err := usableCPUs()
	if err != nil {
		return err
	}
	cpus := r.options.CPUs
	if cpus == nil {
		cpus = usable[min(1, len(usable)-1):] // the first is left to the kernel and the control plane
		if isolated := isolatedCPUs(); r.options.Isolated && len(isolated) > 0 {
			cpus = isolated
		}
		if len(s.devices) == 0 {
			fewest, narrow = 1, "no ports"
		}
		if fewest < len(cpus) {
			r.log.Info("fewer workers than CPUs", zap.Int("workers", fewest), zap.Int("cpus", len(cpus)), zap.String("limited by", narrow))
			cpus = cpus[:fewest]
		}
	}
	for _, cpu := range cpus {
		if !slices.Contains(usable, cpu) && !(slices.Contains(isolatedCPUs(), cpu) && canRunOn(cpu)) {
			return fmt.Errorf("start worker on CPU %d: not usable here (usable: %v)", cpu, usable)
		}
	}
	if len(s.devices) > 0 && fewest < len(cpus) {
		return fmt.Errorf("%d workers, but port %s has %d queues and every worker needs one of its own (ethtool -L %s)",
			len(cpus), narrow, fewest, narrow)
	}
	if n := runtime.GOMAXPROCS(0); n < len(cpus)+1 {
		runtime.GOMAXPROCS(len(cpus) + 1) // a processor beyond the workers, for the control plane and the collector
	}
	for i, cpu := range cpus {
		w, err := newWorker(r, i, cpu)
		if err != nil {
			r.dropWorkers()
			return err
		}
		r.workers = append(r.workers, w)
	}
	return nil
}

func (r *Router) startWorkers() {
	r.started = monotonic()
	ctx, stop := context.WithCancel(context.Background())
	stopAll := r.stop
	r.stop = func() { stop(); stopAll() }
	for _, w := range r.workers {
		go w.run()
		r.tasks.Go(func() { r.deliver(ctx, w, r.tun) })
		r.tasks.Go(func() { r.resolveFor(ctx, w) })
	}
}

// dropWorkers forgets workers that do not run, and their memory.
func (r *Router) dropWorkers() {
	for _, w := range r.workers {
		for _, u := range w.umems {
			if u == nil {
				continue
			}
			if err := u.Close(); err != nil {
				r.fail("release frames", err)
			}
		}
		if err := w.poller.Close(); err != nil {
			r.fail("release worker", err)
		}
	}
	r.workers = nil
}
