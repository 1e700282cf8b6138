//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

// followers are the light boxes, as the test sees them.
type followers struct {
	*process
	t    *testing.T
	n    int
	base string
}

// crowd enrols n boxes, three to a school, and starts the process that holds
// them. They do not follow yet.
func (s *regionStage) crowd(t *testing.T, n int) *followers {
	t.Helper()
	c := crowd{Region: s.id, Root: s.authority.Certificate().Raw}
	for _, m := range s.servers {
		c.Servers = append(c.Servers, wire.Target{Name: identity.Name(m.name), Address: m.cfg.Listen})
	}
	var err error
	if c.Listen, err = freeAddr(); err != nil {
		t.Fatal(err)
	}
	if c.Boxes, err = s.enrol(t.Context(), n); err != nil {
		t.Fatalf("enrol %d boxes: %v", n, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(s.dir, "boxes.json")
	if err := os.WriteFile(spec, text, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(filepath.Join(s.dir, "boxes.log"), -1, self, regionArgument+"boxes", spec)
	if err != nil {
		t.Fatal(err)
	}
	f := &followers{process: p, t: t, n: n, base: "http://" + c.Listen}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("end of the boxes' log: %s", p.tail())
		}
	})
	if err := p.ready(t.Context(), c.Listen); err != nil {
		t.Fatal(err)
	}
	return f
}

// enrol signs n certificates and tells the region whose they are.
func (s *regionStage) enrol(ctx context.Context, n int) ([]bearer, error) {
	p, err := s.push(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var out []bearer
	var ops []catalogue.Op
	for i := range n {
		school := identity.School(fmt.Sprintf("%07dA", 690_000+i/3))
		id := identity.Identity{Region: s.id, Role: identity.Box, Name: identity.Name(fmt.Sprintf("box-%d", i)), School: school}
		who, err := issue(s.authority, id)
		if err != nil {
			return nil, err
		}
		key, err := who.key()
		if err != nil {
			return nil, err
		}
		op, err := catalogue.NewPut(catalogue.Box{Name: string(id.Name), School: school, SPKI: key, Enrolled: time.Now().UTC()})
		if err != nil {
			return nil, err
		}
		out, ops = append(out, who), append(ops, op)
		if len(ops) == 500 || i == n-1 {
			if _, err := p.do(ctx, ops...); err != nil {
				return nil, err
			}
			ops = ops[:0]
		}
	}
	return out, nil
}

// order tells the boxes to do something.
func (f *followers) order(ctx context.Context, what string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.base+"/"+what, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := regionClient.Do(r)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	resp.Body.Close()
}

// await asks when the boxes had everything up to an index.
func (f *followers) await(ctx context.Context, index uint64, within time.Duration) field {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within+time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/await?index=%d&within=%s", f.base, index, within), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := regionClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out field
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// allOpen waits until every box has a stream and has acknowledged index.
func (f *followers) allOpen(ctx context.Context, index uint64, within time.Duration) {
	f.t.Helper()
	got := f.await(ctx, index, within)
	if got.Open != f.n || len(got.Received) != f.n {
		f.t.Fatalf("%d of %d boxes follow, %d are at %d, after %v; %d retries: %v",
			got.Open, f.n, len(got.Received), index, within, got.Retries, got.Trouble)
	}
}

// after is when the given share of n boxes had something; 0 if they never had.
func after(began time.Time, at []int64, n int, share float64) (time.Duration, bool) {
	need := max(1, int(share*float64(n)+0.999999))
	if len(at) < need {
		return 0, false
	}
	return time.Unix(0, at[need-1]).Sub(began), true
}

// purge asks for one and tells its index.
func (s *regionStage) purge(ctx context.Context, serial int) (uint64, error) {
	done, err := s.operator.Purge(ctx, control.PurgeRequest{Site: "site", URL: fmt.Sprintf("/page/%d", serial)})
	return done.Index, err
}

// tale is what all published files hold: their number is what is measured, and
// servers fetch from one another what they lack.
var tale = []byte("Il était une fois une petite école au bord de la mer.\n")

// resource is a published file as a teacher would have it.
func resource(n int) (catalogue.Op, error) {
	d := block.Sum(tale)
	return catalogue.NewPut(catalogue.Resource{
		ID: block.Sum(fmt.Append(nil, n)).String()[:24], Collection: "manuels", Title: fmt.Sprintf("Cahier de lecture %d", n), Filename: fmt.Sprintf("cahier-%d.pdf", n),
		ContentType: "application/pdf", Description: "Un document d'une page ou deux, avec deux lignes pour dire ce que c'est.",
		Language: "fr", Level: "CM2", Licence: "CC BY-SA 4.0", Length: int64(len(tale)), SHA256: d, Blocks: []block.Digest{d},
		Modified: time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC),
	})
}

// library makes the collection that the resources are in, and has the region
// hold their body.
func (s *regionStage) library(ctx context.Context) error {
	return patiently(ctx, func() error {
		_, err := s.operator.Publish(ctx, bytes.NewReader(tale), int64(len(tale)), control.Publication{
			Collection: "manuels", CollectionTitle: "Manuels", Title: "Le premier", Filename: "premier.txt", ContentType: "text/plain",
			Modified: time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC),
		}, nil)
		return err
	})
}

// collection is a small change that may be made again and again.
func (p push) collection(ctx context.Context) error {
	op, err := catalogue.NewPut(catalogue.Collection{ID: "manuels", Title: "Manuels"})
	if err != nil {
		return err
	}
	_, err = p.do(ctx, op)
	return err
}

// publish puts the resources from..to-1, so many to an entry, with so many
// submitters, and returns the highest index.
func (p push) publish(ctx context.Context, from, to, together, submitters int) (uint64, error) {
	type part struct{ from, to int }
	work := make(chan part)
	errs := make(chan error, submitters)
	last := make([]uint64, submitters)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range submitters {
		go func() {
			var err error
			for w := range work {
				var ops []catalogue.Op
				for n := w.from; n < w.to && err == nil; n++ {
					var op catalogue.Op
					op, err = resource(n)
					ops = append(ops, op)
				}
				var index uint64
				if err == nil {
					index, err = p.do(ctx, ops...)
				}
				if err != nil {
					cancel()
					break
				}
				last[i] = max(last[i], index)
			}
			errs <- err
		}()
	}
	for n := from; n < to && ctx.Err() == nil; n += together {
		select {
		case work <- part{n, min(n+together, to)}:
		case <-ctx.Done():
		}
	}
	close(work)
	var err error
	for range submitters {
		if e := <-errs; e != nil && err == nil {
			err = e
		}
	}
	return slices.Max(last), err
}
