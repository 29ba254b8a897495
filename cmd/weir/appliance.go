package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"weir/appliance"
	"weir/appliance/boot"
	"weir/mgmt"
	"weir/mgmt/ssh"
)

// controlSocket is where the appliance's data plane takes commands.
const controlSocket = "/run/weir/control.sock"

// bootHooks is what PID 1 of the appliance has to know of the data plane.
func bootHooks() boot.Hooks {
	return boot.Hooks{
		Version: version,
		Health:  func(ctx context.Context) (boot.Health, error) { return health(ctx, controlSocket) },
		Look:    func(ctx context.Context, line string) string { return lookFor(ctx, controlSocket, line) },
		Fingerprint: func(config string) string {
			fingerprint, err := ssh.Fingerprint(ssh.HostKeyFile(config))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err.Error()
			}
			return fingerprint
		},
		Data: func(config string, lastGood bool) []string {
			args := []string{"run", "-c", config, "--control", controlSocket, "--boot", boot.Socket}
			if lastGood {
				args = append(args, "--last-good")
			}
			if boot.HugePagesReserved() {
				args = append(args, "--huge-pages")
			}
			return args
		},
	}
}

// healthPatience is for a busy machine to answer.
const healthPatience = 10 * time.Second

// health asks the running router how it is.
func health(ctx context.Context, socket string) (h boot.Health, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	var system systemState
	var ports []appliance.PortState
	if err := askJSON(ctx, socket, "system", &system); err != nil {
		return h, err
	}
	if err := askJSON(ctx, socket, "ports", &ports); err != nil {
		return h, err
	}
	h.Trouble = system.Trouble
	if system.Generation == 0 {
		h.Trouble = append(h.Trouble, "no configuration is in force")
	}
	for _, p := range ports {
		if p.State == "up" {
			h.Ports = append(h.Ports, p.Name)
		}
	}
	for _, text := range system.SSH {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return h, fmt.Errorf("show system: %w", err)
		}
		h.SSH = append(h.SSH, at)
	}
	return h, nil
}

// askJSON asks for a part of the router's state.
func askJSON(ctx context.Context, socket, what string, into any) error {
	output, status, err := mgmt.Call(ctx, socket, "show", what, "|", "json")
	switch {
	case err != nil:
		return err
	case status != mgmt.StatusOK:
		return fmt.Errorf("show %s: %s", what, strings.TrimSpace(string(output)))
	}
	if err := json.Unmarshal(output, into); err != nil {
		return fmt.Errorf("show %s: %w", what, err)
	}
	return nil
}

// lookFor runs a command for somebody at the console, who has not said who he is: what shows and explains, and nothing else.
func lookFor(ctx context.Context, socket, line string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if first != "show" && first != "explain" {
		return "here one may look: show and explain are the commands; show ? lists what there is"
	}
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	output, _, err := mgmt.Call(ctx, socket, line)
	if err != nil {
		return err.Error()
	}
	return mgmt.Escape(string(output))
}
