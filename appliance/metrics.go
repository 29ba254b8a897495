package appliance

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/policy/packet"
)

// Collector hands a router's counters to Prometheus. It reads State and Hits when it is asked: a scrape is therefore a
// publication, after which every worker gives back what it has counted for rules, statements and tables. Routes are not
// among the metrics, since there may be a million of them.
type Collector struct{ router *Router }

// NewCollector returns the router's.
func NewCollector(r *Router) *Collector { return &Collector{r} }

// scrapeTime is how long a scrape may take; a worker that is stuck is not waited for longer than that.
const scrapeTime = 5 * time.Second

// metric is a family of metrics: one list defines a name, its help and labels.
type metric struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
}

func counterOf(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("weir_"+name, help, labels, nil), prometheus.CounterValue}
}

func gaugeOf(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("weir_"+name, help, labels, nil), prometheus.GaugeValue}
}

var metrics = struct {
	generation, publications, uptime, troubles                                metric
	received, transmitted, receivedBytes, transmittedBytes                    metric
	generated, punted, waiting, dropped, fragments, fragmented                metric
	icmpLimited, icmpSpared, icmpUnsent                                       metric
	portInfo, portUp, portMTU, portDropped, portSteered                       metric
	queueReceived, queueTransmitted, queueReceivedBytes, queueSentBytes       metric
	queueCompleted, queueKicks, queueErrors, queueRingFull, queueNoFill       metric
	workerInfo, workerEpoch, workerPackets, workerBatches                     metric
	workerSleeps, workerAsleep, neighbors                                     metric
	rulePackets, ruleBytes, statementPackets, statementBytes                  metric
	tableRoutes, tableAnswered, tableAnsweredBytes, tableMissed, tableMissedB metric
	late                                                                      metric
}{
	generation:   gaugeOf("generation", "Generation of the configuration that runs, which counts the commits that came into force."),
	publications: counterOf("publications_total", "What workers were given to run: commits, changes of neighbours, questions such as scrapes."),
	uptime:       gaugeOf("uptime_seconds", "Time since the workers began."),
	troubles:     gaugeOf("troubles", "What went wrong and could not be undone; not 0 means degraded."),

	received:         counterOf("received_packets_total", "Packets received from the kernel by workers."),
	receivedBytes:    counterOf("received_bytes_total", "Bytes of the Ethernet frames received, without FCS."),
	transmitted:      counterOf("transmitted_packets_total", "Packets handed to the kernel for transmission."),
	transmittedBytes: counterOf("transmitted_bytes_total", "Bytes of the Ethernet frames transmitted, without FCS."),
	generated:        counterOf("generated_packets_total", "ICMP errors, redirects and TCP resets that the router made."),
	fragments:        counterOf("fragments_total", "Fragments that the router made of packets longer than the MTU."),
	fragmented:       counterOf("fragmented_packets_total", "Packets that it made them of."),
	punted:           counterOf("punted_packets_total", "Packets given to the kernel by the policy."),
	waiting:          gaugeOf("waiting_packets", "Packets that wait for a neighbour to be resolved, or for the first of their fragments."),
	dropped:          counterOf("dropped_packets_total", "Packets dropped, by reason.", "reason"),
	icmpLimited:      counterOf("icmp_errors_limited_total", "ICMP errors and TCP resets not sent because of the limit of the port."),
	icmpSpared:       counterOf("icmp_errors_spared_total", "ICMP errors not sent because of the limit of their sender."),
	icmpUnsent:       counterOf("icmp_errors_not_allowed_total", "ICMP errors not sent because none may be sent about such a packet."),

	portInfo:    gaugeOf("port_info", "What a port is; always 1.", "port", "mode", "xdp", "driver", "mac"),
	portUp:      gaugeOf("port_up", "Whether the port's link is up.", "port"),
	portMTU:     gaugeOf("port_mtu_bytes", "MTU of the port's netdev.", "port"),
	portDropped: counterOf("port_dropped_packets_total", "Packets dropped that came in by the port, by reason.", "port", "reason"),
	portSteered: counterOf("port_steered_packets_total", "Packets that the XDP program saw, by where it sent them and why.", "port", "class"),

	queueReceived:      counterOf("queue_received_packets_total", "Packets received from the queue.", "port", "queue"),
	queueReceivedBytes: counterOf("queue_received_bytes_total", "Bytes received from the queue.", "port", "queue"),
	queueTransmitted:   counterOf("queue_transmitted_packets_total", "Packets handed to the queue.", "port", "queue"),
	queueSentBytes:     counterOf("queue_transmitted_bytes_total", "Bytes handed to the queue.", "port", "queue"),
	queueCompleted:     counterOf("queue_completed_packets_total", "Packets that the kernel is done with.", "port", "queue"),
	queueKicks:         counterOf("queue_kicks_total", "System calls that made the kernel look at the queue.", "port", "queue"),
	queueErrors:        counterOf("queue_kick_errors_total", "Errors that those answered, by errno.", "port", "queue", "errno"),
	queueRingFull:      counterOf("queue_ring_full_packets_total", "Packets that the kernel dropped because the worker was late.", "port", "queue"),
	queueNoFill:        counterOf("queue_no_fill_packets_total", "Packets that the kernel dropped for want of a chunk.", "port", "queue"),

	workerInfo:    gaugeOf("worker_info", "Which CPU a worker runs on; always 1.", "worker", "cpu"),
	workerEpoch:   gaugeOf("worker_publication", "Publication that the worker runs.", "worker"),
	workerPackets: counterOf("worker_received_packets_total", "Packets that the worker received.", "worker"),
	workerBatches: counterOf("worker_batches_total", "Batches that they came in.", "worker"),
	workerSleeps:  counterOf("worker_sleeps_total", "Times that the worker slept for want of packets.", "worker"),
	workerAsleep:  counterOf("worker_asleep_seconds_total", "Time that it slept; the rest it was busy.", "worker"),
	neighbors:     gaugeOf("neighbors", "Neighbours that workers know, by state.", "state"),

	rulePackets:        counterOf("rule_packets_total", "Packets that a rule matched.", "priority", "rule"),
	ruleBytes:          counterOf("rule_bytes_total", "Bytes of the IP packets that a rule matched.", "priority", "rule"),
	statementPackets:   counterOf("statement_packets_total", "Packets that a statement of marks matched.", "chain", "statement"),
	statementBytes:     counterOf("statement_bytes_total", "Bytes of the IP packets that a statement of marks matched.", "chain", "statement"),
	tableRoutes:        gaugeOf("table_routes", "Routes of a table.", "table"),
	tableAnswered:      counterOf("table_answered_packets_total", "Packets that a route of the table decided.", "table"),
	tableAnsweredBytes: counterOf("table_answered_bytes_total", "Bytes of the IP packets that a route of the table decided.", "table"),
	tableMissed:        counterOf("table_missed_packets_total", "Packets that the table had no answer for.", "table"),
	tableMissedB:       counterOf("table_missed_bytes_total", "Bytes of the IP packets that the table had no answer for.", "table"),
	late:               gaugeOf("hits_late", "Whether a worker did not answer in time, so that its latest hits of rules, statements and tables are missing."),
}

