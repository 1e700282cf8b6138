package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"preau/cache/block"
	"preau/replication/central/store"
)

// Row is what there is of a key.
type Row struct {
	Seq      uint64 // of the change that said so
	ETag     string
	Size     int64
	Modified int64        // in milliseconds since 1970
	List     block.Digest // of its blocks; zero if it is held, or empty
	Meta     uint64       // Fingerprint of the metadata that it was published with
	Place    uint64
	Held     bool // it is not published
	gone     bool // a deletion: in the overlay only
}

// Named is a Row with its key.
type Named struct {
	Key string
	Row
}

// pageCache keeps the pages used last. Called with the history's mu held.
type pageCache struct {
	limit int
	names []string // the one used last at the end
	rows  map[string][]Named
}

func (c *pageCache) get(name string) ([]Named, bool) {
	rows, ok := c.rows[name]
	if ok {
		i := slices.Index(c.names, name)
		c.names = append(slices.Delete(c.names, i, i+1), name)
	}
	return rows, ok
}

func (c *pageCache) put(name string, rows []Named) {
	if _, ok := c.get(name); ok {
		return
	}
	if c.rows == nil {
		c.rows = map[string][]Named{}
	}
	if len(c.names) >= c.limit {
		delete(c.rows, c.names[0])
		c.names = slices.Delete(c.names, 0, 1)
	}
	c.names, c.rows[name] = append(c.names, name), rows
}

// find says on which page key is, or would be.
func (r *root) find(key string) int {
	i := sort.Search(len(r.Pages), func(i int) bool { return r.Pages[i].First > key })
	return max(i-1, 0)
}

// loadRoot takes the root as it is now.
func (h *History) loadRoot(ctx context.Context) error {
	p, tag, err := h.get(ctx, h.rootName(), maxRoot)
	r := root{Version: version, Epoch: h.epoch}
	switch {
	case errors.Is(err, store.ErrNotFound):
		tag = ""
	case err != nil:
		return err
	default:
		was, err := decodeRoot(p)
		switch {
		case err != nil: // made anew of the log
		case was.Epoch == h.epoch:
			r = was
		default:
			// Of a former history, or of the next one.
			if err := h.Current(ctx); err != nil {
				return err
			}
		}
	}
	h.install(r, tag)
	return nil
}

func (h *History) install(r root, tag string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.root, h.rootTag, h.batches = r, tag, 0
	for key, row := range h.overlay {
		if row.Seq <= r.Applied {
			delete(h.overlay, key)
		}
	}
}

// page reads a page. Callers who come back keep it.
func (h *History) page(ctx context.Context, ref pageRef, keep bool) ([]Named, error) {
	h.mu.Lock()
	rows, ok := h.cache.get(ref.Name)
	h.mu.Unlock()
	if ok {
		return rows, nil
	}
	p, _, err := h.get(ctx, h.pagesDir()+ref.Name, maxPage)
	if err != nil {
		return nil, err
	}
	if block.Sum(p) != ref.Digest {
		return nil, fmt.Errorf("read %s: %w: other bytes than the root names", ref.Name, ErrDamaged)
	}
	if rows, err = decodePage(p); err != nil {
		return nil, err
	}
	if keep {
		h.mu.Lock()
		h.cache.put(ref.Name, rows)
		h.mu.Unlock()
	}
	return rows, nil
}

// withPage calls fn with the table, until the page that pick chooses could be
// read. Pages go when the table is extended, so one that is missing means a new
// root; if there is none, the table is made anew.
func (h *History) withPage(ctx context.Context, keep bool, pick func() (pageRef, bool), use func([]Named)) error {
	for {
		h.mu.Lock()
		ref, need := pick()
		tag := h.rootTag
		h.mu.Unlock()
		if !need {
			use(nil)
			return nil
		}
		rows, err := h.page(ctx, ref, keep)
		if err == nil {
			use(rows)
			return nil
		}
		damaged := errors.Is(err, ErrDamaged)
		if !damaged && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if again := h.loadRoot(ctx); again != nil {
			return errors.Join(err, again)
		}
		h.mu.Lock()
		same := h.rootTag == tag
		h.mu.Unlock()
		if same {
			return h.discard(ctx, err)
		}
	}
}

// discard drops a table that can't be read: the log has it all.
func (h *History) discard(ctx context.Context, why error) error {
	h.mu.Lock()
	tag := h.rootTag
	h.mu.Unlock()
	p, err := encode(root{Version: version, Epoch: h.epoch})
	if err == nil {
		_, err = h.put(ctx, h.rootName(), p, store.Condition{ETag: tag})
	}
	if err != nil && !errors.Is(err, store.ErrChanged) {
		return errors.Join(why, err)
	}
	return fmt.Errorf("the table of %s is made anew of the log (%w): %w", h.cfg.Bucket, ErrEpoch, why)
}

// Lookup says what there is of key.
func (h *History) Lookup(ctx context.Context, key string) (Row, bool, error) {
	var row Row
	var known bool
	err := h.withPage(ctx, true, func() (pageRef, bool) {
		over, ok := h.overlay[key]
		row, known = over, ok && !over.gone
		if ok || len(h.root.Pages) == 0 {
			return pageRef{}, false
		}
		return h.root.Pages[h.root.find(key)], true
	}, func(rows []Named) {
		if i, ok := slices.BinarySearchFunc(rows, key, byKey); ok {
			row, known = rows[i].Row, true
		}
	})
	if err != nil {
		return Row{}, false, fmt.Errorf("look up a key of %s: %w", h.cfg.Bucket, err)
	}
	return row, known, nil
}

func byKey(n Named, key string) int { return strings.Compare(n.Key, key) }

// Scan returns the rows from key from on, in the order of their keys, up to the
// key next, from which another Scan goes on. An empty next is the end. What
// changes meanwhile may be seen or not.
func (h *History) Scan(ctx context.Context, from string) (rows []Named, next string, err error) {
	var over []Named
	err = h.withPage(ctx, false, func() (ref pageRef, need bool) {
		next = ""
		if len(h.root.Pages) > 0 {
			i := h.root.find(from)
			ref, need = h.root.Pages[i], true
			if i+1 < len(h.root.Pages) {
				next = h.root.Pages[i+1].First
			}
		}
		over = over[:0]
		for key, row := range h.overlay {
			if key >= from && (next == "" || key < next) {
				over = append(over, Named{Key: key, Row: row})
			}
		}
		return ref, need
	}, func(page []Named) {
		i, _ := slices.BinarySearchFunc(page, from, byKey)
		sortRows(over)
		rows = merge(page[i:], over)
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the table of %s: %w", h.cfg.Bucket, err)
	}
	return rows, next, nil
}

func sortRows(rows []Named) {
	slices.SortFunc(rows, func(a, b Named) int { return cmp.Compare(a.Key, b.Key) })
}

// merge lays over, in the order of keys, over rows.
func merge(rows, over []Named) []Named {
	if len(over) == 0 {
		return rows
	}
	out := make([]Named, 0, len(rows)+len(over))
	for len(rows) > 0 || len(over) > 0 {
		switch {
		case len(over) == 0 || len(rows) > 0 && rows[0].Key < over[0].Key:
			out, rows = append(out, rows[0]), rows[1:]
			continue
		case len(rows) > 0 && rows[0].Key == over[0].Key:
			rows = rows[1:]
		}
		if !over[0].gone {
			out = append(out, over[0])
		}
		over = over[1:]
	}
	return out
}
