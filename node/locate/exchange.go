package locate

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Paths on which nodes tell one another.
const (
	// ServersPath is where a region's server tells the others what it has heard.
	ServersPath = "/v1/whereabouts"
	// GatewayPath is where a region tells a gateway.
	GatewayPath = "/central/v1/whereabouts"
)

const (
	// maxPacked and maxReport bound a report as it travels and unpacked: 3,000
	// boxes are less than a megabyte.
	maxPacked = 8 << 20
	maxReport = 16 << 20
	// tagField names the report that a region's request is about.
	tagField = "Preau-Report"
)

// Packed is a report as it travels.
type Packed struct {
	Tag  string // names its content
	body []byte // JSON, gzip
}

// Pack makes a report fit to travel. With an old one that says the same, that is
// the answer.
func Pack(r Report, old Packed) (Packed, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return Packed{}, fmt.Errorf("encode whereabouts: %w", err)
	}
	sum := sha256.Sum256(text)
	tag := hex.EncodeToString(sum[:16])
	if tag == old.Tag {
		return old, nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(text)
	if err := errors.Join(err, z.Close()); err != nil {
		return Packed{}, fmt.Errorf("pack whereabouts: %w", err)
	}
	return Packed{Tag: tag, body: b.Bytes()}, nil
}

// unpack reads a report from another node and checks it.
func unpack(r io.Reader, domain string) (Report, error) {
	z, err := gzip.NewReader(io.LimitReader(r, maxPacked))
	if err != nil {
		return Report{}, fmt.Errorf("unpack whereabouts: %w", err)
	}
	var out Report
	if err := json.NewDecoder(io.LimitReader(z, maxReport)).Decode(&out); err != nil {
		return Report{}, fmt.Errorf("read whereabouts: %w", err)
	}
	return out, out.Check(domain)
}

// ServeHTTP gives the report to another server of the region.
func (p Packed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag := `"` + p.Tag + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/gzip")
	_, _ = w.Write(p.body) // nobody to tell
}

// Asker sends one request to another node of the region.
type Asker func(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error)

// Peers keeps in a table what the region's other servers have heard. Fetch may be
// called for several of them at once.
type Peers struct {
	Table  *Table
	Domain string

	mu   sync.Mutex
	tags map[string]string
}

// Fetch asks another server what it has heard, and takes it down.
func (p *Peers) Fetch(ctx context.Context, server string, ask Asker) error {
	p.mu.Lock()
	tag := p.tags[server]
	p.mu.Unlock()
	h := http.Header{}
	if tag != "" {
		h.Set("If-None-Match", tag)
	}
	resp, err := ask(ctx, http.MethodGet, ServersPath, h, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	switch resp.StatusCode {
	case http.StatusNotModified:
		p.Table.Again(server, time.Now())
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("it answers %d", resp.StatusCode)
	}
	report, err := unpack(resp.Body, p.Domain)
	if err != nil {
		return err
	}
	p.Table.Set(server, report, time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tags == nil {
		p.tags = map[string]string{}
	}
	p.tags[server] = resp.Header.Get("ETag")
	return nil
}

// Keep forgets all servers but those.
func (p *Peers) Keep(servers []string) {
	p.Table.Keep(servers)
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.tags, func(server, _ string) bool { return !slices.Contains(servers, server) })
}

// Tell brings a report to a gateway. What the gateway has already it is only told
// that it holds.
func (p Packed) Tell(ctx context.Context, ask Asker) error {
	status, err := p.tell(ctx, ask, nil)
	if err == nil && status == http.StatusPreconditionFailed {
		status, err = p.tell(ctx, ask, p.body)
	}
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("it answers %d", status)
	}
	return err
}

func (p Packed) tell(ctx context.Context, ask Asker, body []byte) (int, error) {
	resp, err := ask(ctx, http.MethodPut, GatewayPath, http.Header{tagField: {p.Tag}}, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// Inbox takes regions' reports into a gateway's table.
type Inbox struct {
	Table  *Table
	Domain string
	// Region says which region sent a request, by its certificate.
	Region func(*http.Request) string

	mu   sync.Mutex
	tags map[string]string
}

// ServeHTTP implements http.Handler.
func (b *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	region, tag := b.Region(r), r.Header.Get(tagField)
	if region == "" || tag == "" || len(tag) > 64 {
		http.Error(w, "say which region and which report", http.StatusBadRequest)
		return
	}
	if r.ContentLength == 0 {
		b.mu.Lock()
		known := b.tags[region] == tag
		b.mu.Unlock()
		if !known {
			http.Error(w, "send all of it", http.StatusPreconditionFailed)
			return
		}
		b.Table.Again(region, time.Now())
		w.WriteHeader(http.StatusNoContent)
		return
	}
	report, err := unpack(http.MaxBytesReader(w, r.Body, maxPacked), b.Domain)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	if b.tags == nil {
		b.tags = map[string]string{}
	}
	b.tags[region] = tag
	b.Table.Set(region, report, time.Now())
	b.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
