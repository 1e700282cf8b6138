//go:build system && linux

package whole_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/hold"
)

// world is a region of real processes, and what its first operator can do.
type world struct {
	dir      string
	binary   string // of machines made from now on: of another version, "" for this one
	operator string // a copy of the first operator's folder
	ctx      context.Context
	rng      *rand.Rand
	client   *http.Client
	servers  []*machine
	boxes    []*machine
}

// published is what publish --json says of a file.
type published struct {
	control.Done
	Size int64 `json:"size"`
}

// health is what status --json says.
type health struct {
	control.Status
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems"`
}

// found makes a region of one server in the folder, which runs.
func found(t *testing.T, rng *rand.Rand, folder string) *world {
	t.Helper()
	return foundBy(t, "", rng, folder)
}

// foundBy is found with another version's binary.
func foundBy(t *testing.T, binary string, rng *rand.Rand, folder string) *world {
	t.Helper()
	w := &world{
		dir: t.TempDir(), binary: binary, ctx: t.Context(), rng: rng,
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	w.operator = filepath.Join(w.dir, "operator")
	s := w.server(t, "s1", folder)
	says(t, w.command("region", "init", "--data", s.data, "--listen", s.address, "--name", "Lyon", "--server", s.name, "--json"), 0)
	if out, err := exec.CommandContext(w.ctx, "cp", "-a", filepath.Join(s.data, "operator"), w.operator).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return w
}

// three is a region of three servers, and boxes in schools of their own.
func three(t *testing.T, rng *rand.Rand, boxes ...string) *world {
	t.Helper()
	return threeOf(t, "", rng, boxes...)
}

// threeOf is three with another version's binary.
func threeOf(t *testing.T, binary string, rng *rand.Rand, boxes ...string) *world {
	t.Helper()
	w := foundBy(t, binary, rng, filepath.Join(t.TempDir(), "s1"))
	w.servers[0].run(t)
	w.join(t, "s2")
	w.join(t, "s3")
	w.healthy(t, 3)
	for i, name := range boxes {
		w.box(t, name, fmt.Sprintf("069000%dA", i+1))
	}
	return w
}

// server is a server that is not yet one.
func (w *world) server(t *testing.T, name, folder string) *machine {
	t.Helper()
	s := &machine{
		name: name, data: folder, binary: w.binary, address: freeAddress(t), log: filepath.Join(w.dir, name+".log"),
		args: []string{"region", "run", "--data", folder, "--admin", "127.0.0.1:0", "--budget", "64MiB"},
	}
	w.servers = append(w.servers, s)
	return s
}

// join has another server join, and runs it. Whether it votes is the region's
// choice: of two servers one does.
func (w *world) join(t *testing.T, name string) *machine {
	t.Helper()
	s := w.server(t, name, filepath.Join(w.dir, name))
	token := w.token(t, "--server")
	says(t, w.command("region", "join", token, "--data", s.data, "--listen", s.address, "--server", name, "--json"), 0)
	s.run(t)
	within(t, 60*time.Second, func() error {
		st, err := w.look()
		if err != nil {
			return err
		}
		for _, v := range st.Servers {
			if v.Name == name && (v.State == "leader" || v.State == "follower") {
				return nil
			}
		}
		return fmt.Errorf("%s is not in: %+v", name, st.Servers)
	})
	return s
}

// token makes an invitation.
func (w *world) token(t *testing.T, args ...string) string {
	t.Helper()
	var token control.Token
	w.insist(t, &token, append([]string{"region", "token"}, args...)...)
	return token.Token
}

// box enrols a box and runs it.
func (w *world) box(t *testing.T, name, school string) *machine {
	t.Helper()
	b := &machine{name: name, data: filepath.Join(w.dir, name), binary: w.binary, address: freeAddress(t), log: filepath.Join(w.dir, name+".log")}
	b.args = []string{
		"box", "--site", "http://127.0.0.1:9", "--listen", b.address, "--data", b.data, "--admin", "127.0.0.1:0", "--budget", "256MiB",
	}
	token := w.token(t, "--school", school)
	says(t, w.command("enrol", "--token", token, "--data", b.data, "--name", name, "--json"), 0)
	b.run(t)
	w.boxes = append(w.boxes, b)
	return b
}

// command runs the binary that new machines have.
func (w *world) command(args ...string) answer {
	return commandOf(w.ctx, 100*time.Second, w.binary, args...)
}

// ask gives an operator's command, for an answer in JSON.
func (w *world) ask(args ...string) answer {
	return command(w.ctx, append(args, "--as", w.operator, "--json")...)
}

// again reports whether a command may be given again after that answer: the
// region could not decide, or nobody answered.
func again(a answer) bool { return a.code == 3 }

// insist gives the command until the region has decided.
func (w *world) insist(t *testing.T, into any, args ...string) {
	t.Helper()
	within(t, 90*time.Second, func() error {
		a := w.ask(args...)
		if a.code != 0 && !again(a) {
			t.Fatalf("%v: %v", args, a)
		}
		return decode(a, into)
	})
}

func (w *world) status(args ...string) (health, error) {
	var h health
	a := w.ask(append([]string{"status"}, args...)...)
	if a.code == 1 {
		a.code = 0 // it works and something is wrong, as it says
	}
	return h, decode(a, &h)
}

// reach asks servers from this process, or those that the operator's folder
// names. What is asked again and again is asked so: a command takes a tenth of
// a second of a processor to begin.
func (w *world) reach(ask func(ctx context.Context, c *control.Client) error, servers ...string) error {
	c, err := control.Open(w.operator, servers)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // only connections
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	return ask(ctx, c)
}

// look is status without the command's judgement of it.
func (w *world) look() (st control.Status, err error) {
	err = w.reach(func(ctx context.Context, c *control.Client) error {
		st, err = c.Status(ctx)
		return err
	})
	return st, err
}

// healthy waits until all is well with that many voters.
func (w *world) healthy(t *testing.T, voters int) {
	t.Helper()
	within(t, 60*time.Second, func() error {
		st, err := w.look()
		if err != nil {
			return err
		}
		if !st.Quorum || st.Voters != voters || len(st.Servers) != voters {
			return fmt.Errorf("%d voters, quorum %v, %+v", st.Voters, st.Quorum, st.Servers)
		}
		for _, s := range st.Servers {
			if s.Problem != "" || s.State != "leader" && s.State != "follower" {
				return fmt.Errorf("%s is %s: %s", s.Name, s.State, s.Problem)
			}
		}
		h, err := w.status()
		if err == nil && (!h.Healthy || h.Voters != voters || len(h.Servers) != voters) {
			err = fmt.Errorf("%d voters, %q leads, problems %q, %+v", h.Voters, h.Leader, h.Problems, h.Servers)
		}
		return err
	})
}

// leader is the server that leads.
func (w *world) leader(t *testing.T) *machine {
	t.Helper()
	var leads *machine
	within(t, 60*time.Second, func() error {
		st, err := w.look()
		if err != nil {
			return err
		}
		for _, s := range w.servers {
			if s.name == st.Leader {
				leads = s
				return nil
			}
		}
		return fmt.Errorf("the leader is %q", st.Leader)
	})
	return leads
}

// bytes are new ones, of the test's seed.
func (w *world) bytes(n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := w.rng.Uint64()
		for j := i; j < min(i+8, n); j++ {
			p[j] = byte(v >> (8 * (j - i)))
		}
	}
	return p
}