// Describe sends nothing: what there is depends on the configuration (an unchecked collector).
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	e := exposition{out}
	hits := c.router.Hits(ctx)
	state := c.router.State()
	e.totals(&state)
	for i := range state.Ports {
		e.port(&state.Ports[i])
	}
	for _, w := range state.Workers {
		e.worker(w)
	}
	byState := map[string]int{}
	for _, n := range state.Neighbors {
		byState[n.State]++
	}
	for _, s := range append(stateWords[:], stateStatic) {
		e.put(metrics.neighbors, float64(byState[s]), s)
	}
	if hits.Snapshot != nil {
		e.hits(hits)
	}
}

// exposition is one scrape.
type exposition struct{ out chan<- prometheus.Metric }

func (e exposition) put(m metric, value float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(m.description, m.kind, value, labels...)
}

func (e exposition) totals(s *State) {
	t := &s.Totals
	for _, v := range []struct {
		metric
		value float64
	}{
		{metrics.generation, float64(s.Generation)}, {metrics.publications, float64(s.Epoch)}, {metrics.uptime, s.Uptime.Seconds()},
		{metrics.troubles, float64(len(s.Trouble))},
		{metrics.received, float64(t.Received)}, {metrics.receivedBytes, float64(t.ReceivedBytes)},
		{metrics.transmitted, float64(t.Transmitted)}, {metrics.transmittedBytes, float64(t.TransmittedBytes)},
		{metrics.generated, float64(t.Generated)}, {metrics.punted, float64(t.Punted)}, {metrics.waiting, float64(t.Waiting)},
		{metrics.fragments, float64(t.Fragments)}, {metrics.fragmented, float64(t.Fragmented)}, {metrics.icmpSpared, float64(t.ICMPSpared)},
		{metrics.icmpLimited, float64(t.ICMPLimited)}, {metrics.icmpUnsent, float64(t.ICMPUnsent)},
	} {
		e.put(v.metric, v.value)
	}
	for r := packet.None + 1; r < packet.End; r++ { // those that are 0 too, so that a rate has something to begin with
		e.put(metrics.dropped, float64(t.Drops[r.String()]), r.String())
	}
}

