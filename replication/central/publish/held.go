package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxHeld is how many objects of a bucket are listed that are held back.
	maxHeld = 500
	// heldTime is how long to look for them.
	heldTime = time.Minute
)

// Held is an object that is not published, and why.
type Held struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
	Reason   string    `json:"reason"`
}

// HeldBack lists the objects that are held back, the first of each bucket.
func (p *Publisher) HeldBack(ctx context.Context) ([]Held, error) {
	out := []Held{}
	for _, name := range p.cfg.Buckets {
		b := p.buckets[name]
		h, err := p.history(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("what is held back of %s: %w", name, err)
		}
		held, err := h.HeldBack(ctx, maxHeld)
		if err != nil {
			p.forget(b, h, err)
			return nil, err
		}
		for _, one := range held {
			out = append(out, Held{Bucket: name, Key: one.Key, Bytes: one.Size, Modified: one.Modified.UTC(), Reason: one.Reason})
		}
	}
	return out, nil
}

// HeldList answers with what is held back, as JSON, for the machine's operator.
func (p *Publisher) HeldList() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), heldTime)
		defer cancel()
		held, err := p.HeldBack(ctx)
		if err != nil {
			p.log.WarnContext(ctx, "what is held back can't be listed", "err", err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(held); err != nil {
			p.log.DebugContext(ctx, "an answer could not be sent", "err", err)
		}
	})
}
