package control_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"preau/cache/block"
	"preau/cache/block/blocktest"
	"preau/node/control"
	"preau/node/control/controltest"
	"preau/replication/hold"
)

// published answers publications, and tells which server got the last one.
func published(t *testing.T, r *controltest.Region) (last func() (string, control.Publication)) {
	t.Helper()
	var mu sync.Mutex
	var server string
	var got control.Publication
	r.On("POST /v1/publications", func(name string, q *http.Request) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		server, got = name, control.Publication{}
		if err := json.NewDecoder(q.Body).Decode(&got); err != nil {
			return nil, err
		}
		return control.Done{ID: "r-1", Index: 12, Copies: 2, URL: "/r/r-1/f"}, nil
	})
	return func() (string, control.Publication) {
		mu.Lock()
		defer mu.Unlock()
		return server, got
	}
}

func holds(t *testing.T, s *controltest.Server, digests ...block.Digest) {
	t.Helper()
	for _, d := range digests {
		if _, ok := s.Blocks.Has(d); !ok {
			t.Errorf("%s does not hold %s", s.Name, d)
		}
	}
}

func TestShortFileIsPublished(t *testing.T) {
	r := controltest.Start(t, 1)
	last := published(t, r)
	c := open(t, r.Operator(t, "ann"))
	content := blocktest.Bytes(1, 2*block.Size+5)
	var steps []int64
	done, err := c.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), control.Publication{Collection: "c", Title: "t"},
		func(done, total int64) {
			if total != int64(len(content)) {
				t.Errorf("total %d", total)
			}
			steps = append(steps, done)
		})
	if err != nil || done.Index != 12 {
		t.Fatalf("publish = %+v, %v", done, err)
	}
	_, p := last()
	if p.Length != int64(len(content)) || p.SHA256 != block.Sum(content).String() || len(p.Blocks) != 0 || !p.Listed || p.Title != "t" {
		t.Errorf("published %+v", p)
	}
	at := 0
	for i, e := range listed(t, r.Servers[0], p) {
		if e.Digest != block.Sum(content[at:at+e.Length]) {
			t.Errorf("block %d is %s", i, e.Digest)
		}
		at += e.Length
		holds(t, r.Servers[0], e.Digest)
	}
	if !slices.IsSorted(steps) || steps[0] != 0 || steps[len(steps)-1] != int64(len(content)) {
		t.Errorf("progress %v", steps)
	}

	// A second time nothing travels.
	puts := r.Servers[0].Blocks.Puts()
	if _, err := c.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), control.Publication{Collection: "c"}, nil); err != nil {
		t.Fatal(err)
	}
	if again := r.Servers[0].Blocks.Puts(); again != puts {
		t.Errorf("%d blocks were sent again", again-puts)
	}
}

func TestLongFileHasAManifest(t *testing.T) {
	r := controltest.Start(t, 1)
	last := published(t, r)
	c := open(t, r.Operator(t, "ann"))
	content := append(blocks(9), make([]byte, 3*block.Size)...) // the last three are alike
	if _, err := c.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), control.Publication{Collection: "c"}, nil); err != nil {
		t.Fatal(err)
	}
	_, p := last()
	if len(p.Blocks) != 0 {
		t.Errorf("%d blocks are listed beside the manifest", len(p.Blocks))
	}
	list := listed(t, r.Servers[0], p)
	if n := len(list); n < 9 || list[n-3] != list[n-4] {
		t.Fatalf("manifest of %d blocks", n)
	}
	holds(t, r.Servers[0], hold.Digests(list)...)
}

// listed reads the list that a publication names.
func listed(t *testing.T, s *controltest.Server, p control.Publication) []hold.Entry {
	t.Helper()
	d, err := block.ParseDigest(p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Blocks.Open(d)
	if err != nil {
		t.Fatalf("the manifest is not there: %v", err)
	}
	defer b.Close()
	raw := make([]byte, b.Len())
	if _, err := b.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	list, err := hold.DecodeList(raw, p.Length)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A new version costs what changed.
func TestANewVersionSendsWhatChanged(t *testing.T) {
	r := controltest.Start(t, 1)
	published(t, r)
	c := open(t, r.Operator(t, "ann"))
	content := blocktest.Bytes(3, 8*block.Size)
	publish := func(content []byte) (sent int) {
		before := r.Servers[0].Blocks.Puts()
		if _, err := c.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), control.Publication{Collection: "c"}, nil); err != nil {
			t.Fatal(err)
		}
		return int(r.Servers[0].Blocks.Puts() - before)
	}
	all := publish(content)
	changed := slices.Clone(content)
	copy(changed[4*block.Size:], blocktest.Bytes(4, 400<<10))
	for what, next := range map[string][]byte{
		"changed in the middle": changed,
		"with an insertion":     slices.Concat(content[:1000], []byte("more"), content[1000:]),
	} {
		if sent := publish(next); sent > all/3 {
			t.Errorf("%s: %d blocks were sent, %d the first time", what, sent, all)
		}
	}
}

