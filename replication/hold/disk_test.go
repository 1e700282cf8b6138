package hold_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/fileblock"
	"preau/replication/hold"
	"preau/replication/identity"
)

// A file is published on two of three servers with real disks, the third being
// down; it comes up and catches up; the first is lost and the file is whole.
func TestAPublishedFileOutlivesAnyOneServer(t *testing.T) {
	type node struct {
		dir    string
		shelf  *hold.Shelf
		client *hold.Client
		server *httptest.Server
		close  func()
	}
	start := func(name, dir string) *node {
		log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
		store, err := fileblock.Open(fileblock.Config{Dir: dir, ReserveBytes: 1}, log, reg)
		if err != nil {
			t.Fatal(err)
		}
		shelf, err := hold.New(store, grace, log, reg)
		if err != nil {
			t.Fatal(err)
		}
		handlers, err := hold.NewServer(shelf, roleFromHeader)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		handlers.Register(mux)
		server, rt := httptest.NewServer(mux), &http.Transport{}
		n := &node{dir: dir, shelf: shelf, server: server, client: clientOf(t, name, server.URL, asRole{identity.Server, rt})}
		n.close = func() {
			rt.CloseIdleConnections()
			server.Close()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
		return n
	}
	a, b, c := start("a", t.TempDir()), start("b", t.TempDir()), start("c", t.TempDir())
	c.server.Close() // down while the file is published

	file := make([]byte, 5*block.Size+77)
	rand.NewChaCha8([32]byte{9}).Read(file)
	m, err := hold.Split(t.Context(), bytes.NewReader(file), func(ctx context.Context, d block.Digest, p []byte) error {
		_, err := a.shelf.Put(ctx, d, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := hold.EncodeManifest(m.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.shelf.Put(t.Context(), block.Sum(list), list); err != nil {
		t.Fatal(err)
	}
	r, err := hold.NewReplicator(a.shelf, func() []*hold.Client { return []*hold.Client{c.client, b.client} })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ensure(t.Context(), append([]block.Digest{block.Sum(list)}, m.Blocks...), 2); err != nil {
		t.Fatal(err)
	}
	a.close() // and lost, with its disk
	if err := os.RemoveAll(a.dir); err != nil {
		t.Fatal(err)
	}

	// b is started again over the same folder, with one block damaged there.
	b.close()
	d := m.Blocks[2].String()
	path := filepath.Join(b.dir, d[:2], d)
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(p)
	p[1000] ^= 1
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	b = start("b", b.dir)
	defer b.close()
	c.close()
	c = start("c", c.dir)
	defer c.close()
	if _, err := c.shelf.Put(t.Context(), m.Blocks[2], good); err != nil {
		t.Fatal(err)
	}

	agreed := &catalogue{lists: []block.Digest{block.Sum(list)}}
	both := map[*node]*node{b: c, c: b}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, len(both))
	for n, other := range both {
		rep, err := hold.NewRepairer(hold.DefaultRepairConfig(), n.shelf, agreed.told(), func() []*hold.Client { return []*hold.Client{other.client} })
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- rep.Run(ctx) }()
	}
	whole := func(n *node) bool {
		h := sha256.New()
		for _, d := range m.Blocks {
			p, err := n.shelf.Read(d, nil)
			if err != nil {
				return false
			}
			h.Write(p)
		}
		return block.Digest(h.Sum(nil)) == m.SHA256
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for late := time.After(time.Minute); !whole(b) || !whole(c); {
		select {
		case <-look.C:
			continue
		case <-late:
			t.Error("after a minute the file is not whole on both servers")
		}
		break
	}
	stop()
	for range both {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
