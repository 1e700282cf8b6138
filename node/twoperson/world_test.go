package twoperson_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/edge"
	"preau/cache/profile"
	"preau/cache/profile/platformtest"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

// world is a cache in front of a platform.
type world struct {
	dir     string
	p       platformtest.Platform
	profile *profile.Profile
	line    *line
	edge    *edge.Handler
	faces   []http.Handler // for devices, neighbours, peers
	regs    []*prometheus.Registry
	log     buffer
	told    buffer
	keeps   bool // what is a person's own may be kept for that person, as RFC 9111 allows by Vary

	store *storage.Storage
	stop  context.CancelFunc
	ended chan error
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

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func newWorld(dir, name string, p platformtest.Platform, adjust profile.Adjust) (*world, error) {
	w := &world{dir: dir, p: p, line: newLine(p)}
	var err error
	if w.profile, err = profile.New(name, adjust); err != nil {
		return nil, err
	}
	return w, w.boot()
}

// boot starts the cache.
func (w *world) boot() error {
	reg := prometheus.NewRegistry()
	w.regs = append(w.regs, reg)
	site := &edge.Site{Name: "site", Hosts: []string{"*"}, Rules: rfc9111.DefaultRules(), List: true, Upstream: w.line, Profile: w.profile}
	var err error
	if w.edge, err = edge.New([]*edge.Site{site}, w.logger(), reg); err != nil {
		return err
	}
	w.edge.SetObserver(func(site, name string, listed bool) { _, _ = fmt.Fprintln(&w.told, site, name, listed) })
	w.faces = []http.Handler{w.edge, w.edge.Neighbours(), w.edge.Peers()}
	return w.open()
}

// reboot ends the cache and starts it again: what it had in memory only is lost.
func (w *world) reboot() error {
	w.edge.Close()
	return errors.Join(w.shut(), w.boot())
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open opens the storage.
func (w *world) open() error {
	reg := prometheus.NewRegistry() // it is made anew with each storage
	w.regs = append(w.regs, reg)
	// A program that another test starts has all our files until it is under way, and
	// with them Badger's own lock, which is given up by closing its file.
	syscall.ForkLock.RLock()
	syscall.ForkLock.RUnlock() //nolint:staticcheck // nothing is to be done: it was waited for
	s, err := storage.Open(storage.DefaultConfig(w.dir, 96<<20), w.logger(), reg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	w.store, w.stop, w.ended = s, stop, make(chan error, 1)
	go func() { w.ended <- s.Run(ctx) }()
	w.edge.SetStorage(s)
	return nil
}

func (w *world) shut() error {
	w.edge.SetStorage(nil)
	if w.ended == nil {
		return nil // it could not be opened again
	}
	w.stop()
	err := <-w.ended
	w.ended = nil
	return err
}

// close ends the world and looks through what it leaves.
func (w *world) close(finds func(where string, b []byte)) error {
	w.edge.Close()
	err := w.shut()
	finds("the log", w.log.bytes())
	finds("what the observer was told", w.told.bytes())
	var gathered error
	var text bytes.Buffer
	for _, reg := range w.regs {
		families, err := reg.Gather()
		gathered = errors.Join(gathered, err)
		for _, f := range families {
			_, _ = fmt.Fprintln(&text, f.String())
		}
	}
	finds("the metrics", text.Bytes())
	walked := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rest, _ := filepath.Rel(w.dir, path)
		finds("the file "+rest, append([]byte(rest+"\n"), b...))
		return nil
	})
	return errors.Join(err, gathered, walked)
}

// secrets are what may be in nothing that is kept or told.
func (w *world) secrets() []string {
	list := w.p.Secrets()
	if !w.keeps {
		list = append(list, "only-for-")
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// search reports the secrets that are in what the world left behind.
func (w *world) search() (found []string, err error) {
	secrets := w.secrets()
	err = w.close(func(where string, b []byte) {
		for _, s := range secrets {
			if i := bytes.Index(b, []byte(s)); i >= 0 {
				found = append(found, fmt.Sprintf("%s is in %s: %.200q", s, where, b[max(0, i-80):min(len(b), i+80)]))
			}
		}
	})
	return found, err
}

// TestSearchFindsWhatIsThere, so that what it does not find is not there.
func TestSearchFindsWhatIsThere(t *testing.T) {
	p := platformtest.NewPlain()
	for where, leave := range map[string]func(w *world){
		"the log":                    func(w *world) { _, _ = fmt.Fprint(&w.log, platformtest.Marker(platformtest.Ann)) },
		"what the observer was told": func(w *world) { _, _ = fmt.Fprint(&w.told, platformtest.Marker(platformtest.Ann)) },
		"the file left": func(w *world) {
			_ = os.WriteFile(filepath.Join(w.dir, "left"), []byte(platformtest.Marker(platformtest.Ann)), 0o600)
		},
		"the file bodies": func(w *world) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://box/skin/style.css", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Cache-Control", "max-age=60")
				_, _ = rw.Write(append(platformtest.Noise(5000, 1), "only-for-everybody"...))
			})
			w.line.h = h
			serve(w.edge, r)
		},
	} {
		t.Run(where, func(t *testing.T) {
			w, err := newWorld(t.TempDir(), "kiwix", p, profile.Adjust{})
			if err != nil {
				t.Fatal(err)
			}
			leave(w)
			found, err := w.search()
			if err != nil || len(found) != 1 || !strings.Contains(found[0], where) {
				t.Errorf("found %q, %v", found, err)
			}
		})
	}
}
