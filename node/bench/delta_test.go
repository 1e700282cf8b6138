//go:build bench

package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/central"
	"preau/node/config"
	"preau/node/region"
	"preau/node/wanline"
	centre "preau/replication/central"
	"preau/replication/hold"
	"preau/replication/wire"
)

// wantDelta is the part of a file that may cross for its new version.
const wantDelta = 0.10

func (b *bench) benchDelta(t *testing.T, out *table) {
	at, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	line, err := wanline.New(wanline.Config{Listen: "127.0.0.1:0", Target: at})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- line.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("line: %v", err)
		}
	})
	s := b.regionStageWith(t, 1, func(c *region.Config) {
		c.Central.Address, c.Budget = line.Addr(), 4096*config.MiB
	})
	g := b.gateway(t, s, func(c *central.Config) {
		c.Listen, c.Directory, c.Every = at, filepath.Join(s.dir, "buckets"), config.Duration(2*time.Second)
	})
	way := s.way.Bulk(wire.Target{Name: "s1", Address: s.servers[0].cfg.Listen})
	t.Cleanup(func() { _ = way.Close() }) // only connections
	d := deltaRun{t: t, line: line, g: g, get: func(ctx context.Context, digest block.Digest, of string) ([]byte, error) {
		return hold.Fetch(ctx, way, "https://s1", digest, of)
	}}

	size := int(b.scale.delta)
	archive := randomBytes(size, 1)
	changed := slices.Clone(archive)
	copy(changed[size/2:size/2+size/20], randomBytes(size/20, 2))
	text := prose(size)
	inserted := slices.Concat(text[:5000], []byte("\nA line that was not there before.\n"), text[5000:])
	v := verdicts{t, out}
	for _, c := range []struct {
		what, key string
		old, next []byte
	}{
		{"an archive of which 5 % in the middle are others", "archive.zip", archive, changed},
		{"a plain file with a line put in near its start", "lesson.txt", text, inserted},
	} {
		before := d.publish(c.key, c.old, nil)
		after := d.publish(c.key, c.next, &before)
		part := func(n int64) string {
			return fmt.Sprintf("%.1f MB, %.1f %%", float64(n)/1e6, 100*float64(n)/float64(size))
		}
		v.fact(c.what+": the first version, from the centre to the region", part(before.crossed))
		v.row("the new one, from the centre to the region", part(after.crossed), fmt.Sprintf("≤ %.0f %%", 100*wantDelta), float64(after.crossed) <= wantDelta*float64(size))
		v.row("and what a box lacks that holds the first", part(after.lacking), fmt.Sprintf("≤ %.0f %%", 100*wantDelta), float64(after.lacking) <= wantDelta*float64(size))
	}
}

type deltaRun struct {
	t    *testing.T
	line *wanline.Line
	g    *gateway
	get  func(ctx context.Context, d block.Digest, of string) ([]byte, error)
}

// version is one version of a file, once it has reached the region.
type version struct {
	sum     block.Digest
	blocks  []hold.Entry
	crossed int64 // from the centre to the region
	lacking int64 // of its list and blocks, what is not in the version before
}

// publish puts a version into the bucket, waits until the region knows of it, and
// asks for all of it there.
func (d *deltaRun) publish(key string, p []byte, before *version) version {
	t := d.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	began := d.line.Received()
	if err := d.g.put(ctx, key, p); err != nil {
		t.Fatal(err)
	}
	v := version{sum: block.Sum(p)}
	var o centre.Object
	err := patiently(ctx, func() error {
		found, err := d.g.published(ctx, []string{key})
		if err == nil && found[0].SHA256 != v.sum {
			err = fmt.Errorf("%s is still the version before", key)
		}
		if err == nil {
			o = found[0]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	id := centre.ResourceID(o.Bucket, o.Key)
	var list []byte
	err = patiently(ctx, func() (err error) {
		list, err = d.get(ctx, o.List, id)
		return err
	})
	if err == nil {
		v.blocks, err = hold.DecodeList(list, o.Length)
	}
	if err != nil {
		t.Fatal(err)
	}
	held := map[block.Digest]bool{}
	if before != nil {
		for _, e := range before.blocks {
			held[e.Digest] = true
		}
	}
	v.lacking = int64(len(list))
	offsets := make([]int, len(v.blocks))
	for i, e := range v.blocks {
		if i > 0 {
			offsets[i] = offsets[i-1] + v.blocks[i-1].Length
		}
		if !held[e.Digest] {
			v.lacking += int64(e.Length)
		}
	}
	var wrong atomic.Int64
	err = atOnce(fetching, len(v.blocks), func(i int) error {
		got, err := d.get(ctx, v.blocks[i].Digest, id)
		if err == nil && !bytes.Equal(got, p[offsets[i]:offsets[i]+v.blocks[i].Length]) {
			wrong.Add(1)
		}
		return err
	})
	if err != nil || wrong.Load() > 0 {
		t.Fatalf("%s: %d wrong blocks, %v", key, wrong.Load(), err)
	}
	v.crossed = d.line.Received() - began
	return v
}

func randomBytes(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// prose is n bytes of lines of words.
func prose(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 2000)
	for i := range words {
		word := make([]byte, 2+random.IntN(9))
		for j := range word {
			word[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(word)
	}
	p := make([]byte, 0, n+16)
	for len(p) < n {
		p = append(p, words[random.IntN(len(words))]...)
		p = append(p, " \n"[min(1, random.IntN(12)/11)])
	}
	return p[:n]
}
