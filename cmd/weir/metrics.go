package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/appliance"
	"weir/mgmt"
)

// metricsHandler answers scrapes. Each is a publication to the workers, so few may be under way.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second, Registry: registry})
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
