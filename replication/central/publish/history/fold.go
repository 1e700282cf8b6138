package history

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"preau/cache/block"
	"preau/replication/central/store"
)

// Fold brings the table up to the latest change that is known, unless another
// gateway has. It writes the pages that change, and the root.
func (h *History) Fold(ctx context.Context) error {
	if err := h.folding.enter(ctx); err != nil {
		return err
	}
	defer h.folding.leave()
	for range 3 {
		err := h.fold(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("extend the table of %s: %w", h.cfg.Bucket, err)
		}
		if err := h.loadRoot(ctx); err != nil {
			return fmt.Errorf("extend the table of %s: %w", h.cfg.Bucket, err)
		}
	}
	return nil // others are at it
}

// snapshot is what is to become of the table.
func (h *History) snapshot() (old root, tag string, over []Named, applied uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, row := range h.overlay {
		if row.Seq > h.root.Applied {
			over = append(over, Named{Key: key, Row: row})
		}
	}
	return h.root, h.rootTag, over, h.head
}

func (h *History) fold(ctx context.Context) error {
	old, tag, over, applied := h.snapshot()
	if applied <= old.Applied {
		return nil
	}
	sortRows(over)
	b := builder{h: h}
	for i, ref := range old.Pages {
		mine := over
		if i+1 < len(old.Pages) {
			n := 0
			for n < len(over) && over[n].Key < old.Pages[i+1].First {
				n++
			}
			mine = over[:n]
		}
		over = over[len(mine):]
		if len(mine) == 0 {
			if err := b.keep(ctx, ref); err != nil {
				return b.undo(ctx, err)
			}
			continue
		}
		rows, err := h.page(ctx, ref, false)
		if errors.Is(err, ErrDamaged) {
			return h.discard(ctx, err)
		}
		if err == nil {
			err = b.add(ctx, merge(rows, mine))
		}
		if err != nil {
			return b.undo(ctx, err)
		}
	}
	err := b.add(ctx, merge(nil, over))
	if err == nil {
		err = b.flush(ctx, 0)
	}
	if err != nil {
		return b.undo(ctx, err)
	}
	fresh := root{Version: version, Epoch: h.epoch, Applied: applied, Pages: b.refs}
	p, err := encode(fresh)
	if err != nil {
		return err
	}
	if len(fresh.Pages) > maxPages || len(p) > maxRoot {
		return b.undo(ctx, fmt.Errorf("a table of %d pages is too large: raise page_rows", len(fresh.Pages)))
	}
	c := store.Condition{ETag: tag, Absent: tag == ""}
	info, err := h.put(ctx, h.rootName(), p, c)
	switch {
	case errors.Is(err, store.ErrChanged):
		return b.undo(ctx, err)
	case err != nil:
		// It may be there all the same, so its pages stay: Sweep knows them if not.
		return err
	}
	h.install(fresh, info.ETag)
	kept := map[string]bool{}
	for _, ref := range fresh.Pages {
		kept[ref.Name] = true
	}
	for _, ref := range old.Pages {
		if !kept[ref.Name] {
			h.drop(ctx, ref.Name)
		}
	}
	return nil
}

// drop removes a page that nothing names.
func (h *History) drop(ctx context.Context, name string) {
	if err := h.st.Delete(ctx, h.cfg.System, h.pagesDir()+name); err != nil {
		return // Sweep finds it
	}
}

// builder cuts rows into pages.
type builder struct {
	h    *History
	refs []pageRef
	made []string
	rows []Named
}

func (b *builder) keep(ctx context.Context, ref pageRef) error {
	err := b.flush(ctx, 0)
	b.refs = append(b.refs, ref)
	return err
}

func (b *builder) add(ctx context.Context, rows []Named) error {
	b.rows = append(b.rows, rows...)
	return b.flush(ctx, 2*b.h.cfg.PageRows)
}

// flush writes pages until at most left rows are left: full ones while there are
// many, then what is left in equal parts.
func (b *builder) flush(ctx context.Context, left int) error {
	size := b.h.cfg.PageRows
	for len(b.rows) > left {
		n := size
		switch rest := len(b.rows); {
		case rest <= size+size/2:
			n = rest
		case rest < 2*size:
			n = (rest + 1) / 2
		}
		if err := b.write(ctx, b.rows[:n]); err != nil {
			return err
		}
		b.rows = b.rows[n:]
	}
	return nil
}

func (b *builder) write(ctx context.Context, rows []Named) error {
	var id [12]byte
	rand.Read(id[:]) // never fails
	p := encodePage(rows)
	ref := pageRef{First: rows[0].Key, Name: hex.EncodeToString(id[:]), Digest: block.Sum(p), Rows: len(rows)}
	b.made = append(b.made, ref.Name)
	b.refs = append(b.refs, ref)
	_, err := b.h.put(ctx, b.h.pagesDir()+ref.Name, p, store.Condition{Absent: true})
	return err
}

// undo removes the pages that were made in vain.
func (b *builder) undo(ctx context.Context, err error) error {
	for _, name := range b.made {
		b.h.drop(ctx, name)
	}
	return err
}

// Sweep removes the pages that no root names, left by gateways that died in the
// middle of it.
func (h *History) Sweep(ctx context.Context) error {
	const spare = time.Hour // for one who is in the middle of it
	info, err := h.st.Head(ctx, h.cfg.System, h.rootName())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = h.loadRoot(ctx)
	}
	if err != nil {
		return fmt.Errorf("sweep the table of %s: %w", h.cfg.Bucket, err)
	}
	h.mu.Lock()
	named := map[string]bool{}
	for _, ref := range h.root.Pages {
		named[h.pagesDir()+ref.Name] = true
	}
	h.mu.Unlock()
	for after := ""; ; {
		page, err := h.st.List(ctx, h.cfg.System, h.pagesDir(), after, store.MaxPage)
		if err != nil {
			return fmt.Errorf("sweep the table of %s: %w", h.cfg.Bucket, err)
		}
		for _, o := range page.Objects {
			// Both times are the store's.
			if !named[o.Key] && info.Modified.Sub(o.Modified) > spare {
				if err := h.st.Delete(ctx, h.cfg.System, o.Key); err != nil {
					return fmt.Errorf("sweep the table of %s: %w", h.cfg.Bucket, err)
				}
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}
