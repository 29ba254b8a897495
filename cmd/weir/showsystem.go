package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"weir/appliance"
	"weir/mgmt"
)

// systemState is the router itself.
type systemState struct {
	Hostname   string        `json:"hostname"`
	Version    string        `json:"version"`
	Go         string        `json:"go"`
	File       string        `json:"file"`       // configuration
	Hash       string        `json:"hash"`       // of the configuration in force
	Generation uint64        `json:"generation"` // in force
	Uptime     time.Duration `json:"uptime_ns"`
	SSH        []string      `json:"ssh,omitempty"` // addresses that it listens on
	Trouble    []string      `json:"trouble,omitempty"`
}

// showSystem is `show system`.
func showSystem(engine *mgmt.Engine, router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "system", Help: "the router itself: its name, version and configuration", Run: func(_ context.Context, r *mgmt.Request) (any, error) {
		args, asJSON := r.Args, r.JSON
		if len(args) > 0 {
			return nil, &mgmt.UsageError{Message: "show system takes no arguments"}
		}
		state := stateOf(engine, router)
		s := systemState{Version: version, Go: runtime.Version(), Uptime: state.Uptime, Trouble: state.Trouble, Hostname: hostname(engine)}
		if config, generation := engine.Running(); config != nil {
			s.File, s.Hash, s.Generation = config.Name, config.Hash, generation
			if config.System.SSH != nil {
				for _, at := range config.System.SSH.Listen {
					s.SSH = append(s.SSH, at.String())
				}
			}
		}
		if s.Hostname == "" {
			s.Hostname, _ = os.Hostname() // "" where the machine has none
		}
		if asJSON {
			return s, nil
		}
		return degraded(state) + table(func(row func(...any)) {
			row("hostname", s.Hostname)
			row("version", fmt.Sprintf("%s, %s", s.Version, s.Go))
			row("configuration", s.File)
			row("hash", s.Hash)
			row("generation", s.Generation)
			row("up", s.Uptime.Round(time.Second))
		}), nil
	}}
}

// showVersion is `show version`, which clients of such devices ask for first.
var showVersion = &mgmt.Command{Name: "version", Help: "of weir", Run: func(_ context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "show version takes no arguments"}
	}
	if r.JSON {
		return map[string]string{"version": version, "go": runtime.Version()}, nil
	}
	return fmt.Sprintf("Version: weir %s, %s", version, runtime.Version()), nil
}}
