package history

import (
	"context"
	"errors"
	"fmt"

	"preau/replication/central/store"
)

// HeldBack is an object of the bucket that is not published.
type HeldBack struct {
	Key string
	Held
}

// HeldBack lists what is held back, in the order of keys, at most limit. It reads
// the whole table, and a batch of the log for each.
func (h *History) HeldBack(ctx context.Context, limit int) ([]HeldBack, error) {
	var out []HeldBack
	for from := ""; ; {
		rows, next, err := h.Scan(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			switch {
			case !row.Held:
				continue
			case len(out) == limit:
				return out, nil
			}
			r, err := h.record(ctx, row.Seq)
			if err == nil && r.Held == nil {
				err = fmt.Errorf("%w: change %d holds nothing back", ErrDamaged, row.Seq)
			}
			if err != nil {
				return nil, fmt.Errorf("why %q of %s is held back: %w", row.Key, h.cfg.Bucket, err)
			}
			out = append(out, HeldBack{Key: row.Key, Held: *r.Held})
		}
		if from = next; from == "" {
			return out, nil
		}
	}
}

// record reads one change of the log.
func (h *History) record(ctx context.Context, seq uint64) (Record, error) {
	first, records, err := h.batchWith(ctx, seq)
	if err != nil {
		return Record{}, err
	}
	return records[seq-first], nil
}

// batchWith reads the batch in which change seq is.
func (h *History) batchWith(ctx context.Context, seq uint64) (first uint64, records []Record, err error) {
	first = seq
	records, err = h.readBatch(ctx, seq)
	if errors.Is(err, store.ErrNotFound) {
		if first, err = h.findBatch(ctx, seq); err != nil {
			return 0, nil, err
		}
		records, err = h.readBatch(ctx, first)
	}
	if err == nil && seq-first >= uint64(len(records)) {
		err = fmt.Errorf("%w: change %d is in no batch", ErrDamaged, seq)
	}
	return first, records, err
}
