package main

import (
	"context"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap/zapcore"

	"weir/appliance"
	"weir/mgmt"
	"weir/mgmt/ssh"
	"weir/mgmt/web"
)

// metricsHandler answers scrapes. Each is a publication to the workers, so few may be under way.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second, Registry: registry})
}

// watching is what the address of the metrics answers: metrics, whether the router is well, and the page.
func watching(registry *prometheus.Registry, p *pulse, tree *atomic.Pointer[[]*mgmt.Command], hostname func() string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+mgmt.MetricsPath, metricsHandler(registry))
	mux.Handle("GET /healthz", p)
	mux.Handle("GET /", web.Handler(func(ctx context.Context, command string) (output []byte, ok bool) {
		commands := tree.Load()
		if commands == nil {
			return []byte("no configuration is in force yet"), false
		}
		output, status := mgmt.Ask(ctx, *commands, command)
		return output, status == mgmt.StatusOK
	}, func() []string {
		machine, _ := os.Hostname() // "" is no name
		return []string{hostname(), machine}
	}))
	return mux
}

// registerMetrics fills the registry, once there is a router.
func registerMetrics(registry *prometheus.Registry, router *appliance.Router, engine *mgmt.Engine, shell *ssh.Server, book *mgmt.Logbook) {
	registry.MustRegister(appliance.NewCollector(router), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_commits_rolled_back_total", Help: "Commits taken back for want of confirmation: not in time, aborted, or pending when weir ended.",
		}, func() float64 { return float64(engine.Outcomes().RolledBack) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_commit_pending", Help: "Whether a commit waits for its confirmation.",
		}, func() float64 { return number(engine.Pending()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_commit_deadline_timestamp_seconds", Help: "When the commit that waits for its confirmation is rolled back; 0: none waits.",
		}, func() float64 {
			at := engine.Deadline()
			if at.IsZero() {
				return 0
			}
			return float64(at.UnixMilli()) / 1000
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_ssh_sessions", Help: "Sessions of clients that are logged in by SSH; a connection without one counts as one.",
		}, func() float64 { return float64(len(shell.Sessions())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_commits_kept", Help: "Whether commits are kept on disk.",
		}, func() float64 { return number(engine.Kept() == nil) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_configuration_degraded", Help: "Whether what runs is not what should: the last good configuration, or one that cannot be rolled back.",
		}, func() float64 { return number(len(engine.Trouble()) > 0) }),
	)
	for result, count := range map[string]func(mgmt.Outcomes) uint64{
		"ok":      func(o mgmt.Outcomes) uint64 { return o.Succeeded },
		"refused": func(o mgmt.Outcomes) uint64 { return o.Refused },
		"failed":  func(o mgmt.Outcomes) uint64 { return o.Failed },
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_commits_total", Help: "Commits, by what became of them: ok, refused for what the file says, failed for other reasons.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(count(engine.Outcomes())) }))
	}
	for _, level := range []zapcore.Level{zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_log_lines_total", Help: "Lines of the log, by level.", ConstLabels: prometheus.Labels{"level": level.String()},
		}, func() float64 { return float64(book.Count(level)) }))
	}
}

// hostname is the one that the configuration gives, or "".
func hostname(engine *mgmt.Engine) string {
	if config, _ := engine.Running(); config != nil {
		return config.System.Hostname
	}
	return ""
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
