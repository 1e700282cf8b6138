package uplink_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/node/uplink"
	"preau/replication/central"
	"preau/replication/hold"
)

// line leads to a gateway, unless it is cut.
type line struct {
	to  http.RoundTripper
	cut atomic.Bool
}

var errCut = errors.New("the line is cut")

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errCut
	}
	return l.to.RoundTrip(r)
}

func TestAReportTellsHowFarItIs(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	o := g.publish("a", []byte("a"), central.Meta{})
	var leader *uplink.Uplink
	t.Run("leading", func(t *testing.T) {
		leader = begin(t, r, g)
		synced := func() bool {
			b := leader.Report().Buckets
			return len(b) == 1 && !b[0].Synced.IsZero() && b[0].Behind == 0
		}
		until(t, "all of the bucket", synced)
		got := leader.Report()
		if got.Buckets[0].Name != "lecons" || !got.Reachable || got.Since.IsZero() || got.Asked.Before(got.Since) || got.Err != nil {
			t.Errorf("%+v", got)
		}
		g.publish("b", []byte("b"), central.Meta{})
		until(t, "the news", func() bool { return leader.Report().Buckets[0].Synced.After(got.Buckets[0].Synced) })
	})
	if got := leader.Report(); len(got.Buckets) != 0 || got.Asked.IsZero() {
		t.Errorf("a server that leads no longer tells of what it follows: %+v", got)
	}

	entries, err := hold.DecodeList(g.lists[o.List], o.Length)
	if err != nil {
		t.Fatal(err)
	}
	rt := &line{to: inside{h: g.handler()}}
	reg := prometheus.NewRegistry()
	u, err := uplink.New(uplink.Config{}, r, rt, rt, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Report(); !got.Asked.IsZero() || !got.Since.IsZero() || got.Reachable {
		t.Errorf("before anything was asked: %+v", got)
	}
	fill := func() error {
		_, err := u.Fill(t.Context(), entries[0].Digest, central.ResourceID("lecons", o.Key), false)
		return err
	}
	rt.cut.Store(true)
	if err := fill(); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	first := u.Report()
	if first.Reachable || first.Since.IsZero() || !errors.Is(first.Err, errCut) {
		t.Errorf("with the line cut: %+v", first)
	}
	if err := fill(); err == nil {
		t.Error("a block came over a line that is cut")
	}
	if again := u.Report(); again.Since != first.Since || !again.Asked.After(first.Asked) {
		t.Errorf("still cut: %+v, before %+v", again, first)
	}
	rt.cut.Store(false)
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	if back := u.Report(); !back.Reachable || back.Err != nil || !back.Since.After(first.Since) {
		t.Errorf("with the line back: %+v", back)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}

// What is at fault here is not said of the gateway.
func TestADepositWithoutItsBlocksSaysNothingOfTheGateway(t *testing.T) {
	g, r := newGateway(t), newRegion(t)
	d := deposited(t, r, "d-1", "a.txt", []byte("a"))
	entries, err := hold.DecodeList(r.blocks[d.Manifest], d.Length)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	delete(r.blocks, entries[0].Digest)
	r.mu.Unlock()
	u, reg := beginOver(t, r, &line{to: inside{h: g.handler()}})
	failed := func() bool {
		text := `
# HELP preau_uplink_deposits_total Attempts to bring a deposit up.
# TYPE preau_uplink_deposits_total counter
preau_uplink_deposits_total{result="failed"} 1
`
		return testutil.GatherAndCompare(reg, strings.NewReader(text), "preau_uplink_deposits_total") == nil
	}
	until(t, "the attempt", failed)
	if got := u.Report(); !got.Asked.IsZero() && !got.Reachable {
		t.Errorf("%+v", got)
	}
	const waits = `
# HELP preau_uplink_deposits_oldest_timestamp_seconds When the oldest of these deposits was added, 0 if there is none.
# TYPE preau_uplink_deposits_oldest_timestamp_seconds gauge
preau_uplink_deposits_oldest_timestamp_seconds 1e+09
# HELP preau_uplink_deposits_waiting Deposits that the centre does not keep yet.
# TYPE preau_uplink_deposits_waiting gauge
preau_uplink_deposits_waiting 1
# HELP preau_uplink_deposits_waiting_bytes Bytes of the deposits that the centre does not keep yet.
# TYPE preau_uplink_deposits_waiting_bytes gauge
preau_uplink_deposits_waiting_bytes 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(waits), "preau_uplink_deposits_waiting", "preau_uplink_deposits_waiting_bytes",
		"preau_uplink_deposits_oldest_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}
