//go:build linux

package ministry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"

	"preau/node/control"
	"preau/replication/central/s3store"
	"preau/replication/central/store"
)

// Centre is the ministry as its people see it: the buckets in Ceph, as any S3
// tool sees them, and what the region has decided.
type Centre struct {
	Store    *s3store.Store
	Operator *control.Client
}

// Centre opens both. Close it.
func (m *Ministry) Centre() (*Centre, error) {
	cfg := s3store.DefaultConfig()
	cfg.Endpoint, cfg.Region = m.Ceph.Endpoint, m.Ceph.Region
	cfg.Keys = func(context.Context) (s3store.Key, error) {
		return s3store.Key{ID: m.Ceph.AccessKey, Secret: m.Ceph.SecretKey}, nil
	}
	s3, err := s3store.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	operator, err := control.Open(m.Operator, nil)
	if err != nil {
		return nil, errors.Join(err, s3.Close())
	}
	return &Centre{Store: s3, Operator: operator}, nil
}

// Close ends its connections.
func (c *Centre) Close() error { return errors.Join(c.Store.Close(), c.Operator.Close()) }

// Put puts an object into a bucket.
func (c *Centre) Put(ctx context.Context, bucket, key string, content []byte, o store.Options) error {
	_, err := c.Store.Put(ctx, bucket, key, bytes.NewReader(content), int64(len(content)), o, store.Condition{})
	return err
}

// Object reads an object from Ceph.
func (c *Centre) Object(ctx context.Context, bucket, key string) ([]byte, error) {
	body, _, err := c.Store.Get(ctx, bucket, key, 0, -1, "")
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(body)
	return p, errors.Join(err, body.Close())
}

// Deposited lists the bucket of deposits.
func (c *Centre) Deposited(ctx context.Context) ([]string, error) {
	var keys []string
	for after := ""; ; {
		p, err := c.Store.List(ctx, Deposits, "", after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, o := range p.Objects {
			keys = append(keys, o.Key)
		}
		if after = p.Next; after == "" {
			return keys, nil
		}
	}
}

// Published is where boxes serve what the catalogue has of the bucket, by its
// key there. Two of one key are an error.
func (c *Centre) Published(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for rec, err := range c.Operator.Records(ctx, "resources") {
		if err != nil {
			return nil, err
		}
		value, ok := rec.Value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%+v", rec)
		}
		key, ok := value["key"].(string)
		if !ok { // an operator has published it, and it is in no bucket
			continue
		}
		if out[key] != "" {
			return nil, fmt.Errorf("the catalogue has %q twice: %+v", key, rec)
		}
		out[key] = "/r/" + rec.ID + "/" + path.Base(key)
	}
	return out, nil
}

// Key is where the centre keeps a deposit of that box's school.
func (b *Box) Key(sum [32]byte, name string) string {
	return fmt.Sprintf("%s/%x/%s", b.School, sum[:16], name)
}

// Refused is a status that is not the one that was to be.
type Refused struct {
	Status int
	Said   string
}

// Error implements error.
func (r Refused) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Said) }

// Do asks a box for what must come with that status. Fields are names and
// values in turn.
func (b *Box) Do(ctx context.Context, client *http.Client, method, path string, body []byte, want int, fields ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = Refused{resp.StatusCode, string(got[:min(len(got), 300)])}
	}
	return got, err
}

// Deposit adds a file on the box, and returns its id once the box has it.
func (b *Box) Deposit(ctx context.Context, client *http.Client, name string, content []byte) (string, error) {
	token, err := os.ReadFile(b.TokenFile())
	if err != nil {
		return "", err
	}
	got, err := b.Do(ctx, client, http.MethodPut, "/d/"+name, content, http.StatusCreated, "Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if err != nil {
		return "", err
	}
	var d struct{ ID string }
	if err := json.Unmarshal(got, &d); err != nil || d.ID == "" {
		return "", fmt.Errorf("the box answers %q (%w)", got, err)
	}
	return d.ID, nil
}

// InCentre is nil once the box says that the centre keeps a deposit.
func (b *Box) InCentre(ctx context.Context, client *http.Client, id string) error {
	got, err := b.Do(ctx, client, http.MethodGet, "/d/"+id, nil, http.StatusOK)
	if err != nil {
		return err
	}
	var d struct{ State, Waiting string }
	if err := json.Unmarshal(got, &d); err != nil {
		return err
	}
	if d.State != "central" {
		return fmt.Errorf("%s of %s is at %q: %s", id, b.Name, d.State, d.Waiting)
	}
	return nil
}
