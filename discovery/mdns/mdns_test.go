package mdns_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/discovery/mdns"
)

func valid() mdns.Config {
	cfg := mdns.DefaultConfig()
	cfg.Instance, cfg.Port = "box-1", 4433
	return cfg
}

func TestAConfigTellsAllItsMistakes(t *testing.T) {
	bad := mdns.Config{
		Instance: strings.Repeat("x", 64), Port: 70000, HTTPPort: 80, Title: ".", Text: []string{"novalue", "=x", "k=" + strings.Repeat("v", 1000)},
		Shared: "preau.local", Own: "-x", Interfaces: []string{"eth["}, BrowseEvery: time.Millisecond,
	}
	_, err := mdns.New(bad, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"instance", "port 70000", "title", `"novalue"`, `"=x"`, "255", "900", "shared name", "own name", `"eth["`, "browse_every"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	same := valid()
	same.Own = same.Shared
	for name, cfg := range map[string]mdns.Config{"nothing": {}, "the defaults alone": mdns.DefaultConfig(), "one name for both": same} {
		if cfg.Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
	for _, good := range []func(c *mdns.Config){
		func(*mdns.Config) {},
		func(c *mdns.Config) { c.Shared = "" },
		func(c *mdns.Config) { c.HTTPPort, c.Title = 80, "Préau, École n. 1" },
		func(c *mdns.Config) {
			c.Own, c.Text, c.Interfaces = "preau-ecole", []string{"v=", `k=\"é`}, []string{"eth*", "wlan0"}
		},
	} {
		cfg := valid()
		good(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestRunWithoutANetworkGoesOnUntilItIsStopped(t *testing.T) {
	cfg := valid()
	cfg.Interfaces, cfg.Own = []string{"no-such-interface"}, "ecole"
	reg := prometheus.NewPedanticRegistry()
	m, err := mdns.New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be run again
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		// The browse at the start finds nothing to browse on.
		for begin := time.Now(); browses(t, reg, "alone") == 0; {
			select {
			case err := <-ended:
				t.Fatalf("Run ended: %v", err)
			case <-time.After(5 * time.Millisecond):
			}
			if time.Since(begin) > time.Minute {
				t.Fatal("nothing is browsed")
			}
		}
		if len(m.Hints()) > 0 || m.OwnName() != "" {
			t.Errorf("hints %v, name %q", m.Hints(), m.OwnName())
		}
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("Run does not end")
		}
	}
}

func browses(t *testing.T, reg *prometheus.Registry, result string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "preau_mdns_browses_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestMetricsAreNamedAsDocumented(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := mdns.New(valid(), slog.New(slog.DiscardHandler), reg); err != nil {
		t.Fatal(err)
	}
	if _, err := mdns.New(valid(), slog.New(slog.DiscardHandler), reg); err == nil {
		t.Error("two on one registry")
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"preau_mdns_packets_total": 4, "preau_mdns_browses_total": 3, "preau_mdns_hints": 1, "preau_mdns_renamed_total": 1,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d values, want %d (%v)", name, n, want, err)
		}
	}
}
