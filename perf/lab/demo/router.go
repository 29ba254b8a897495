package demo

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weir/perf/lab"
)

// Example is the configuration of the demonstration, as a person would write it.
//
//go:embed example.yaml
var Example string

// readyTimeout is how long the router may take to report READY=1.
const readyTimeout = 30 * time.Second

// weir is the running router: the binary as a process in the router's namespace.
type weir struct {
	binary  string
	dir     string // of configuration and control socket
	config  string
	control string
	process *lab.Process
}

// startWeir starts the router and waits until it says that it forwards. An empty config is the example.
func startWeir(ctx context.Context, n *network, binary, config string) (_ *weir, err error) {
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	w := &weir{binary: binary, dir: dir, config: config, control: filepath.Join(dir, "control")}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start router: %w", err), w.stop())
		}
	}()
	if w.config == "" {
		w.config = filepath.Join(dir, "demo.yaml")
		if err := os.WriteFile(w.config, []byte(Example), 0o600); err != nil {
			return nil, err
		}
	}
	notify, err := n.lab.ListenNotify()
	if err != nil {
		return nil, err
	}
	defer notify.Close()
	w.process, err = n.hosts[router].Start(context.WithoutCancel(ctx), lab.Command{
		Name: binary, Args: []string{"run", "-c", w.config, "--control", w.control, "--state-dir", filepath.Join(dir, "state")}, Env: []string{notify.Env()},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not ready after %v", readyTimeout))
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-w.process.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err = notify.Wait(ctx, "READY=1")
	cancel()
	<-ended
	if err == nil {
		return w, nil
	}
	select {
	case <-w.process.Done():
		return nil, fmt.Errorf("%w; it said:\n%s", w.process.Wait(), w.process.Output())
	default:
		return nil, fmt.Errorf("%w; it said:\n%s", err, w.process.Output())
	}
}

// stop ends the router and removes its files.
func (w *weir) stop() error {
	var err error
	if w.process != nil {
		err = w.process.Stop()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// decision is what weir explain says, as far as the demonstration needs it.
type decision struct {
	Verdict string `json:"verdict"`
	Port    string `json:"port"`
	Gateway string `json:"gateway"`
	Table   string `json:"table"`
	Rule    string `json:"rule"`
	Prefix  string `json:"prefix"`
	ICMP    *struct {
		Type uint8 `json:"type"`
		Code uint8 `json:"code"`
	} `json:"icmp"`
}

// String tells the decision in one line.
func (d decision) String() string {
	var b strings.Builder
	switch {
	case d.Verdict != "forward":
		b.WriteString(d.Verdict)
		if d.ICMP != nil {
			fmt.Fprintf(&b, " (ICMP %d/%d)", d.ICMP.Type, d.ICMP.Code)
		}
	case d.Gateway != "":
		fmt.Fprintf(&b, "%s via %s", d.Port, d.Gateway)
	default:
		b.WriteString(d.Port + " on-link")
	}
	for _, part := range [][2]string{{"rule", d.Rule}, {"table", d.Table}, {"", d.Prefix}} {
		if part[1] != "" {
			b.WriteString(", " + strings.TrimSpace(part[0]+" "+part[1]))
		}
	}
	return b.String()
}

// explain asks the binary what the router decides about a packet of the flow.
func (w *weir) explain(ctx context.Context, f flow, e ends, p protocol, sport uint16) (decision, error) {
	proto := string(p)
	if p == icmp && e.from.Is6() {
		proto = "icmpv6"
	}
	args := []string{"explain", "-c", w.config, "--json",
		"iif=" + f.port, "src=" + e.from.String(), "dst=" + e.to.String(), "proto=" + proto}
	if p != icmp {
		args = append(args, "sport="+strconv.Itoa(int(sport)), "dport="+strconv.Itoa(int(f.dport)))
	}
	if f.tos != 0 {
		args = append(args, "tos="+strconv.Itoa(f.tos))
	}
	out, err := w.ask(ctx, args...)
	if err != nil {
		return decision{}, err
	}
	var d decision
	if err := json.Unmarshal(out, &d); err != nil {
		return decision{}, fmt.Errorf("read answer of weir %s: %w", strings.Join(args, " "), err)
	}
	return d, nil
}

// counters asks the running router for its counters, as text.
func (w *weir) counters(ctx context.Context) (string, error) {
	out, err := w.ask(ctx, "show", "--control", w.control, "counters")
	return string(out), err
}

func (w *weir) ask(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, w.binary, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run weir %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
