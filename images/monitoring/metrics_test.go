package monitoring_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/box"
	"preau/node/central"
	"preau/node/config"
	"preau/node/control"
	"preau/node/front"
	"preau/node/listen"
	"preau/node/region"
)

var update = flag.Bool("update", false, "write METRICS.md and the dashboards anew")

var quiet = slog.New(slog.DiscardHandler)

// metric is what a node says of one of its metrics.
type metric struct {
	name, help string
	labels     []string
	on         []string // the roles that have it
}

// nodes are a region's server, its gateway and a box, which run until the test
// ends, each with its registry.
func nodes(t *testing.T) map[string]*prometheus.Registry {
	t.Helper()
	out := map[string]*prometheus.Registry{}
	site := front.Site{}
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "library", "http://127.0.0.1:9", []string{"library.example.org"}

	rc := region.DefaultConfig()
	rc.Data, rc.Listen, rc.Budget = filepath.Join(t.TempDir(), "server"), freeAddress(t), 64*config.MiB
	rc.Admin.Listen, rc.Site, rc.Central.Address = "127.0.0.1:0", []front.Site{site}, freeAddress(t)
	rc.Locate.Listen = []listen.Config{{Address: "127.0.0.1:0"}}
	rc.Locate.Domain = "boxes.example.org"
	if _, err := region.Found(t.Context(), rc, region.Founding{Name: "Lyon", Server: "s1"}, quiet); err != nil {
		t.Fatal(err)
	}
	g, err := region.New(t.Context(), rc, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out["region"] = run(t, g, g.Run)
	operator, err := control.Open(region.OperatorDir(rc.Data), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	invite := func(q control.TokenRequest) string {
		var token control.Token
		eventually(t, func() (err error) {
			token, err = operator.Token(t.Context(), q)
			return err
		})
		return token.Token
	}

	cc := central.DefaultConfig()
	cc.Data, cc.Directory, cc.Listen, cc.Admin.Listen = t.TempDir(), filepath.Join(t.TempDir(), "buckets"), rc.Central.Address, "127.0.0.1:0"
	cc.Buckets, cc.MakeThem, cc.Locate.Listen = []string{"lessons"}, true, []listen.Config{{Address: "127.0.0.1:0"}}
	cc.Locate.Domain = "boxes.example.org"
	token := invite(control.TokenRequest{Role: "central"})
	id, err := control.RegionOf(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Enrol(t.Context(), control.Enrolment{Token: token, Role: "central", Name: "central", Dir: central.RegionDir(cc.Data, id)}); err != nil {
		t.Fatal(err)
	}
	c, err := central.New(t.Context(), cc, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out["central"] = run(t, c, c.Run)

	bc := box.DefaultConfig()
	bc.Data, bc.Admin.Listen, bc.Budget = t.TempDir(), "127.0.0.1:0", 64*config.MiB
	bc.Deposits.Budget = 64 * config.MiB
	bc.Site, bc.Listen = []front.Site{site}, []listen.Config{{Address: ":0"}} // one on loopback alone has no neighbours
	bc.Neighbours.Listen, bc.Neighbours.Gossip, bc.Neighbours.Name = "127.0.0.1:0", freeAddress(t), ""
	bc.Public.Name, bc.Public.ACME.Listen, bc.Public.ACME.Directory = "library.boxes.example.org", "127.0.0.1:0", "https://127.0.0.1:9/directory"
	token = invite(control.TokenRequest{Role: "box", School: "0690001A"})
	if _, err := control.Enrol(t.Context(), control.Enrolment{Token: token, Role: "box", Name: "library", Dir: filepath.Join(bc.Data, "identity")}); err != nil {
		t.Fatal(err)
	}
	b, err := box.New(t.Context(), bc, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out["box"] = run(t, b, b.Run)
	return out
}

// run runs a node until the test ends, and gives its registry, which is its own
// affair otherwise.
func run(t *testing.T, node any, run func(context.Context) error) *prometheus.Registry {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * time.Minute):
			t.Error("a node does not stop")
		}
	})
	field := reflect.ValueOf(node).Elem().FieldByName("reg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*prometheus.Registry]() {
		t.Fatalf("%T keeps its registry elsewhere", node)
	}
	return (*prometheus.Registry)(field.UnsafePointer())
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.87.%d.%d:0", os.Getpid()>>8&0xff, os.Getpid()&0xff))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func eventually(t *testing.T, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if err = fn(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("still: %v", err)
}

// described reads the text of a description, which has no other way in.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: (".*"), constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// registered are all metrics of ours, by name, those that count nothing yet too.
func registered(t *testing.T, registries map[string]*prometheus.Registry) map[string]*metric {
	t.Helper()
	out := map[string]*metric{}
	for role, reg := range registries {
		descs := make(chan *prometheus.Desc)
		go func() {
			reg.Describe(descs)
			close(descs)
		}()
		for d := range descs {
			m := described.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("%s is described in another way", d)
			}
			if !strings.HasPrefix(m[1], "preau_") {
				continue // Go's, and the process's
			}
			var help string
			if _, err := fmt.Sscanf(m[2], "%q", &help); err != nil {
				t.Fatalf("%s: %v", m[1], err)
			}
			one := out[m[1]]
			if one == nil {
				one = &metric{name: m[1], help: help}
				out[m[1]] = one
			}
			if one.help != help {
				t.Errorf("%s says %q, and elsewhere %q", m[1], one.help, help)
			}
			if !slices.Contains(one.on, role) {
				one.on = append(one.on, role)
			}
			for _, l := range labelsOf(m[3], m[4]) {
				if !slices.Contains(one.labels, l) {
					one.labels = append(one.labels, l)
				}
			}
		}
	}
	return out
}

