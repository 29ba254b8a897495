package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/appliance"
	"weir/mgmt"
	"weir/mgmt/web"
)

// metricsHandler answers scrapes. Each is a publication to the workers, so few may be under way.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second, Registry: registry})
}

// watching is what the address of the metrics answers: metrics, whether the router is well, and the page. The router and the engine
// are there when the first request comes.
func watching(registry *prometheus.Registry, p *pulse, commands func() []*mgmt.Command, hostname func() string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+mgmt.MetricsPath, metricsHandler(registry))
	mux.Handle("GET /healthz", p)
	mux.Handle("GET /", web.Handler(func(ctx context.Context, command string) (output []byte, ok bool) {
		output, status := mgmt.Ask(ctx, commands(), command)
		return output, status == mgmt.StatusOK
	}, func() []string {
		machine, _ := os.Hostname() // "" is no name
		return []string{hostname(), machine}
	}))
	return mux
}

// registerMetrics fills the registry, once there is a router.
func registerMetrics(registry *prometheus.Registry, router *appliance.Router, engine *mgmt.Engine) {
	registry.MustRegister(appliance.NewCollector(router), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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
}

// hostname is the one that the configuration gives, or "".
func hostname(engine *mgmt.Engine) string {
	if config, _ := engine.Running(); config != nil {
		return config.System.Hostname
	}
	return ""
}
