package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// Hooks are what PID 1 has to know of the data plane, which it runs and is not part of.
type Hooks struct {
	Version     string
	Health      func(ctx context.Context) (Health, error)       // asks the data plane how it is
	Look        func(ctx context.Context, line string) string   // runs a command that changes nothing
	Fingerprint func(configFile string) (fingerprint string)    // of the SSH host key; "": there is none yet
	Data        func(configFile string, lastGood bool) []string // the arguments of the data plane
}

// machine is what PID 1 knows of the machine.
type machine struct {
	root       string // "/", but in tests
	options    Options
	hooks      Hooks
	info       layout.Info
	console    *console
	supervisor *supervisor
	watchdog   *watchdog
	output     *tail // of the data plane

	changing sync.Mutex // held while an upgrade is under way
	esp      sync.Mutex // held while the EFI partition is mounted
	end      chan int   // has room for one: how the machine is to end

	mu            sync.Mutex
	page          page
	shown         string
	configuration string // how its partition is
	mounted       bool   // there is one
}

const (
	runDir          = "/run/weir"
	configPatience  = 30 * time.Second // for disks to be found
	entropyPatience = 30 * time.Second
	crashLogs       = 10 // that are kept
)

// Run is the life of PID 1. It returns only ErrNotAppliance, when it is not that, and has done nothing then.
func Run(hooks Hooks) error {
	options, err := guard(os.Getpid(), commandLine)
	if err != nil {
		return err
	}
	m := &machine{root: "/", options: options, hooks: hooks, end: make(chan int, 1)}
	m.live()
	return nil
}

// log writes a line to the console.
func (m *machine) log(format string, args ...any) { m.console.say(format, args...) }

// trouble is told on the console, and stays on its page.
func (m *machine) trouble(err error) {
	if err == nil {
		return
	}
	m.log("%v", err)
	m.state(func(p *page) { p.Trouble = append(p.Trouble, err.Error()) })
}

// state changes what the page says, and shows it if that is something else than before.
func (m *machine) state(change func(*page)) {
	m.mu.Lock()
	change(&m.page)
	p := m.page
	text := p.text()
	changed := text != m.shown && p.Child.Starts > 0 // before that, all is about to change
	if changed {
		m.shown = text
	}
	m.mu.Unlock()
	if changed {
		m.console.show(p)
	}
}

func (m *machine) current() page {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.page
	p.Trouble = slices.Clone(p.Trouble)
	return p
}

// config is where the configuration is.
func (m *machine) config() string { return filepath.Join(m.root, ConfigDir) }

// live does all that PID 1 does, from the first mount to the last sync.
func (m *machine) live() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPWR, unix.SIGUSR2)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	wrong := mountAll(mounts)
	m.page = page{Version: m.hooks.Version, Slot: m.options.Slot}
	m.console = &console{out: openConsole()}
	m.output = newTail(m.console)
	m.trouble(wrong)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) // Ctrl-Alt-Del is a signal to us
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		m.trouble(err)
	}
	socket := filepath.Join(runDir, "notify.sock")
	m.supervisor = newSupervisor(usualPace, func(lastGood bool) *exec.Cmd {
		c := exec.Command(layout.Init, m.hooks.Data(ConfigFile, lastGood)...)
		c.Env = childEnvironment(socket, usualPace.beat)
		c.Stdout, c.Stderr = m.output, m.output
		return c
	})
	ctx, stop := context.WithCancel(context.Background())
	m.prepare(ctx)
	ended := m.start(ctx, socket)

	var how int
	select {
	case s := <-signals:
		how = endOfSignal(s)
		m.log("%v: going down", s)
	case how = <-m.end:
		m.log("going down")
	}
	stop()
	<-ended
	halt(how, m.mounted, m.log)
}

// openConsole makes the console standard input and output, and returns it.
func openConsole() io.Writer {
	f, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return os.Stderr
	}
	for fd := range 3 {
		_ = unix.Dup3(int(f.Fd()), fd, 0)
	}
	return f
}

