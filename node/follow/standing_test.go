package follow

import (
	"errors"
	"testing"
	"time"

	"preau/replication/wire"
)

// The feed and all else have connections of their own: both are told, and what
// was never used is not.
func TestPathsAreToldByServer(t *testing.T) {
	now := time.Now()
	bulk := []wire.PathState{
		{Target: wire.Target{Name: "s2", Address: "192.0.2.2:1"}, Way: "quic", Chosen: "race", RTT: 20 * time.Millisecond, Loss: 0.1, Goodput: 1000, Lanes: "quic 2", Used: now},
		{Target: wire.Target{Name: "s3", Address: "192.0.2.3:1"}},
	}
	feeds := []wire.PathState{{
		Target: wire.Target{Name: "s1", Address: "192.0.2.1:1"}, Way: "tcp", Used: now.Add(-time.Hour), Failed: now, Err: errors.New("no way there"),
	}}
	got := pathsOf(bulk, feeds)
	if len(got) != 2 || got[0].To != "s1" || got[1].To != "s2" {
		t.Fatalf("%+v", got)
	}
	if p := got[1]; p.Transport != "quic" || p.RTT != 0.02 || p.Goodput != 1000 || p.Loss != 0.1 || p.Reason != "" || p.Lanes != "quic 2" {
		t.Errorf("%+v", p)
	}
	if p := got[0]; p.Reason == "" || p.Transport != "tcp" {
		t.Errorf("a path that fails: %+v", p)
	}
}
