package mgmt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Metrics serves metrics, and whatever else there is to look at, by HTTP, at the address that the configuration gives and nowhere
// unless it does. It is a Service.
type Metrics struct {
	handler http.Handler
	log     *zap.Logger

	mu       sync.Mutex
	running  *metricsServer // nil: not configured
	prepared *metricsServer // nil: none; running where the address stays
}

type metricsServer struct {
	address string
	*http.Server
	listener net.Listener
}

// MetricsPath is where the metrics are.
const MetricsPath = "/metrics"

// NewMetrics returns the service; handler answers all requests, those for MetricsPath among them.
func NewMetrics(handler http.Handler, log *zap.Logger) *Metrics {
	return &Metrics{handler: handler, log: log}
}

// Prepare listens where the configuration says, if nobody does yet. Nothing is answered there before Publish.
func (m *Metrics) Prepare(s System) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepared = nil
	switch {
	case s.Metrics == "":
		return nil
	case m.running != nil && m.running.address == s.Metrics:
		m.prepared = m.running
		return nil
	}
	listener, err := net.Listen("tcp", s.Metrics)
	if err != nil {
		return fmt.Errorf("serve metrics (system.metrics.listen): %w", err)
	}
	m.prepared = &metricsServer{s.Metrics, &http.Server{
		Handler: m.handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: zap.NewStdLog(m.log),
	}, listener}
	return nil
}

// Publish answers at the new address, and no longer at the old one.
func (m *Metrics) Publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared == m.running {
		m.prepared = nil
		return
	}
	m.running.stop(m.log)
	m.running, m.prepared = m.prepared, nil
	if s := m.running; s != nil {
		m.log.Info("metrics", zap.String("listen", s.address))
		go func() {
			if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				m.log.Error("serve metrics", zap.Error(err))
			}
		}()
	}
}

// Abort undoes Prepare.
func (m *Metrics) Abort() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared != nil && m.prepared != m.running {
		m.prepared.listener.Close() // nobody has been answered there
	}
	m.prepared = nil
}

// Close ends the service.
func (m *Metrics) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running.stop(m.log)
	m.running = nil
}

// stop waits a moment for the answers under way.
func (s *metricsServer) stop(log *zap.Logger) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		log.Warn("end serving metrics", zap.String("listen", s.address), zap.Error(errors.Join(err, s.Server.Close())))
	}
}
