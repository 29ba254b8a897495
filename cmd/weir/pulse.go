package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"weir/appliance"
)

// pulse is whether every worker moves. It looks once a second: a worker that sleeps moves more often.
type pulse struct{ state atomic.Pointer[pulseState] }

type pulseState struct {
	at    time.Time
	stuck []int
	fault string // why it cannot be well, whatever the workers do
}

const (
	pulseInterval = time.Second
	pulseOld      = 5 * pulseInterval // a look that is older says nothing: the control plane itself does not get on
)

func newPulse() *pulse {
	p := &pulse{}
	p.state.Store(&pulseState{fault: "no configuration is in force yet"})
	return p
}

// beat looks until the context ends, and tells systemd, where that wants to know, as long as all is well.
func (p *pulse) beat(ctx context.Context, router *appliance.Router, log *zap.Logger) {
	wanted, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("ask for the service manager's watchdog", zap.Error(err))
		wanted = 0
	}
	interval := pulseInterval
	if wanted > 0 {
		interval = min(interval, wanted/2)
	}
	router.Stuck() // the next look compares with this one
	p.state.Store(&pulseState{at: time.Now()})
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			stuck := router.Stuck()
			p.state.Store(&pulseState{at: time.Now(), stuck: stuck})
			switch {
			case len(stuck) > 0:
				log.Error("workers do not move", zap.Ints("workers", stuck))
			case wanted > 0:
				notify(log, daemon.SdNotifyWatchdog)
			}
		}
	}
}

// ServeHTTP answers 200 if all is well, and else 503 and why.
func (p *pulse) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	s := p.state.Load()
	wrong := s.fault
	switch {
	case wrong != "":
	case time.Since(s.at) > pulseOld:
		wrong = fmt.Sprintf("nobody has looked at the workers for %v", time.Since(s.at).Round(time.Second))
	case len(s.stuck) > 0:
		wrong = fmt.Sprintf("workers do not move: %v", s.stuck)
	}
	if wrong != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, wrong)
		return
	}
	fmt.Fprintln(w, "ok")
}
