package publish

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

// great is a store with one bucket of very many objects, which it makes up. The
// gateways' bucket is in memory, without the listings that this would take long
// for.
type great struct {
	*storetest.Memory
	n     int
	calls [4]atomic.Int64 // Put, Get, List, Head
}

func (g *great) info(i int) store.Info {
	sum := md5.Sum(fmt.Appendf(nil, "object %d", i))
	return store.Info{
		Key: fmt.Sprintf("collections/%03d/documents/item-%07d.pdf", i/10_000, i), ETag: hex.EncodeToString(sum[:]), Size: int64(i%100_000 + 1),
		Modified: time.UnixMilli(1_767_322_800_000 + int64(i)).UTC(),
	}
}

func (g *great) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	g.calls[2].Add(1)
	if bucket != "maps" {
		return g.Memory.List(ctx, bucket, prefix, after, limit)
	}
	from := 0
	if after != "" {
		var folder int
		if _, err := fmt.Sscanf(after, "collections/%03d/documents/item-%07d.pdf", &folder, &from); err != nil {
			return store.Page{}, err
		}
		from++
	}
	page := store.Page{Objects: make([]store.Info, 0, limit)}
	for i := from; i < min(from+limit, g.n); i++ {
		page.Objects = append(page.Objects, g.info(i))
	}
	if from+limit < g.n {
		page.Next = page.Objects[limit-1].Key
	}
	return page, nil
}

func (g *great) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (store.Info, error) {
	g.calls[0].Add(1)
	return g.Memory.Put(ctx, bucket, key, body, size, o, c)
}

func (g *great) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	g.calls[1].Add(1)
	return g.Memory.Get(ctx, bucket, key, off, length, etag)
}

func (g *great) Head(ctx context.Context, bucket, key string) (store.Info, error) {
	g.calls[3].Add(1)
	return g.Memory.Head(ctx, bucket, key)
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkPass is a pass over a bucket in which nothing has changed. The number
// of objects is a million, or a tenth of it with -short.
func BenchmarkPass(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n /= 10
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	st := &great{Memory: storetest.NewMemory(), n: n}
	ctx := b.Context()
	if err := st.MakeBucket(ctx, "preau-central"); err != nil {
		b.Fatal(err)
	}
	c := DefaultConfig()
	c.Buckets = []string{"maps"}
	p, err := New(c, st, key, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	began, cpu := time.Now(), cpuSeconds()
	h := fill(b, p, st, n)
	b.Logf("history of %d objects made in %s, %.1f CPU s, %d puts", n, time.Since(began).Round(time.Millisecond), cpuSeconds()-cpu, st.calls[0].Load())
	for i := range st.calls {
		st.calls[i].Store(0)
	}
	runtime.GC()
	cpu = cpuSeconds()
	b.ReportAllocs()
	for b.Loop() {
		s, err := p.pass(ctx, h, p.buckets["maps"])
		if err != nil || s.listed != n || s.fresh != 0 || s.gone != 0 {
			b.Fatalf("%+v, %v", s, err)
		}
	}
	per := func(x float64, unit string) { b.ReportMetric(x/float64(b.N), unit) }
	per(cpuSeconds()-cpu, "cpu_s/op")
	for i, unit := range []string{"puts/op", "gets/op", "lists/op", "heads/op"} {
		per(float64(st.calls[i].Load()), unit)
	}
	b.ReportMetric(0, "ns/op")
}

// fill writes a history in which all of st is published already.
func fill(b *testing.B, p *Publisher, st *great, n int) *history.History {
	b.Helper()
	ctx := b.Context()
	h, err := p.history(ctx, p.buckets["maps"])
	if err != nil {
		b.Fatal(err)
	}
	var entries []history.Entry
	for i := range n {
		info := st.info(i)
		a, err := h.Begin(ctx, info.Key)
		if err != nil {
			b.Fatal(err)
		}
		o := central.Object{
			Bucket: "maps", Key: info.Key, ETag: info.ETag, Length: info.Size, Modified: info.Modified,
			SHA256: block.Sum([]byte(info.Key)), List: block.Sum([]byte(info.ETag)), Meta: central.Meta{ContentType: "application/pdf"},
		}
		c, err := central.Sign(p.key, o)
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, history.Entry{Attempt: a, Record: history.Record{Change: c, Place: uint64(i) + 1}})
		if len(entries) == history.MaxBatch || i == n-1 {
			if err := h.Append(ctx, entries); err != nil {
				b.Fatal(err)
			}
			for _, e := range entries {
				e.Attempt.Close()
			}
			entries = entries[:0]
			if err := p.foldIfFull(ctx, h); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := h.Fold(ctx); err != nil {
		b.Fatal(err)
	}
	return h
}