// file writes a file that can be published.
func (w *world) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(w.dir, "files", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// publish publishes a new file, however often it takes.
func (w *world) publish(t *testing.T, name, collection string, content []byte) published {
	t.Helper()
	var all []published
	w.insist(t, &all, "publish", w.file(t, name, content), "--collection", collection)
	if len(all) != 1 || all[0].URL == "" {
		t.Fatalf("publish %s: %+v", name, all)
	}
	return all[0]
}

// get asks a box for a path.
func (w *world) get(b *machine, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+b.address+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// has reports whether the box serves a published file whole.
func (w *world) has(b *machine, path string, want []byte) error {
	status, body, err := w.get(b, path)
	if err == nil && (status != http.StatusOK || !bytes.Equal(body, want)) {
		err = fmt.Errorf("%s serves %s with %d and %d bytes of %d: %.100q", b.name, path, status, len(body), len(want), body)
	}
	return err
}

// lacks reports whether the box serves nothing at path.
func (w *world) lacks(b *machine, path string) error {
	status, body, err := w.get(b, path)
	if err == nil && status != http.StatusNotFound && status != http.StatusGone {
		err = fmt.Errorf("%s serves %s with %d and %d bytes", b.name, path, status, len(body))
	}
	return err
}

// answers waits until the box answers at all.
func (w *world) answers(t *testing.T, b *machine) {
	t.Helper()
	within(t, 60*time.Second, func() error {
		_, _, err := w.get(b, "/r/nothing/at-all")
		return err
	})
}

// holds reports whether all of a file's blocks lie in the server's folder, as
// they were.
func holds(s *machine, content []byte) error {
	entries := []hold.Entry{{Digest: block.Sum(content), Length: len(content)}}
	if len(content) > block.Size { // what is shorter is one block
		cut, err := hold.SplitContent(context.Background(), bytes.NewReader(content), int64(len(content)),
			func(context.Context, block.Digest, []byte) error { return nil })
		if err != nil {
			return err
		}
		entries = cut.Entries
	}
	for n, e := range entries {
		part := content[:e.Length]
		content = content[e.Length:]
		name := e.Digest.String()
		got, err := os.ReadFile(filepath.Join(s.data, "blocks", name[:2], name))
		if err == nil && !bytes.Equal(got, part) {
			err = errors.New("it is another one")
		}
		if err != nil {
			return fmt.Errorf("%s, block %d: %w", s.name, n, err)
		}
	}
	return nil
}

// everything is all that a server says of the region, as text.
func (w *world) everything(s *machine) (string, error) {
	var all strings.Builder
	err := w.reach(func(ctx context.Context, c *control.Client) error {
		said := json.NewEncoder(&all)
		for _, kind := range []string{"collections", "resources", "pins", "purges", "subscriptions", "boxes", "servers", "revocations"} {
			fmt.Fprintln(&all, kind)
			for rec, err := range c.Records(ctx, kind) {
				if err == nil {
					err = said.Encode(rec)
				}
				if err != nil {
					return fmt.Errorf("list %s: %w", kind, err)
				}
			}
		}
		return nil
	}, s.address)
	return all.String(), err
}

// agree waits until all servers that run say the same of everything, and all
// boxes have followed.
func (w *world) agree(t *testing.T, servers ...*machine) {
	t.Helper()
	within(t, 90*time.Second, func() error {
		first := ""
		for _, s := range servers {
			all, err := w.everything(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if first == "" {
				first = all
			}
			if first != all {
				return fmt.Errorf("%s says otherwise: %s\n%s", s.name, all, first)
			}
		}
		var boxes []control.Box
		if err := decode(w.ask("boxes", "--consistent"), &boxes); err != nil {
			return err
		}
		for _, b := range boxes {
			if b.State != "connected" {
				return fmt.Errorf("%+v", b)
			}
		}
		if len(boxes) != len(w.boxes) {
			return fmt.Errorf("%d boxes", len(boxes))
		}
		return nil
	})
}
