package hold_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// gauge is a metric without labels, read again as a collector of its own.
func gauge(t *testing.T, s *server, name string) prometheus.Collector {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
	for _, f := range families {
		if f.GetName() == name {
			g.Set(f.GetMetric()[0].GetGauge().GetValue())
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func TestTheMetricsAreTheOnesOfThePackageDoc(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	source, err := os.ReadFile("hold.go")
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 100)
	s.reg.Describe(descs)
	close(descs)
	var have, documented []string
	for d := range descs {
		have = append(have, regexp.MustCompile(`preau_hold_\w+`).FindString(d.String()))
	}
	for _, m := range regexp.MustCompile(`(?m)^//\t(preau_hold_\w+)`).FindAllStringSubmatch(string(source), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(have)
	slices.Sort(documented)
	if !slices.Equal(have, documented) {
		t.Errorf("metrics are\n%q, the package's doc has\n%q", have, documented)
	}
	if problems, err := testutil.GatherAndLint(s.reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
