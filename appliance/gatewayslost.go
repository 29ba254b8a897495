package appliance

import (
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// gatewayLinesMax is how many lines of gateways that come and go the log gets a minute: a link with thousands of them behind
// it, or one that flaps, must not push everything else out of it.
const gatewayLinesMax = 60

// gatewayLog is what the log has told of gateways. They are known by name, so that commits do not matter.
type gatewayLog struct {
	told   map[gatewayName]bool // those that are lost
	minute time.Time            // when the count began
	lines  int                  // in this minute
	silent int                  // changes that found no room in it
}

type gatewayName struct {
	port string
	addr netip.Addr
}

// tellGateways logs which gateways have been lost since it last looked, and which answer again. Where a link is down, that
// is what has been logged: what becomes of its gateways shows when it is up. r.mu must be held.
func (r *Router) tellGateways(s *setup) {
	l := &r.neighbors.lost
	l.flush(r.log, time.Now())
	all := s.snap.Adjacencies
	lost := map[gatewayName]bool{}
	for i := range s.gateways() {
		a := all.At(i)
		if !a.Neighbor.Addr.IsValid() || !a.Lost && len(l.told) == 0 {
			continue
		}
		name := gatewayName{s.snap.PortName(a.Neighbor.Port), a.Neighbor.Addr}
		was, is := l.told[name], a.Lost
		if all.Down(a.Neighbor.Port) {
			is = was
		}
		if is {
			lost[name] = true
		}
		if is != was {
			l.tell(r.log, name, is)
		}
	}
	l.told = lost // those that no route leads to any more are forgotten
}

func (l *gatewayLog) tell(log *zap.Logger, name gatewayName, lost bool) {
	if l.lines >= gatewayLinesMax {
		l.silent++
		return
	}
	l.lines++
	message := "gateway answers"
	if lost {
		message = "gateway lost"
	}
	log.Info(message, zap.String("port", name.port), zap.Stringer("gateway", name.addr))
}

// flush begins another minute.
func (l *gatewayLog) flush(log *zap.Logger, now time.Time) {
	if now.Sub(l.minute) < time.Minute {
		return
	}
	if l.silent > 0 {
		log.Info("gateways lost or back, not logged", zap.Int("changes", l.silent))
	}
	l.minute, l.lines, l.silent = now, 0, 0
}
