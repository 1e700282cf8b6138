//go:build system

package upload_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/upload"
	"preau/replication/outbox"
)

// depot is a real outbox, as a box has it.
type depot struct{ *outbox.Outbox }

func (d depot) Add(ctx context.Context, m upload.Meta, length int64, r io.Reader) (string, error) {
	kept, err := d.Outbox.Add(ctx, r, length, outbox.Words{Filename: m.Filename, ContentType: m.ContentType, Title: m.Title, Description: m.Description, Collection: m.Collection})
	switch {
	case errors.Is(err, outbox.ErrFull):
		err = fmt.Errorf("%w: %w", upload.ErrNoRoom, err)
	case errors.Is(err, outbox.ErrName), errors.Is(err, outbox.ErrTooLarge):
		err = fmt.Errorf("%w: %w", upload.ErrRefused, err)
	}
	return kept.ID, err
}

func (d depot) Like(_ context.Context, name string, length int64) (out []upload.Kept, err error) {
	for _, k := range d.List() {
		if k.Filename == name && k.Length == length {
			out = append(out, upload.Kept{ID: k.ID, SHA256: k.SHA256})
		}
	}
	return out, nil
}

func (depot) Room(context.Context) int64 { return -1 }

// Where the process that is the box finds its folder and its address.
const (
	boxDir  = "PREAU_UPLOAD_DIR"
	boxAddr = "PREAU_UPLOAD_ADDR"
)

// TestBoxProcess is the box, when it is run as a process of its own.
func TestBoxProcess(t *testing.T) {
	dir := os.Getenv(boxDir)
	if dir == "" {
		return // the other tests start it
	}
	reg := prometheus.NewRegistry()
	o, err := outbox.Open(outbox.Config{Dir: filepath.Join(dir, "deposits")}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	cfg := upload.DefaultConfig(filepath.Join(dir, "uploads"), prefix)
	s, err := upload.New(cfg, depot{o}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", os.Getenv(boxAddr))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		server := &http.Server{Handler: s.Handler(owner), ReadHeaderTimeout: 10 * time.Second}
		t.Log(server.Serve(l))
	}()
	if err := s.Run(t.Context()); err != nil { // until it is killed
		t.Fatal(err)
	}
}

// noisy is a file of any length that is nowhere.
type noisy struct {
	at, size int64
	block    []byte
	n        int64
}

func (r *noisy) Read(p []byte) (int, error) {
	const size = 1 << 20
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.block == nil || r.n != r.at/size {
		r.n = r.at / size
		r.block = make([]byte, size)
		var seed [32]byte
		seed[0], seed[1], seed[2] = byte(r.n), byte(r.n>>8), byte(r.n>>16)
		_, _ = rand.NewChaCha8(seed).Read(r.block)
	}
	n := copy(p[:min(int64(len(p)), r.size-r.at)], r.block[r.at%size:])
	r.at += int64(n)
	return n, nil
}

// killing calls kill once so many bytes were read.
type killing struct {
	r    io.Reader
	left int
	kill func()
}

func (k *killing) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	if k.left -= n; k.left <= 0 && k.kill != nil {
		k.kill()
		k.kill = nil
	}
	return n, err
}

// A file of 2 GiB goes over connections that are cut twenty times to a box that is
// killed three times, the last time while it hands the file to its outbox.
// PREAU_UPLOAD_MIB makes it another size.
func TestTwoGibibytesComeThroughTwentyCutsAndThreeKills(t *testing.T) {
	size := int64(2 << 30)
	if text := os.Getenv("PREAU_UPLOAD_MIB"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		size = n << 20
	}
	h := sha256.New()
	if _, err := io.Copy(h, &noisy{size: size}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var box *exec.Cmd
	boot := func() {
		box = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBoxProcess$", "-test.timeout=1h")
		box.Env = append(os.Environ(), boxDir+"="+dir, boxAddr+"="+addr)
		box.Stdout, box.Stderr = os.Stderr, os.Stderr
		if err := box.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.NewTicker(50 * time.Millisecond)
		defer wait.Stop()
		for deadline := time.Now().Add(time.Minute); ; <-wait.C {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
			if err == nil {
				conn.Close()
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the box does not start")
			}
		}
	}
	kill := func() {
		_ = box.Process.Kill() // SIGKILL
		_ = box.Wait()
	}
	boot()
	t.Cleanup(func() { kill() })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c := &client{t, &http.Client{Transport: transport}, func() string { return "http://" + addr }}
	resp, err := c.do(http.MethodPost, prefix, nil, "Upload-Length", strconv.FormatInt(size, 10), "Upload-Metadata", metadata("filename", "film.mp4", "title", "Le film"))
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatal(resp, err)
	}
	at := resp.Header.Get("Location")
	rng := rand.New(rand.NewPCG(9, uint64(size)))
	told, kills, began := int64(0), 0, time.Now()
	for cuts := 0; ; cuts++ {
		from := c.offset(at)
		if from < told {
			t.Fatalf("the box forgot %d bytes", told-from)
		}
		if told = from; from == size {
			break
		}
		rest := io.Reader(&noisy{at: from, size: size})
		switch {
		case cuts == 7 || cuts == 14:
			kills++
			dead := make(chan struct{})
			_, _ = c.patch(at, from, &killing{rest, rng.IntN(int(size/20)) + 1, func() { kill(); close(dead) }})
			<-dead
			boot()
		case cuts < 22:
			_, _ = c.patch(at, from, &breaking{rest, rng.IntN(int(size/25)) + 1})
		default:
			if resp, err := c.patch(at, from, rest); err != nil || resp.StatusCode != http.StatusNoContent {
				t.Fatal(resp, err)
			}
		}
	}
	t.Logf("%d MiB came in %v", size>>20, time.Since(began).Round(time.Second))
	state := func() (st upload.Status) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+at, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Who", "ada")
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if !state().Whole {
		t.Fatal("it is not whole")
	}
	kill() // while it is handed on, most likely
	kills++
	boot()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Minute); state().Deposit == ""; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it is not in the outbox: %+v", state())
		}
	}
	t.Logf("it was in the outbox after %v and %d kills", time.Since(began).Round(time.Second), kills)
	kill()
	o, err := outbox.Open(outbox.Config{Dir: filepath.Join(dir, "deposits")}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	list := o.List()
	if len(list) != 1 || list[0].Length != size || [32]byte(list[0].SHA256) != [32]byte(h.Sum(nil)) || list[0].Title != "Le film" {
		t.Errorf("%+v", list)
	}
	left, err := os.ReadDir(filepath.Join(dir, "uploads", "data"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
}
