package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"weir/mgmt"
	"weir/perf/lab"
)

// metricsAt is where tests have the router serve metrics: in its own namespace nobody else listens.
const metricsAt = "127.0.0.1:9550"

// scrape asks the router for its metrics, from its own namespace.
func (n *network) scrape(address string) ([]byte, error) {
	var connection net.Conn
	if err := n.router.Do(func() (err error) {
		connection, err = net.Dial("tcp", address)
		return err
	}); err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return connection, nil },
	}}
	response, err := client.Get("http://" + address + mgmt.MetricsPath)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// exposed are metrics by name and labels in the order of their names: "weir_x_total{a=b,c=d}".
func exposed(t *testing.T, text []byte) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families := must[map[string]*dto.MetricFamily](t)(parser.TextToMetricFamilies(bytes.NewReader(text)))
	values := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// TestMetrics: what is scraped under traffic keeps to the conventions, never goes back, and in the end is what the router
// shows; the address follows commits, and one that is taken refuses them.
func TestMetrics(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	config := func(metrics string) string {
		return n.config(fmt.Sprintf(`
system: {metrics: {listen: %q}}
tables:
  main: {id: 254, routes: [{to: 198.51.100.0/24, type: blackhole}]}
marks: {main: [{name: voice, match: {proto: udp, dport: 7000}, then: [{mark: 0x10/0xff}]}]}
rules: [{name: marked, priority: 200, fwmark: 0x10/0xff, action: nop}]
`, metrics))
	}
	w := n.start(config(metricsAt))
	n.warm([2]*end{from, to})
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	streams := stream(t.Context(), from.Host, lab.UDPOptions{To: receiver.Address(), Count: 5000, Size: 64, Rate: perSecond(10_000)})
	last := map[string]float64{}
	for ended := false; !ended; {
		text := must[[]byte](t)(n.scrape(metricsAt))
		problems := must[[]promlint.Problem](t)(promlint.New(bytes.NewReader(text)).Lint())
		for _, p := range problems {
			t.Errorf("lint: %s: %s", p.Metric, p.Text)
		}
		now := exposed(t, text)
		for name, was := range last {
			if is, ok := now[name]; strings.Contains(name, "_total") && (!ok || is < was) {
				t.Errorf("%s was %v, is %v", name, was, is)
			}
		}
		last = now
		select {
		case s := <-streams:
			delivered(t, w, delivery{s, []*lab.UDPReceiver{receiver}})
			from.sent(spec{src: from.addr4(), dst: netip.MustParseAddr("198.51.100.1"), id: 1})
			n.exchange(from, to)
			ended = true
		default:
		}
	}
	s := w.rest()
	now := exposed(t, must[[]byte](t)(n.scrape(metricsAt)))
	for what, want := range map[string]uint64{
		"weir_received_packets_total": s.Totals.Received, "weir_transmitted_packets_total": s.Totals.Transmitted, "weir_received_bytes_total": s.Totals.ReceivedBytes,
		"weir_generation": s.Generation, "weir_waiting_packets": 0, "weir_troubles": 0, "weir_hits_late": 0,
		"weir_dropped_packets_total{reason=blackhole}": s.Totals.Drops["blackhole"], "weir_dropped_packets_total{reason=no-route}": 0,
		"weir_port_dropped_packets_total{port=em0,reason=blackhole}": s.Totals.Drops["blackhole"],
		"weir_port_up{port=em1}":                                     1,
		"weir_port_mtu_bytes{port=em1}":                              1500,
		"weir_port_steered_packets_total{class=redirected,port=em0}": s.Ports[0].Steered["redirected"],
		"weir_queue_received_packets_total{port=em0,queue=0}":        s.Ports[0].Queues[0].Received,
		"weir_queue_transmitted_packets_total{port=em1,queue=0}":     s.Ports[1].Queues[0].Transmitted,
		"weir_queue_transmitted_bytes_total{port=em1,queue=0}":       s.Ports[1].Queues[0].TransmittedBytes,
		"weir_worker_received_packets_total{worker=0}":               s.Totals.Received,
		"weir_neighbors{state=resolved}":                             uint64(len(s.Neighbors)),
		"weir_table_routes{table=main}":                              5,
		"weir_commits_total{result=ok}":                              1,
		"weir_ssh_sessions":                                          0,
		"weir_commit_deadline_timestamp_seconds":                     0,
		"weir_log_lines_total{level=error}":                          0,
		"weir_rule_packets_total{priority=200,rule=marked}":          uint64(now["weir_statement_packets_total{chain=main,statement=voice}"]),
	} {
		if got, ok := now[what]; !ok || got != float64(want) {
			t.Errorf("%s is %v (%v), expected %d", what, got, ok, want)
		}
	}
	if hits := now["weir_statement_packets_total{chain=main,statement=voice}"]; hits == 0 || hits > 5000 || now["weir_statement_bytes_total{chain=main,statement=voice}"] != hits*(20+8+64) {
		t.Errorf("statement voice: %v packets, %v bytes", hits, now["weir_statement_bytes_total{chain=main,statement=voice}"])
	}
	for _, name := range []string{"go_goroutines", "process_cpu_seconds_total", "weir_worker_asleep_seconds_total{worker=0}", "weir_worker_batches_total{worker=0}", "weir_publications_total", "weir_log_lines_total{level=info}"} {
		if now[name] <= 0 {
			t.Errorf("%s is %v", name, now[name])
		}
	}

	// The address is the configuration's.
	const other = "127.0.0.2:9551"
	w.write(config(other))
	w.reload()
	if _, err := n.scrape(metricsAt); err == nil {
		t.Error("the old address still answers")
	}
	_ = must[[]byte](t)(n.scrape(other))
	var taken net.Listener
	need(t, n.router.Do(func() (err error) {
		taken, err = net.Listen("tcp", metricsAt)
		return err
	}))
	defer taken.Close()
	w.write(config(metricsAt))
	if out, status := w.call("reload"); status != mgmt.StatusRefused || !strings.Contains(out, "serve metrics (system.metrics.listen): listen tcp "+metricsAt+": bind: address already in use") {
		t.Errorf("an address that is taken: status %d: %s", status, out)
	}
	now = exposed(t, must[[]byte](t)(n.scrape(other)))
	if now["weir_commits_total{result=failed}"] != 1 || now["weir_log_lines_total{level=error}"] != 1 || now["weir_generation"] != 2 {
		t.Errorf("after a commit that failed: %v failed, generation %v", now["weir_commits_total{result=failed}"], now["weir_generation"])
	}
	w.write(n.config(""))
	w.reload()
	if _, err := n.scrape(other); err == nil {
		t.Error("answers though it is not configured")
	}
	w.stop()
	w.write(config(metricsAt))
	if out := w.fails(); !strings.Contains(out, "address already in use") {
		t.Errorf("a start with an address that is taken: %s", out)
	}
}