func (e exposition) port(p *PortState) {
	up := 0.0
	if p.State == "up" {
		up = 1
	}
	e.put(metrics.portInfo, 1, p.Name, p.Mode, p.XDP, p.Driver, p.MAC)
	e.put(metrics.portUp, up, p.Name)
	e.put(metrics.portMTU, float64(p.MTU), p.Name)
	for reason, n := range p.Drops {
		e.put(metrics.portDropped, float64(n), p.Name, reason)
	}
	for class, n := range p.Steered {
		e.put(metrics.portSteered, float64(n), p.Name, class)
	}
	for _, q := range p.Queues {
		queue := strconv.Itoa(q.Queue)
		for _, v := range []struct {
			metric
			value uint64
		}{
			{metrics.queueReceived, q.Received}, {metrics.queueReceivedBytes, q.ReceivedBytes}, {metrics.queueTransmitted, q.Transmitted},
			{metrics.queueSentBytes, q.TransmittedBytes}, {metrics.queueCompleted, q.Completed}, {metrics.queueKicks, q.Kicks},
			{metrics.queueRingFull, q.RingFull}, {metrics.queueNoFill, q.NoFill},
		} {
			e.put(v.metric, float64(v.value), p.Name, queue)
		}
		for errno, n := range q.Errno {
			e.put(metrics.queueErrors, float64(n), p.Name, queue, errno)
		}
	}
}

func (e exposition) worker(w WorkerState) {
	id := strconv.Itoa(w.Worker)
	e.put(metrics.workerInfo, 1, id, strconv.Itoa(w.CPU))
	e.put(metrics.workerEpoch, float64(w.Epoch), id)
	e.put(metrics.workerPackets, float64(w.Packets), id)
	e.put(metrics.workerBatches, float64(w.Batches), id)
	e.put(metrics.workerSleeps, float64(w.Sleeps), id)
	e.put(metrics.workerAsleep, w.Asleep.Seconds(), id)
}

func (e exposition) hits(h Hits) {
	late := 0.0
	if h.Late != nil {
		late = 1
	}
	e.put(metrics.late, late)
	for _, r := range h.Rules() {
		priority := strconv.FormatUint(uint64(r.Priority), 10)
		e.put(metrics.rulePackets, float64(r.Packets), priority, r.Name)
		e.put(metrics.ruleBytes, float64(r.Bytes), priority, r.Name)
	}
	for _, s := range h.Statements() {
		e.put(metrics.statementPackets, float64(s.Packets), s.Chain, s.Name)
		e.put(metrics.statementBytes, float64(s.Bytes), s.Chain, s.Name)
	}
	for _, t := range h.Tables() {
		e.put(metrics.tableRoutes, float64(t.Routes), t.Name)
		e.put(metrics.tableAnswered, float64(t.Answered.Packets), t.Name)
		e.put(metrics.tableAnsweredBytes, float64(t.Answered.Bytes), t.Name)
		e.put(metrics.tableMissed, float64(t.Missed.Packets), t.Name)
		e.put(metrics.tableMissedB, float64(t.Missed.Bytes), t.Name)
	}
}
