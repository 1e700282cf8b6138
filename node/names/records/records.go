// Package records writes the DNS records by which a certificate authority sees
// that a box's public name is ours (RFC 8555 §8.4), on the region's side.
//
// A box asks, a server of the region writes: by a dynamic update (RFC 2136) or by
// a command of the operator's. A box gets records for its own name only, of one
// form only, and so many in an hour. The package holds no key of any certificate
// and knows no authority.
package records

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"preau/node/config"
)

// Path is where a box asks its region.
const Path = "/v1/acme-dns"

const (
	label = "_acme-challenge."
	// valueLength is that of a SHA-256 in base64url.
	valueLength = 43
	// hourly is how many records a box may have written and removed in an hour.
	// A certificate takes two for each name.
	hourly = 60
	// within bounds a command or an update.
	within = 30 * time.Second
	// atOnce is how many are written at a time.
	atOnce = 4
	// maxSaid bounds what is read of a command's complaint.
	maxSaid = 2 << 10
)

// Record is what a box asks for.
type Record struct {
	Name  string `json:"name"`  // with _acme-challenge. before it
	Value string `json:"value"` // of the TXT record
	// Remove: it has served.
	Remove bool `json:"remove,omitempty"`
}

// Written is the region's answer.
type Written struct {
	// Settle is how many seconds it takes until the world sees the record.
	Settle int `json:"settle"`
}

// For is the record that proves a host name.
func For(host, value string) Record { return Record{Name: label + host, Value: value} }

// Errors of what is asked for, and where there is nobody to write it.
var (
	ErrForeign = errors.New("that record is not for this box's name")
	ErrNone    = errors.New("the region writes no records: acme_dns is not set there")
	ErrTooMany = errors.New("the box has asked for too many records in this hour")
)

// Check reports a record that is not for host, nor for a name below it.
func (r Record) Check(host string) error {
	of, ok := strings.CutPrefix(r.Name, label)
	if !ok || len(r.Name) > 253 || of != host && !strings.HasSuffix(of, "."+host) || !plain(of) {
		return fmt.Errorf("%w, which is %s", ErrForeign, host)
	}
	if len(r.Value) != valueLength || strings.Trim(r.Value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return fmt.Errorf("%w: its value is of another form", ErrForeign)
	}
	return nil
}

// plain reports a host name that means the same in a shell, a zone and here.
func plain(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// Hook says how records are written. The zero Hook writes none.
type Hook struct {
	Server  string          `toml:"server" doc:"The primary name server of the domain, host:port, which takes dynamic updates (RFC 2136). Empty: a command writes the records, or nobody."`
	Zone    string          `toml:"zone" doc:"The zone in which the boxes' names lie, as that server has it."`
	KeyFile string          `toml:"key_file" doc:"A file with the name of the TSIG key that updates are signed with, its algorithm (hmac-sha256) and its secret in base64, with blanks between them."`
	Command []string        `toml:"command" doc:"A program and its first arguments that write a record instead. It is given three more: present or remove, the record's name, and its text."`
	Settle  config.Duration `toml:"settle" doc:"How long it takes until all name servers of the domain have a new record. The box waits for so long before it tells the authority to look."`
}

// DefaultHook writes none.
func DefaultHook() Hook { return Hook{Command: []string{}, Settle: config.Duration(10 * time.Second)} }

// Check finds every mistake, under keys that begin with under.
func (h Hook) Check(p *config.Problems, under string) {
	switch {
	case h.Server != "" && len(h.Command) > 0:
		p.Addf(under+".command", "and server are both set: records are written one way or the other")
	case h.Server != "":
		if !strings.Contains(h.Server, ":") {
			p.Addf(under+".server", `%q is not an address with a port: write it like "192.0.2.53:53"`, h.Server)
		}
		if !plain(h.Zone) {
			p.Addf(under+".zone", `%q is no zone: write it like "boxes.example.org"`, h.Zone)
		}
		if h.KeyFile == "" {
			p.Addf(under+".key_file", "is missing: a server that takes unsigned updates takes anybody's")
		}
	case len(h.Command) > 0 && h.Command[0] == "":
		p.Addf(under+".command", "names no program")
	}
	if h.Settle < 0 || h.Settle.Std() > 10*time.Minute {
		p.Addf(under+".settle", "%v is out of range: write 0s to 10m", h.Settle)
	}
}

// Writer writes records. All methods may be called concurrently.
type Writer struct {
	hook  Hook
	log   *slog.Logger
	key   *key
	slots chan struct{}

	mu    sync.Mutex
	since time.Time
	asked map[string]int // by host, since then
}

// NewWriter makes a writer of a hook that has been checked.
func NewWriter(hook Hook, log *slog.Logger) (*Writer, error) {
	w := &Writer{hook: hook, log: log.With("part", "acme-dns"), slots: make(chan struct{}, atOnce), asked: map[string]int{}}
	if hook.Server != "" {
		var err error
		if w.key, err = readKey(hook.KeyFile); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Write writes or removes a record of the box with that public name, which has
// been checked. When it returns after writing one, the world can see it.
func (w *Writer) Write(ctx context.Context, host string, r Record) error {
	if w.key == nil && len(w.hook.Command) == 0 {
		return ErrNone
	}
	if !w.may(host, time.Now()) {
		return ErrTooMany
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	during, cancel := context.WithTimeoutCause(ctx, within, errors.New("it took too long"))
	defer cancel()
	var err error
	if w.key != nil {
		err = w.update(during, r)
	} else {
		err = w.run(during, r)
	}
	if err != nil {
		w.log.WarnContext(ctx, "a record for a certificate was not written", "name", r.Name, "err", err)
	}
	return err
}

// Settle is how long a record that was written takes to be seen everywhere.
func (w *Writer) Settle() time.Duration { return w.hook.Settle.Std() }

// may counts what a host asks for.
func (w *Writer) may(host string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.since) > time.Hour {
		w.since = now
		maps.DeleteFunc(w.asked, func(string, int) bool { return true })
	}
	w.asked[host]++
	return w.asked[host] <= hourly
}

func (w *Writer) run(ctx context.Context, r Record) error {
	what := "present"
	if r.Remove {
		what = "remove"
	}
	args := append(append([]string{}, w.hook.Command[1:]...), what, r.Name, r.Value)
	cmd := exec.CommandContext(ctx, w.hook.Command[0], args...)
	cmd.WaitDelay = time.Second
	said := &clipped{}
	cmd.Stdout, cmd.Stderr, cmd.Env = said, said, os.Environ()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("command %s %s: %w: %s", w.hook.Command[0], what, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// clipped keeps the beginning of what is written to it.
type clipped struct{ bytes.Buffer }

// Write implements io.Writer.
func (c *clipped) Write(p []byte) (int, error) {
	c.Buffer.Write(p[:min(len(p), maxSaid-min(maxSaid, c.Len()))])
	return len(p), nil
}
