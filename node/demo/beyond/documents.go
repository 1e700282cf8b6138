package beyond

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"preau/node/control"
)

// putWithin is how long the centre may take for a document.
const putWithin = time.Minute

// ErrNotYet reports a region or a centre that does not run.
var ErrNotYet = errors.New("the region and the centre are still starting")

// asked is the operator that may ask the region.
func (b *Beyond) asked() (*control.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.operator == nil {
		return nil, ErrNotYet
	}
	return b.operator, nil
}

// Put puts a document into the centre's bucket, as preau central put does.
func (b *Beyond) Put(ctx context.Context, key, title, kind string, body []byte) error {
	b.mu.Lock()
	put := b.put
	b.mu.Unlock()
	if !put {
		return ErrNotYet
	}
	u := url.URL{Scheme: "http", Host: b.cfg.Admin, Path: "/store/" + Bucket + "/" + key}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("put a document: %w", err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Preau-Meta-Title", title)
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: putWithin}
	resp, err := once.Do(req)
	if err != nil {
		return fmt.Errorf("put a document: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 500)) //nolint:errcheck // the status says it, too
		return fmt.Errorf("put a document: the centre answers %s: %s", resp.Status, strings.TrimSpace(string(why)))
	}
	return nil
}

// Document is a document of the centre that the region knows.
type Document struct {
	ID, Key, Title string
	Bytes          int64
}

// Documents lists what the region knows of the centre's bucket, and has boxes
// keep the collections that it belongs to.
func (b *Beyond) Documents(ctx context.Context) ([]Document, error) {
	operator, err := b.asked()
	if err != nil {
		return nil, err
	}
	var out []Document
	for rec, err := range operator.Records(ctx, "resources") {
		if err != nil {
			return nil, fmt.Errorf("list the region's documents: %w", err)
		}
		v, ok := rec.Value.(map[string]any)
		if !ok || v["bucket"] != Bucket {
			continue
		}
		d := Document{ID: rec.ID, Key: word(v, "key"), Title: word(v, "title")}
		if n, ok := v["length"].(float64); ok {
			d.Bytes = int64(n)
		}
		out = append(out, d)
		if err := b.keep(ctx, operator, word(v, "collection")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// word is what a record says of itself under a name, as far as that is text.
func word(record map[string]any, name string) string {
	text, ok := record[name].(string)
	if !ok {
		return ""
	}
	return text
}

// keep subscribes all boxes to a collection, once.
func (b *Beyond) keep(ctx context.Context, operator *control.Client, collection string) error {
	b.mu.Lock()
	done := b.kept[collection]
	b.mu.Unlock()
	if done {
		return nil
	}
	if _, err := operator.Subscribe(ctx, "", collection); err != nil {
		return fmt.Errorf("have the boxes keep collection %s: %w", collection, err)
	}
	b.mu.Lock()
	b.kept[collection] = true
	b.mu.Unlock()
	return nil
}

// Linked reports whether the box follows the region, as far as that knows.
func (b *Beyond) Linked(ctx context.Context) (bool, error) {
	operator, err := b.asked()
	if err != nil {
		return false, err
	}
	boxes, err := operator.Boxes(ctx)
	if err != nil {
		return false, fmt.Errorf("ask the region for its boxes: %w", err)
	}
	return slices.ContainsFunc(boxes, func(o control.Box) bool { return o.Name == boxName && o.Connected }), nil
}