// What fits in one block needs no list.
func TestASmallFileIsOneBlock(t *testing.T) {
	r := controltest.Start(t, 1)
	last := published(t, r)
	c := open(t, r.Operator(t, "ann"))
	content := blocktest.Bytes(5, 900<<10)
	if _, err := c.Publish(t.Context(), bytes.NewReader(content), int64(len(content)), control.Publication{Collection: "c"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, p := last(); p.Listed || p.Manifest != "" || !slices.Equal(p.Blocks, []string{block.Sum(content).String()}) {
		t.Errorf("published %+v", p)
	}
}

// blocks is n blocks, each another.
func blocks(n int) []byte {
	b := make([]byte, n*block.Size)
	for i := range n {
		b[i*block.Size] = byte(i + 1)
	}
	return b
}

// dying is a file that stops a server when so many of its blocks have been sent.
type dying struct {
	*bytes.Reader
	mu    sync.Mutex
	seen  int64 // how far it was read to find its blocks
	again int
	at    int
	stop  func()
}

func (d *dying) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(p)) > d.seen {
		d.seen = off + int64(len(p))
	} else if d.again++; d.again == d.at {
		d.stop()
	}
	return d.Reader.ReadAt(p, off)
}

func TestPublishingGoesOnWithTheNextServer(t *testing.T) {
	r := controltest.Start(t, 3)
	last := published(t, r)
	c := open(t, r.Operator(t, "ann"))
	content := blocktest.Bytes(6, 6*block.Size)
	file := &dying{Reader: bytes.NewReader(content), at: 3, stop: r.Servers[0].Stop}
	done, err := c.Publish(t.Context(), file, int64(len(content)), control.Publication{Collection: "c"}, nil)
	if err != nil || done.Index != 12 {
		t.Fatalf("publish = %+v, %v", done, err)
	}
	server, p := last()
	if server != "s2" {
		t.Errorf("published by %q, want s2", server)
	}
	holds(t, r.Servers[1], hold.Digests(listed(t, r.Servers[1], p))...)
	if file.again < 3 {
		t.Error("no server was stopped: the test looks at nothing")
	}
}

// changing is another file at each reading.
type changing struct{ reads atomic.Int32 }

func (c *changing) ReadAt(p []byte, _ int64) (int, error) {
	n := c.reads.Add(1)
	for i := range p {
		p[i] = byte(n)
	}
	return len(p), nil
}

func TestFileThatChangesIsNotPublished(t *testing.T) {
	r := controltest.Start(t, 2)
	published(t, r)
	c := open(t, r.Operator(t, "ann"))
	_, err := c.Publish(t.Context(), &changing{}, block.Size, control.Publication{Collection: "c"}, nil)
	if !errors.Is(err, control.ErrChanged) {
		t.Errorf("error = %v", err)
	}
	if _, err := c.Publish(t.Context(), strings.NewReader("short"), 10, control.Publication{}, nil); !errors.Is(err, control.ErrChanged) {
		t.Errorf("error of a file that has become shorter = %v", err)
	}
	if seen := r.Seen(); len(seen) != 0 {
		t.Errorf("the region was asked %v", seen)
	}
}

func TestRefusedPublicationIsNotTriedElsewhere(t *testing.T) {
	r := controltest.Start(t, 2)
	r.On("POST /v1/publications", func(string, *http.Request) (any, error) {
		return nil, &control.Error{Status: 400, Code: "invalid", Detail: "say which collection"}
	})
	c := open(t, r.Operator(t, "ann"))
	_, err := c.Publish(t.Context(), strings.NewReader("text"), 4, control.Publication{}, nil)
	if !control.Refused(err) || len(r.Seen()) != 1 {
		t.Errorf("%v after %v", err, r.Seen())
	}
	r.On("POST /v1/publications", func(string, *http.Request) (any, error) {
		return nil, &control.Error{Status: 503, Code: control.CodeFewCopies, Detail: "one copy, want two"}
	})
	_, err = c.Publish(t.Context(), strings.NewReader("text"), 4, control.Publication{}, nil)
	if !control.Undecided(err) || len(r.Seen()) != 3 {
		t.Errorf("%v after %v, want both servers tried", err, r.Seen())
	}
}
