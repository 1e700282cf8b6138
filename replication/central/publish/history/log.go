package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"preau/replication/central"
	"preau/replication/central/store"
)

// tailBatch is a batch in memory.
type tailBatch struct {
	first   uint64
	changes []central.Change
	bytes   int64
}

func (b tailBatch) last() uint64 { return b.first + uint64(len(b.changes)) - 1 }

// Refresh reads what other gateways have appended.
func (h *History) Refresh(ctx context.Context) error {
	if err := h.reading.enter(ctx); err != nil {
		return err
	}
	defer h.reading.leave()
	for {
		head, _ := h.Head()
		records, err := h.readBatch(ctx, head+1)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if end, ok := errors.AsType[*ended](err); ok {
			return h.goOn(ctx, head+1, end.next)
		}
		if err != nil {
			return err
		}
		if err := h.ingest(head+1, records); err != nil {
			return err
		}
		if rows, _ := h.Behind(); rows >= 4*h.cfg.FoldRows {
			// Nobody else does it: this would grow for ever.
			if err := h.Fold(ctx); err != nil {
				return err
			}
		}
	}
}

// readBatch reads the batch whose first change is first, or store.ErrNotFound, or
// an ended.
func (h *History) readBatch(ctx context.Context, first uint64) ([]Record, error) {
	p, _, err := h.get(ctx, h.batchName(first), maxPacked)
	if err != nil {
		return nil, err
	}
	begins, records, end, err := decodeBatch(p)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case begins != first:
		err = fmt.Errorf("%w: it begins with change %d", ErrDamaged, begins)
	case end != nil:
		err = &ended{*end}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", h.batchName(first), err)
	}
	return records, nil
}

