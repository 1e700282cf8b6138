//go:build bench

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var ( // flags after `go test -tags bench ./node/bench`
	quickFlag = flag.Bool("quick", false, "small files and few rounds, for a look: at most 5 minutes, and RESULTS.md is left alone")
	fullFlag  = flag.Bool("full", false, "a store of 5 GiB instead of 1 GiB")
	onlyFlag  = flag.String("only", "", "comma-separated scenarios: herd,ranges,aborts,death,revalidation,offline,throughput,store,wire or wire-goodput,wire-blocked,wire-cut,wire-cpu,central-ceph,delta,region or region-boxes,region-million,region-writes, portal")
	peersFlag = flag.String("peers", "", "comma-separated beginnings of peers' names: préau,nginx,Varnish")
	boxesFlag = flag.Int("boxes", 0, "how many boxes follow the region, if not as many as the scale says")
	profFlag  = flag.String("profiles", "", "folder for CPU and memory profiles of the region's servers")
	outFlag   = flag.String("out", "", "file for the results, instead of the sections of RESULTS.md that a run at normal scale with all peers renews")
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == loaderArgument {
		if err := loaderMain(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "load client:", err)
			os.Exit(1)
		}
		return
	}
	if regionMain(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// scenario is one section of the results, measured peer by peer or all at once.
type scenario struct {
	key   string
	title string
	notes []string
	head  []string
	alone bool // has no peers
	each  func(t *testing.T, p peer, out *table)
	all   func(t *testing.T, out *table)
}

// TestPeers is `make bench`: every scenario, every peer, one report.
func TestPeers(t *testing.T) {
	b := &bench{t: t, dir: t.TempDir(), scale: normalScale}
	if *quickFlag {
		b.scale = quickScale
	}
	if *fullFlag {
		b.scale.store = 5 * giB
	}
	if *boxesFlag > 0 {
		b.scale.region.boxes = *boxesFlag
	}
	b.report = &report{scale: b.scale.name, began: time.Now()}
	if slices.ContainsFunc(b.scenarios(), func(s scenario) bool { return chosen(*onlyFlag, s.key) && !s.alone }) {
		b.gather(t)
	}
	var titles []string
	for _, s := range b.scenarios() {
		titles = append(titles, s.title)
		if !chosen(*onlyFlag, s.key) {
			continue
		}
		out := b.report.table(s.title, s.head...)
		out.notes, out.alone = s.notes, s.alone
		if s.all != nil {
			b.measure(t, s.key, "all", out, func(t *testing.T) { s.all(t, out) })
			continue
		}
		for _, p := range b.peers {
			b.measure(t, s.key, p.name, out, func(t *testing.T) { s.each(t, p, out) })
		}
	}
	b.publish(t, titles)
}

// measure runs one scenario for one peer, if there is time left, and says so.
func (b *bench) measure(t *testing.T, key, who string, out *table, f func(t *testing.T)) {
	if time.Since(b.report.began) > b.scale.limit {
		t.Errorf("%s/%s: not measured, the run has taken %v already", key, who, b.scale.limit)
		b.report.note(out, "%s: not measured, out of time.", who)
		return
	}
	began := time.Now()
	t.Run(key+"/"+who, f)
	fmt.Fprintf(os.Stderr, "%5.0f s  %s, %s: %.1f s\n", time.Since(b.report.began).Seconds(), key, who, time.Since(began).Seconds())
}

// gather finds out which peers can run; those that can't are named in the report.
func (b *bench) gather(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	wanted := func(name string) bool {
		return *peersFlag == "" || slices.ContainsFunc(strings.Split(*peersFlag, ","), func(w string) bool { return strings.HasPrefix(name, w) })
	}
	box, boxErr := "", error(nil)
	if wanted("préau") {
		box, boxErr = buildBox(ctx, b.dir)
	}
	for _, p := range peers(box, boxErr) {
		if !wanted(p.name) {
			continue
		}
		version, err := p.find(ctx)
		switch {
		case err != nil && p.ours:
			t.Fatalf("the box can't run: %v", err)
		case err != nil:
			b.report.peers = append(b.report.peers, fmt.Sprintf("%s: not measured, %v", p.name, err))
			t.Logf("%s: not measured: %v", p.name, err)
		default:
			b.report.peers = append(b.report.peers, p.name+": "+version)
			b.peers = append(b.peers, p)
		}
	}
	if len(b.peers) == 0 {
		t.Fatal("no peer can run")
	}
}

// publish writes what was measured: to the file that was asked for; or, if it
// was measured at normal scale with all peers, into RESULTS.md, where what was
// not measured stays as it was.
func (b *bench) publish(t *testing.T, titles []string) {
	file, old := *outFlag, ""
	if file == "" && *peersFlag == "" && !*quickFlag && !*fullFlag && *boxesFlag == 0 && !t.Failed() {
		file = "RESULTS.md"
		was, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		old = string(was)
	}
	text := b.report.markdown(old, titles)
	if file == "" {
		t.Logf("not at normal scale, not with all peers, or it failed, so not written anywhere:\n%s", text)
		return
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("results are in %s", file)
}

// chosen says whether key is in a comma-separated list, or what comes before a
// hyphen in it; the empty list has all.
func chosen(list, key string) bool {
	return list == "" || slices.ContainsFunc(strings.Split(list, ","), func(w string) bool { return w == key || strings.HasPrefix(key, w+"-") })
}