// prepare makes the machine one that a data plane can run on.
func (m *machine) prepare(ctx context.Context) {
	if text, err := os.ReadFile(filepath.Join(m.root, layout.InfoFile)); err != nil {
		m.trouble(fmt.Errorf("read what the image says of itself: %w", err))
	} else if info, err := layout.ParseInfo(text); err != nil {
		m.trouble(err)
	} else {
		m.info = *info
	}
	_, err := loadModules(m.root, loadModule)
	if err != nil {
		m.log("%v", err) // hardware that is not there, most of the time
	}
	if m.watchdog, err = openWatchdog(filepath.Join(m.root, watchdogDevice)); err != nil {
		m.trouble(err)
	}
	go m.watchdog.feed(ctx, func() bool { return m.supervisor.idle() < fruitless }) // not while it goes down: that is to come to an end
	m.trouble(loopback())
	if set, err := setClock(m.info.Built); err != nil {
		m.trouble(err)
	} else if set {
		m.log("the clock was wrong: it is set to the time that the image was made of, %v", m.info.Built)
	}
	// A kernel that has gone wrong must not go on forwarding; panic= has it boot again.
	_ = os.WriteFile("/proc/sys/kernel/panic_on_oops", []byte("1"), 0o644)
	m.prepareConfig(ctx)
}

// prepareConfig mounts the configuration. Where that fails the router runs all the same, so that it can be reached.
func (m *machine) prepareConfig(ctx context.Context) {
	waiting, cancel := context.WithTimeout(ctx, configPatience)
	defer cancel()
	device, err := awaitPartition(waiting, m.root, layout.Config)
	trouble := ""
	if err == nil {
		if trouble, err = mountConfig(device, m.config()); err == nil {
			m.mounted = true
		}
	}
	m.configuration = device + " on " + ConfigDir
	switch {
	case err != nil:
		m.configuration = "in memory: " + err.Error()
		m.trouble(fmt.Errorf("%w: the configuration is in memory only", err))
		m.trouble(os.MkdirAll(m.config(), 0o755))
	case trouble != "":
		m.configuration += ": " + trouble
		m.trouble(errors.New(trouble))
	}
	waiting, cancel = context.WithTimeout(ctx, entropyPatience)
	defer cancel()
	if err := awaitEntropy(waiting); err != nil {
		m.trouble(fmt.Errorf("wait for entropy: %w", err))
	} else if m.mounted && trouble == "" {
		if err := stir(m.config()); err != nil {
			m.log("%v", err)
		}
	}
	made, err := ensureConfig(m.config())
	m.trouble(err)
	if made {
		m.log("first start: made %s", ConfigFile)
	}
	m.settle(ctx)
}

// settle finds out what became of an upgrade that was to be tried.
func (m *machine) settle(ctx context.Context) {
	var images []Image
	err := m.onESP(ctx, true, func(s slots) (err error) {
		images, err = s.list()
		return err
	})
	if err != nil {
		m.trouble(fmt.Errorf("look at the slots: %w", err))
		return
	}
	u, ok, err := settleUpgrade(m.config(), m.options.Slot, images)
	m.trouble(err)
	if ok && u.Outcome == Failed {
		m.page.Upgrade = &u
	}
}

// start begins all that goes on side by side. The channel is closed when the data plane has ended in order, after ctx has.
func (m *machine) start(ctx context.Context, socket string) (ended chan struct{}) {
	ended = make(chan struct{})
	m.supervisor.changed = func(c Child) {
		m.state(func(p *page) {
			p.Child = c
			if c.Phase == Ready {
				p.Fingerprint = m.hooks.Fingerprint(ConfigFile)
			}
		})
	}
	m.supervisor.ended = func(how string) {
		m.log("the data plane ended: %s", how)
		if err := keepCrash(m.config(), how, m.output.take()); err != nil {
			m.log("%v", err)
		}
	}
	if n, err := listenNotifications(socket); err != nil {
		m.trouble(err)
	} else {
		go func() { m.trouble(n.serve(m.supervisor.take)) }()
	}
	if l, err := listenRequests(Socket); err != nil {
		m.trouble(err)
	} else {
		server := &requests{answer: m.answer, done: m.done}
		go func() { m.trouble(server.serve(ctx, l)) }()
	}
	go m.supervisor.reaper.run(ctx)
	go func() {
		defer close(ended)
		m.supervisor.run(ctx)
	}()
	go m.followAddresses(ctx)
	go m.console.read(os.Stdin, m.current, m.looking(ctx))
	go func() {
		if m.trial(ctx) {
			m.finish(endReboot)
		}
	}()
	return ended
}