func labelsOf(constant, variable string) []string {
	var out []string
	for pair := range strings.SplitSeq(constant, ",") {
		if name, _, ok := strings.Cut(pair, "="); ok {
			out = append(out, name)
		}
	}
	for name := range strings.SplitSeq(variable, ",") {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// page is METRICS.md.
func page(all map[string]*metric) string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nWritten by `go test ./images/monitoring -update`. Every node also has those of Go's runtime\n(`go_*`) and of the process (`process_*`). A name that ends in `_total` counts up from the\nprogram's start; the others go up and down.\n\n")
	b.WriteString("| metric | on | labels | what it says |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		slices.Sort(m.on)
		slices.Sort(m.labels)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.Join(m.on, ", "), strings.Join(m.labels, ", "), strings.ReplaceAll(m.help, "|", "\\|"))
	}
	return b.String()
}

var named = regexp.MustCompile(`\bpreau_[a-z0-9_]+\b`)

// TestEveryMetricIsDocumentedAndNoneIsInvented looks at the registries of a real
// region, its gateway and a box.
func TestEveryMetricIsDocumentedAndNoneIsInvented(t *testing.T) {
	registries := nodes(t)
	var all map[string]*metric
	eventually(t, func() error { // neighbours are looked for once the box runs
		all = registered(t, registries)
		for _, late := range []string{"preau_gossip_members", "preau_mdns_packets_total"} {
			if all[late] == nil {
				return fmt.Errorf("%s is not there", late)
			}
		}
		return nil
	})
	for name, m := range all {
		if m.help == "" {
			t.Errorf("%s has no words", name)
		}
	}
	written(t, "METRICS.md", page(all))
	for file, content := range dashboards(t) {
		written(t, file, content)
	}
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, file := range files {
		if ext := filepath.Ext(file); ext != ".yml" && ext != ".json" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			looked++
			if all[name] == nil {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
	if looked < 50 {
		t.Errorf("only %d names were looked at", looked)
	}
	for name, where := range literals(t) {
		if all[name] == nil {
			t.Errorf("%s names a metric %s that no node has", where, name)
		}
	}
}

// written compares a file with what it should be, or writes it.
func written(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what it should be (%v): run go test ./images/monitoring -update", file, err)
	}
}

// literals are the metrics' names that are written out in the code, each with the
// file.
func literals(t *testing.T) map[string]string {
	t.Helper()
	quoted := regexp.MustCompile(`Name:\s*"(preau_[a-z0-9_]*[a-z0-9])"`)
	out := map[string]string{}
	for _, top := range []string{"cache", "discovery", "replication", "node"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
				out[m[1]] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 20 {
		t.Errorf("only %d names are written out in the code", len(out))
	}
	return out
}