// ingest takes in the batch that follows on head.
func (h *History) ingest(first uint64, records []Record) error {
	keys, rows := make([]string, len(records)), make([]Row, len(records))
	b := tailBatch{first: first, changes: make([]central.Change, len(records))}
	for i, r := range records {
		r.Change.Seq = first + uint64(i)
		key, row, err := rowOf(h.cfg.Bucket, r)
		if err != nil {
			return fmt.Errorf("change %d: %w: %w", r.Change.Seq, ErrDamaged, err)
		}
		keys[i], rows[i] = key, row
		b.changes[i] = r.Change
		b.bytes += int64(len(r.Change.Signed)+len(r.Change.Signature)) + 64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.head+1 != first {
		return nil // it has been taken in meanwhile
	}
	for i, key := range keys {
		if rows[i].Seq > h.root.Applied { // else the table has it, or what came after it
			h.overlay[key] = rows[i]
		}
		for _, a := range h.tries[key] {
			a.told(rows[i])
		}
	}
	h.head = b.last()
	h.batches++
	h.tail = append(h.tail, b)
	h.tailLen += b.bytes
	drop := 0
	for h.tailLen > h.cfg.TailBytes && drop < len(h.tail) {
		h.tailLen -= h.tail[drop].bytes
		drop++
	}
	h.tail = append([]tailBatch(nil), h.tail[drop:]...)
	close(h.news)
	h.news = make(chan struct{})
	return nil
}

// rowOf is what a record says of its key.
func rowOf(bucket string, r Record) (string, Row, error) {
	o, err := central.DecodeChange(r.Change)
	if err != nil {
		return "", Row{}, err
	}
	if o.Bucket != bucket {
		return "", Row{}, fmt.Errorf("it is of bucket %q", o.Bucket)
	}
	row := Row{Seq: r.Change.Seq, Place: r.Place, Meta: r.Meta}
	switch {
	case r.Held != nil:
		row.Held, row.ETag, row.Size, row.Modified = true, r.Held.ETag, r.Held.Size, r.Held.Modified.UnixMilli()
	case r.Change.Deleted:
		row.gone = true
	default:
		row.ETag, row.Size, row.Modified, row.List = o.ETag, o.Length, o.Modified.UnixMilli(), o.List
	}
	return o.Key, row, nil
}

// An Attempt is a decision about a key on its way into the log. It must be
// closed.
type Attempt struct {
	// Row is what the history said of the key when the attempt began; Known is
	// false if that was nothing.
	Row   Row
	Known bool

	h     *History
	key   string
	place uint64 // of the record that is being appended
	state attemptState
}

type attemptState int

const (
	pending attemptState = iota
	appended
	overtaken
)

// told says what the log has of the attempt's key now. Called with h.mu held.
func (a *Attempt) told(row Row) {
	switch {
	case a.state != pending:
	case a.place != 0 && a.place == row.Place:
		a.state = appended
	default:
		a.state = overtaken
	}
}

// Begin begins an attempt at key.
func (h *History) Begin(ctx context.Context, key string) (*Attempt, error) {
	a := &Attempt{h: h, key: key}
	h.mu.Lock()
	h.tries[key] = append(h.tries[key], a) // first, so that nothing is missed
	h.mu.Unlock()
	row, known, err := h.Lookup(ctx, key)
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Row, a.Known = row, known
	return a, nil
}

// Close ends the attempt, whatever has become of it.
func (a *Attempt) Close() {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	list := a.h.tries[a.key]
	for i := range list {
		if list[i] == a {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(a.h.tries, a.key)
	} else {
		a.h.tries[a.key] = list
	}
}

// Overtaken reports whether the log has another change of the key since the
// attempt began: it must be decided anew.
func (a *Attempt) Overtaken() bool { return a.is(overtaken) }

// Appended reports whether the attempt's record is in the log.
func (a *Attempt) Appended() bool { return a.is(appended) }

func (a *Attempt) is(s attemptState) bool {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	return a.state == s
}

// Entry is an attempt with what it came to.
type Entry struct {
	Attempt *Attempt
	Record  Record // its Place is not 0
}

// Append writes entries, at most MaxBatch, to the log, without those that were
// overtaken, and returns when each is one or the other. After an error, which is
// the store's or ErrDamaged, some may be in the log: to call it again with all of
// them is right.
func (h *History) Append(ctx context.Context, entries []Entry) error {
	if err := h.appending.enter(ctx); err != nil {
		return err
	}
	defer h.appending.leave()
	for {
		h.mu.Lock()
		var records []Record
		head := h.head
		keys := map[string]bool{}
		for _, e := range entries {
			e.Attempt.place = e.Record.Place
			switch {
			case e.Attempt.state != pending:
			case keys[e.Attempt.key]: // of two at once, one
				e.Attempt.state = overtaken
			default:
				keys[e.Attempt.key] = true
				records = append(records, e.Record)
			}
		}
		h.mu.Unlock()
		if len(records) == 0 {
			return nil
		}
		p, err := EncodeBatch(head+1, records)
		if err != nil {
			return err
		}
		_, err = h.put(ctx, h.batchName(head+1), p, store.Condition{Absent: true})
		if err == nil {
			if err := h.ingest(head+1, records); err != nil {
				return err
			}
			continue
		}
		// Somebody else was first, or it is there in spite of the error.
		if again := h.Refresh(ctx); again != nil {
			return errors.Join(err, again)
		}
		if now, _ := h.Head(); now == head {
			return err
		}
	}
}

// Read returns the changes after number after, at most limit, and none if there
// are none yet. It ends early rather than read long.
func (h *History) Read(ctx context.Context, after uint64, limit int) ([]central.Change, error) {
	var out []central.Change
	began := time.Now()
	for len(out) < limit {
		next := after + uint64(len(out)) + 1
		h.mu.Lock()
		head := h.head
		got := h.fromTail(next, limit-len(out))
		h.mu.Unlock()
		if len(got) > 0 {
			out = append(out, got...)
			continue
		}
		if next > head || len(out) > 0 && time.Since(began) > time.Second {
			break
		}
		got, err := h.fromStore(ctx, next)
		if errors.Is(err, ErrDamaged) || errors.Is(err, store.ErrNotFound) {
			// A log that another one has replaced goes some time after that.
			if other := h.Current(ctx); other != nil {
				err = other
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read the history of %s after %d: %w", h.cfg.Bucket, after, err)
		}
		out = append(out, got[:min(len(got), limit-len(out))]...)
	}
	return out, nil
}

// fromTail looks for the changes from next on in memory, in one batch.
func (h *History) fromTail(next uint64, limit int) []central.Change {
	if len(h.tail) == 0 || next < h.tail[0].first || next > h.head {
		return nil
	}
	for _, b := range slices.Backward(h.tail) {
		if b.first <= next {
			rest := b.changes[next-b.first:]
			return rest[:min(len(rest), limit)]
		}
	}
	return nil
}

// fromStore reads the batch in which change next is, from there on.
func (h *History) fromStore(ctx context.Context, next uint64) ([]central.Change, error) {
	first, records, err := h.batchWith(ctx, next)
	if err != nil {
		return nil, err
	}
	var out []central.Change
	for _, r := range records[next-first:] {
		out = append(out, r.Change)
	}
	return out, nil
}

// findBatch finds the first change of the batch in which change seq is. A batch
// has at most MaxBatch changes, so one page of names is enough.
func (h *History) findBatch(ctx context.Context, seq uint64) (uint64, error) {
	after := uint64(0)
	if seq > MaxBatch {
		after = seq - MaxBatch
	}
	dir := strings.TrimSuffix(h.batchName(0), fmt.Sprintf("%016d", 0))
	page, err := h.st.List(ctx, h.cfg.System, dir, h.batchName(after), MaxBatch)
	if err != nil {
		return 0, fmt.Errorf("list %s: %w", dir, err)
	}
	found := uint64(0)
	for _, o := range page.Objects {
		n, err := strconv.ParseUint(strings.TrimPrefix(o.Key, dir), 10, 64)
		if err != nil || n > seq {
			break
		}
		found = n
	}
	if found == 0 {
		return 0, fmt.Errorf("%w: the batch of change %d is missing", ErrDamaged, seq)
	}
	return found, nil
}