// followAddresses keeps the page's addresses as they are. Netlink loses messages when it is not read fast enough; then it begins anew.
func (m *machine) followAddresses(ctx context.Context) {
	for ctx.Err() == nil {
		if err := watchAddresses(ctx, func(list []string) { m.state(func(p *page) { p.Addresses = list }) }); err != nil {
			m.log("%v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// onESP has somebody work in the slots, one at a time.
func (m *machine) onESP(ctx context.Context, readOnly bool, do func(slots) error) error {
	m.esp.Lock()
	defer m.esp.Unlock()
	return onESP(ctx, m.root, m.options.Slot, readOnly, do)
}

// looking is what answers lines that are typed at the console; nil: nothing does.
func (m *machine) looking(ctx context.Context) func(string) string {
	if !m.options.Emergency {
		return nil
	}
	return func(line string) string { return m.hooks.Look(ctx, line) }
}

// finish has the machine end, unless it does already.
func (m *machine) finish(how int) {
	select {
	case m.end <- how:
	default:
	}
}

// goodbye is for the last word to whoever asked for the end.
const goodbye = time.Second

// answer answers a request.
func (m *machine) answer(ctx context.Context, do string, in io.Reader) (a answer, err error) {
	switch do {
	case AskPlatform:
		a.Platform = m.platform(ctx)
	case AskReboot:
		a.Text = "rebooting\n"
	case AskPowerOff:
		a.Text = "powering off\n"
	case AskUpgrade:
		a.Text, err = m.upgrade(ctx, in)
	case AskRollback:
		a.Text, err = m.rollback(ctx)
	default:
		err = fmt.Errorf("PID 1 knows no %q", do)
	}
	return a, err
}

// done goes on with a request whose answer has been taken.
func (m *machine) done(do string) {
	switch do {
	case AskPlatform:
		return
	case AskPowerOff:
		time.AfterFunc(goodbye, func() { m.finish(endPowerOff) })
	default:
		time.AfterFunc(goodbye, func() { m.finish(endReboot) })
	}
}

// platform is what the router runs on, as it is now.
func (m *machine) platform(ctx context.Context) *Platform {
	page := m.current()
	p := &Platform{
		Version: m.hooks.Version, Kernel: readText(m.root, "/proc/sys/kernel/osrelease"), Slot: m.options.Slot, Trial: page.Trial,
		Configuration: m.configuration, DataPlane: m.supervisor.state(), Watchdog: m.watchdog,
		CPUs: readCPUs(m.root), HugePages: readHugePages(m.root), IRQs: []IRQ{}, NAPI: []NAPI{}, Trouble: page.Trouble,
	}
	for _, port := range netdevs(m.root) {
		p.IRQs = append(p.IRQs, readIRQs(m.root, port)...)
		p.NAPI = append(p.NAPI, readNAPI(m.root, port))
	}
	if u, ok := readUpgrade(m.config()); ok {
		p.Upgrade = &u
	}
	err := m.onESP(ctx, true, func(s slots) (err error) {
		p.Images, err = s.list()
		return err
	})
	if err != nil {
		p.Trouble = append(p.Trouble, fmt.Sprintf("look at the slots: %v", err))
	}
	return p
}

// keepCrash keeps the last words of a data plane that ended by itself, and of a few before.
func keepCrash(dir, how string, last []byte) error {
	dir = filepath.Join(dir, "log")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		name := time.Now().UTC().Format("20060102T150405.000000000Z") + ".log"
		err = writeDurably(filepath.Join(dir, name), append(last, how+"\n"...))
	}
	if err != nil {
		return fmt.Errorf("keep what the data plane said last: %w", err)
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is a good one; in order of time
	for len(logs) > crashLogs {
		err = errors.Join(err, os.Remove(logs[0]))
		logs = logs[1:]
	}
	return err
}
