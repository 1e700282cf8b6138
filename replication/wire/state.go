package wire

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
)

// PathState is how a server is reached at the moment.
type PathState struct {
	Target Target `json:"target"`
	// Way of the last answer, "" before there was one.
	Way Way `json:"way,omitempty"`
	// Chosen is how it came to that way, "" if nothing was chosen yet.
	Chosen Choice `json:"chosen,omitempty"`
	// RTT is smoothed, by TCP or QUIC itself; 0 if no connection is open.
	RTT time.Duration `json:"rtt,omitempty"`
	// Loss is the share of what we sent that was lost, over the connections that
	// are open: what the other side sends and we never see is not in it.
	Loss float64 `json:"loss"`
	// Goodput is what bulk brought lately, in bytes of bodies a second, while it
	// had enough to do. 0 if there was none.
	Goodput float64 `json:"goodput,omitempty"`
	// Lanes are bulk's connections, for instance "tcp 2, quic 4".
	Lanes string `json:"lanes,omitempty"`
	// Used is when the last answer came, Failed when the last request or dial
	// failed, and Error how.
	Used   time.Time `json:"used,omitzero"`
	Failed time.Time `json:"failed,omitzero"`
	Error  string    `json:"error,omitempty"`
	Err    error     `json:"-"` // the same
}

// Choice is how it came to a way.
type Choice string

// The choices there are.
const (
	ByRace   Choice = "race"   // the first handshake won
	ByMemory Choice = "memory" // TCP had won from here before, and QUIC is tried again later
	ByProbe  Choice = "probe"  // QUIC was tried again, and works by now
	ByProxy  Choice = "proxy"  // an HTTP proxy carries TCP alone
	ByConfig Choice = "config" // QUIC is off
)

// Paths tells how each server is reached that this dialer has been used for, in
// order of address. It may be called at any time.
func (d *Dialer) Paths() []PathState { return d.paths.states() }

// live is what has connections open.
type live interface {
	// gauges are the round-trip time of a connection, and packets lost and sent.
	gauges() []gauge
	bulk() (goodput float64, lanes string)
}

// gauge is what one connection says of its path.
type gauge struct {
	rtt        time.Duration
	lost, sent uint64
}

type paths struct {
	mu    sync.Mutex
	of    map[Target]*PathState
	lives map[live]Target
}

const pathsMost = 256

func newPaths() *paths { return &paths{of: map[Target]*PathState{}, lives: map[live]Target{}} }

func (p *paths) join(l live, target Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives[l] = target
}

func (p *paths) leave(l live) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lives, l)
}

// at is the state of a target. The lock is held.
func (p *paths) at(target Target) *PathState {
	s := p.of[target]
	if s == nil {
		if len(p.of) >= pathsMost {
			oldest := slices.MinFunc(values(p.of), func(a, b *PathState) int { return a.Used.Compare(b.Used) })
			delete(p.of, oldest.Target)
		}
		s = &PathState{Target: target}
		p.of[target] = s
	}
	return s
}

func values(of map[Target]*PathState) []*PathState {
	out := make([]*PathState, 0, len(of))
	for _, s := range of {
		out = append(out, s)
	}
	return out
}

func (p *paths) worked(target Target, way Way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(target)
	s.Way, s.Used = way, time.Now()
}

func (p *paths) chose(target Target, by Choice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at(target).Chosen = by
}

func (p *paths) failed(target Target, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(target)
	s.Failed, s.Error, s.Err = time.Now(), err.Error(), err
}

func (p *paths) states() []PathState {
	p.mu.Lock()
	lives := maps.Clone(p.lives)
	states := map[Target]PathState{}
	for target, s := range p.of {
		states[target] = *s
	}
	p.mu.Unlock()

	gauges := map[Target][]gauge{}
	for l, target := range lives {
		s, used := states[target]
		if !used {
			continue
		}
		gauges[target] = append(gauges[target], l.gauges()...)
		if goodput, lanes := l.bulk(); lanes != "" {
			s.Goodput, s.Lanes = goodput, lanes
		}
		states[target] = s
	}
	var out []PathState
	for target, s := range states {
		var lost, sent uint64
		for _, g := range gauges[target] {
			if g.rtt > 0 && (s.RTT == 0 || g.rtt < s.RTT) { // the least is the least disturbed by queues
				s.RTT = g.rtt
			}
			lost, sent = lost+g.lost, sent+g.sent
		}
		if sent > 0 {
			s.Loss = min(1, float64(lost)/float64(sent))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PathState) int {
		return cmp.Or(cmp.Compare(a.Target.Address, b.Target.Address), cmp.Compare(a.Target.Name, b.Target.Name))
	})
	return out
}

// gauges implements live.
func (t *Transport) gauges() []gauge {
	t.mu.Lock()
	var conns []net.Conn
	for o := range t.open {
		conns = append(conns, o.Conn)
	}
	quic := slices.Clone(t.quic)
	t.mu.Unlock()
	var out []gauge
	for _, conn := range conns {
		if g, ok := gaugeOf(conn); ok {
			out = append(out, g)
		}
	}
	for _, q := range quic {
		if q.alive() {
			out = append(out, q.gauge())
		}
	}
	return out
}

// bulk implements live.
func (t *Transport) bulk() (float64, string) { return 0, "" }

func (q *quicConn) gauge() gauge {
	s := q.conn.ConnectionStats()
	return gauge{rtt: s.SmoothedRTT, lost: s.PacketsLost, sent: s.PacketsSent}
}

// Collector gives the state of the paths of this dialer and of others as metrics:
// see the package's list. A process registers one for all its dialers.
func (d *Dialer) Collector(others ...*Dialer) prometheus.Collector {
	return collector{append([]*Dialer{d}, others...)}
}

type collector struct{ of []*Dialer }

var ( // values, never changed
	descWay     = prometheus.NewDesc("preau_wire_path", "How a server was reached last: 1 for the way in use.", []string{"server", "way"}, nil)
	descRTT     = prometheus.NewDesc("preau_wire_path_rtt_seconds", "Smoothed round-trip time to a server.", []string{"server"}, nil)
	descLoss    = prometheus.NewDesc("preau_wire_path_loss_ratio", "Share of the packets sent to a server that was lost.", []string{"server"}, nil)
	descGoodput = prometheus.NewDesc("preau_wire_path_goodput_bytes_per_second", "What bulk from a server brought lately while it had enough to do.", []string{"server"}, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWay, descRTT, descLoss, descGoodput} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	newest := map[string]PathState{} // a server may have had two addresses
	for _, d := range c.of {
		for _, s := range d.Paths() {
			if known, ok := newest[s.label()]; !ok || s.Used.After(known.Used) {
				newest[s.label()] = s
			}
		}
	}
	for label, s := range newest {
		for _, way := range []Way{OverQUIC, OverTCP, OverProxy} {
			value := 0.0
			if s.Way == way {
				value = 1
			}
			to <- prometheus.MustNewConstMetric(descWay, prometheus.GaugeValue, value, label, string(way))
		}
		to <- prometheus.MustNewConstMetric(descRTT, prometheus.GaugeValue, s.RTT.Seconds(), label)
		to <- prometheus.MustNewConstMetric(descLoss, prometheus.GaugeValue, s.Loss, label)
		to <- prometheus.MustNewConstMetric(descGoodput, prometheus.GaugeValue, s.Goodput, label)
	}
}

// label is the server's name, of which a region has a handful.
func (s PathState) label() string {
	return cmp.Or(string(s.Target.Name), string(s.Target.Role), string(identity.Server))
}
