package tube_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/edge"
	"preau/cache/profile"
	"preau/cache/profile/platformtest"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// school is a box's cache before a PeerTube, with a film on it.
type school struct {
	t     *testing.T
	tube  *platformtest.PeerTube
	line  *line
	edge  *edge.Handler
	dir   string
	log   buffer
	told  buffer // what the counts of popularity hear
	regs  []*prometheus.Registry
	close func() // of the cache; nothing runs after it
}

// newSchool starts the cache, with a line of rate bytes a second.
func newSchool(t *testing.T, rate float64) *school {
	t.Helper()
	s := &school{t: t, tube: platformtest.NewPeerTube(true), dir: t.TempDir()}
	s.line = newLine(s.tube, rate)
	s.tube.SetClock(time.Now)
	rules, err := profile.New("peertube", profile.Adjust{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.regs = []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	site := &edge.Site{Name: "tube", Hosts: []string{"*"}, Rules: rfc9111.DefaultRules(), List: true, Upstream: s.line, Profile: rules}
	if s.edge, err = edge.New([]*edge.Site{site}, log, s.regs[0]); err != nil {
		t.Fatal(err)
	}
	s.edge.SetObserver(func(site, name string, listed bool) { _, _ = fmt.Fprintln(&s.told, site, name, listed) })
	store, err := storage.Open(storage.DefaultConfig(s.dir, 128<<20), log, s.regs[1])
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	s.edge.SetStorage(store)
	s.close = sync.OnceFunc(func() {
		s.edge.Close()
		s.edge.SetStorage(nil)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// metrics is all that the cache counts, as text.
func (s *school) metrics() string {
	s.t.Helper()
	var b strings.Builder
	for _, reg := range s.regs {
		families, err := reg.Gather()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range families {
			fmt.Fprintln(&b, f)
		}
	}
	return b.String()
}

// counted is the sum of a counter over all labels but those that are given.
func (s *school) counted(name, value string) (n float64) {
	s.t.Helper()
	families, err := s.regs[0].Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == value {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// get asks the box as a device does.
func (s *school) get(target string, header ...string) *answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://box.example"+target, http.NoBody)
	if err != nil {
		s.t.Error(err)
		return &answer{}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := &answer{header: http.Header{}}
	w.broken = w.serve(s.edge, r)
	return w
}

// answer is an http.ResponseWriter that keeps what it is given.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	broken bool
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// serve has h answer, and reports whether the answer was broken off.
func (a *answer) serve(h http.Handler, r *http.Request) (broken bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // what a handler panics with
				panic(p)
			}
			broken = true
		}
	}()
	h.ServeHTTP(a, r)
	return false
}

// film is a film of one rendition.
type film struct {
	folder, name string // of the file
	master       string
	list         string // its playlist
	data         []byte
	starts       []int // of its fragments, and the end
	each         time.Duration
}

// add adds a film to the platform: n fragments of each, at about rate bytes a second.
func (s *school) add(n int, each time.Duration, rate float64, heights ...int) *film {
	if len(heights) == 0 {
		heights = []int{480}
	}
	id := s.tube.UUID("public")
	f := &film{folder: "/static/streaming-playlists/hls/" + id + "/", name: s.tube.Files(id) + "-480-fragmented.mp4", each: each}
	f.master, f.list = f.folder+s.tube.Files(id)+"-master.m3u8", f.folder+s.tube.Files(id)+"-480.m3u8"
	dice := rand.New(rand.NewPCG(1, 2))
	f.starts = []int{1377}
	for i := range n { // some scenes need more than others
		size := rate * each.Seconds() * (0.7 + 0.6*dice.Float64())
		f.starts = append(f.starts, f.starts[i]+int(size))
	}
	f.data = platformtest.Noise(f.starts[n], 9)
	s.tube.Add(platformtest.Video{UUID: id, Heights: heights, Length: each.Seconds(), Data: func(string) ([]byte, []int) { return f.data, f.starts }})
	return f
}

// buffer is written to by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// files calls fn for every file below dir.
func files(t *testing.T, dir string, fn func(name string, b []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			fn(path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
