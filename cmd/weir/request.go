package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"weir/appliance/boot"
	"weir/mgmt"
)

// withAppliance adds what only the appliance can do to the commands: it asks PID 1.
func withAppliance(commands []*mgmt.Command, pid1 boot.Client) []*mgmt.Command {
	for _, c := range commands {
		if c.Name == "show" {
			c.Commands = append(c.Commands, showPlatform(pid1))
		}
	}
	return append(commands, &mgmt.Command{Name: "request", Help: "the machine as a whole", Role: mgmt.Admin, Commands: []*mgmt.Command{
		requestOf(pid1, "reboot", "end in order, and boot again", boot.AskReboot),
		requestOf(pid1, "power-off", "end in order, and switch the machine off", boot.AskPowerOff),
		requestOf(pid1, "upgrade", "install an image, which is on standard input, and boot it", boot.AskUpgrade),
		{Name: "rollback", Help: "go back", Commands: []*mgmt.Command{
			requestOf(pid1, "image", "boot the image that ran before the last upgrade", boot.AskRollback),
		}},
	}})
}

// requestOf is a command that has PID 1 do something. What PID 1 says goes to the client first: then the machine goes down.
func requestOf(pid1 boot.Client, name, help, do string) *mgmt.Command {
	return &mgmt.Command{Name: name, Help: help, Stream: func(ctx context.Context, r *mgmt.Request, w io.Writer) (any, error) {
		if len(r.Args) > 0 {
			return nil, &mgmt.UsageError{Message: name + " takes no arguments"}
		}
		var in io.Reader
		if do == boot.AskUpgrade {
			in = r.Stdin
		}
		text, told, err := pid1.Ask(ctx, do, in)
		defer told()
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(w, text)
		return nil, err
	}}
}

// showPlatform is `show platform`.
func showPlatform(pid1 boot.Client) *mgmt.Command {
	return &mgmt.Command{Name: "platform", Help: "the machine: images, CPUs, memory pages, interrupts, watchdog", Run: func(ctx context.Context, r *mgmt.Request) (any, error) {
		if len(r.Args) > 0 {
			return nil, &mgmt.UsageError{Message: "show platform takes no arguments"}
		}
		p, err := pid1.Platform(ctx)
		if err != nil {
			return nil, err
		}
		if r.JSON {
			return p, nil
		}
		return platformText(p), nil
	}}
}

func platformText(p *boot.Platform) string {
	var b strings.Builder
	for _, t := range p.Trouble {
		fmt.Fprintf(&b, "TROUBLE: %s\n", t)
	}
	if p.Trial != "" {
		fmt.Fprintf(&b, "note: this image %s\n", p.Trial)
	}
	if u := p.Upgrade; u != nil && u.Outcome == boot.Failed {
		fmt.Fprintf(&b, "note: the upgrade of %s, generation %d in slot %s, failed: %s\n", u.Time.Format(time.DateTime), u.Generation, u.Slot, u.Reason)
	}
	b.WriteString(table(func(row func(...any)) {
		row("version", p.Version)
		row("kernel", p.Kernel)
		row("slot", p.Slot)
		row("configuration", p.Configuration)
		row("data plane", fmt.Sprintf("%s, process %d, started %d times", p.DataPlane.Phase, p.DataPlane.PID, p.DataPlane.Starts))
		if p.DataPlane.Ended != "" {
			row("", fmt.Sprintf("it ended last at %s: %s", p.DataPlane.EndedAt.UTC().Format(time.DateTime), p.DataPlane.Ended))
		}
		if p.Watchdog == nil {
			row("watchdog", "none")
		} else {
			row("watchdog", fmt.Sprintf("%s, %v", p.Watchdog.Name, p.Watchdog.Timeout))
		}
		row("CPUs", fmt.Sprintf("%s, isolated %s, without ticks %s", p.CPUs.Online, orDash(p.CPUs.Isolated), orDash(p.CPUs.NoTick)))
		row("huge pages", fmt.Sprintf("%d of 2 MiB, %d free", p.HugePages.Total, p.HugePages.Free))
	}))
	b.WriteString("\n" + table(func(row func(...any)) {
		row("SLOT", "GENERATION", "STATE", "RUNNING")
		for _, i := range p.Images {
			state := "blessed"
			switch {
			case i.GivenUp:
				state = "given up"
			case i.Counting:
				state = fmt.Sprintf("on trial, %d tries left", i.Left)
			}
			row(i.Slot, i.Generation, state, map[bool]string{true: "*"}[i.Running])
		}
	}))
	b.WriteString("\n" + table(func(row func(...any)) {
		row("PORT", "IRQ", "NAME", "CPUS")
		for _, i := range p.IRQs {
			row(i.Port, i.Number, i.Name, i.Affinity)
		}
	}))
	b.WriteString("\n" + table(func(row func(...any)) {
		row("PORT", "NAPI THREADS", "DEFER HARD IRQS", "FLUSH TIMEOUT NS")
		for _, n := range p.NAPI {
			row(n.Port, n.Threaded, n.DeferHardIRQs, n.FlushTimeout)
		}
	}))
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type requestCommand struct {
	controlFlags
	Words []string `arg:"" help:"reboot, power-off, upgrade < FILE, or rollback image."`
}

// Run asks the running router, which asks PID 1.
func (c *requestCommand) Run() error {
	words := append([]string{"request"}, quoted(c.Words)...)
	if c.Words[0] == "upgrade" {
		return c.ask(os.Stdin, words...)
	}
	return c.ask(nil, words...)
}
