package history

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"preau/replication/central/store"
)

// next is the end of a log: what goes on in its place.
type next struct {
	Epoch string `cbor:"1,keyasint"` // of the history that does
	Kept  uint64 `cbor:"2,keyasint"` // its first changes are what is left of the
	Of    uint64 `cbor:"3,keyasint"` // first so many of this one
}

func (n *next) valid() bool { return isEpoch(n.Epoch) && n.Kept <= n.Of }

// ended is a log's end, where a batch was expected.
type ended struct{ next }

// Error implements error.
func (e *ended) Error() string { return "the log ends here, and goes on as " + e.Epoch }

const (
	// compactTime is how long a log may be under way at most, and pruneAfter how
	// long one that is not the present one is left alone: readers may be in the
	// middle of it, or a gateway in the middle of writing it.
	compactTime = 6 * time.Hour
	pruneAfter  = 24 * time.Hour
)

// Due reports whether the log is worth compacting: it has more than twice the
// changes that the table has rows, and spare ones besides.
func (h *History) Due(spare uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows := uint64(len(h.overlay))
	for _, ref := range h.root.Pages {
		rows += uint64(ref.Rows)
	}
	return h.head > 2*rows+spare
}

// Compact has a new history take the place of this one, with the changes that
// still count and no others, and returns ErrEpoch when it has: it must be opened.
// That can also mean that another gateway did it.
//
// It reads the log once, and writes as much of it as counts. It holds nobody up
// but at the end, for the changes that came meanwhile. At every moment one log is
// the truth: the old one until it is ended by a batch that names the new one,
// which is then whole but for the changes after its beginning, and these any
// gateway copies, each under the one name that it can have. Whoever meets the end
// of a log does so, and has the epoch name the new one. What is left over Prune
// removes.
//
// Regions read the new history from its beginning: some 500 bytes for each
// object, and none of the objects' own.
func (h *History) Compact(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compactTime)
	defer cancel()
	if err := h.Fold(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	of := h.root.Applied
	h.mu.Unlock()
	counts, err := h.counting(ctx)
	if err != nil {
		return fmt.Errorf("compact the history of %s: %w", h.cfg.Bucket, err)
	}
	var id [10]byte
	rand.Read(id[:]) // never fails
	n := next{Epoch: hex.EncodeToString(id[:]), Of: of}
	if n.Kept, err = h.copyCounting(ctx, n.Epoch, of, counts); err != nil {
		return fmt.Errorf("compact the history of %s: %w", h.cfg.Bucket, err)
	}
	return h.end(ctx, n)
}

// counting is the numbers of the changes that the table is made of, or that came
// after it.
func (h *History) counting(ctx context.Context) (seqs, error) {
	var s seqs
	for from := ""; ; {
		rows, to, err := h.Scan(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			s.add(row.Seq)
		}
		if from = to; from == "" {
			return s, nil
		}
	}
}

// copyCounting writes the changes up to number of that count into the log of a
// new epoch, and says how many they are.
func (h *History) copyCounting(ctx context.Context, epoch string, of uint64, counts seqs) (kept uint64, err error) {
	var out []Record
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		err := h.write(ctx, epoch, kept+1, out)
		kept += uint64(len(out))
		out = out[:0]
		return err
	}
	size := 0
	for first := uint64(1); first <= of; {
		records, err := h.readBatch(ctx, first)
		if err != nil {
			return 0, err
		}
		for i, r := range records {
			seq := first + uint64(i)
			if seq > of || !counts.has(seq) {
				continue
			}
			if len(out) == MaxBatch || len(out) > 0 && size+len(r.Change.Signed) > MaxBatchBytes {
				if err := flush(); err != nil {
					return 0, err
				}
				size = 0
			}
			out, size = append(out, r), size+len(r.Change.Signed)
		}
		first += uint64(len(records))
	}
	return kept, flush()
}

// write puts a batch into the log of a new epoch, or finds it there.
func (h *History) write(ctx context.Context, epoch string, first uint64, records []Record) error {
	p, err := EncodeBatch(first, records)
	if err != nil {
		return err
	}
	_, err = h.put(ctx, h.batchOf(epoch, first), p, store.Condition{Absent: true})
	if errors.Is(err, store.ErrChanged) {
		return nil // whoever wrote it had the same to write
	}
	return err
}

// end ends the log at its head, and has the next one take its place.
func (h *History) end(ctx context.Context, n next) error {
	for {
		head, _ := h.Head()
		p, err := encodeEnd(head+1, n)
		if err != nil {
			return err
		}
		_, err = h.put(ctx, h.batchName(head+1), p, store.Condition{Absent: true})
		if err == nil {
			return h.goOn(ctx, head+1, n)
		}
		// Somebody else was first, or it is there in spite of the error: then
		// Refresh meets it, and goes on.
		if again := h.Refresh(ctx); again != nil {
			return errors.Join(err, again)
		}
		if now, _ := h.Head(); now == head {
			return fmt.Errorf("compact the history of %s: %w", h.cfg.Bucket, err)
		}
	}
}

// goOn brings what came after a new log was begun into it, and has it take the
// place of this one, which ends at number end. It returns ErrEpoch.
func (h *History) goOn(ctx context.Context, end uint64, n next) error {
	over := fmt.Errorf("history of %s: it goes on in another one: %w", h.cfg.Bucket, ErrEpoch)
	was, tag, err := h.readEpoch(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && was.ID != h.epoch:
		return over // somebody else was quicker
	case err != nil:
		return err
	}
	to := n.Kept
	for first := n.Of + 1; first < end; {
		records, err := h.readBatch(ctx, first)
		if err == nil {
			err = h.write(ctx, n.Epoch, to+1, records)
		}
		if err != nil {
			return fmt.Errorf("go on with the history of %s: %w", h.cfg.Bucket, err)
		}
		first, to = first+uint64(len(records)), to+uint64(len(records))
	}
	p, err := encode(epoch{Version: version, ID: n.Epoch, Key: was.Key})
	if err == nil {
		_, err = h.put(ctx, h.epochName(), p, store.Condition{ETag: tag})
	}
	if err != nil && !errors.Is(err, store.ErrChanged) {
		return err
	}
	return over
}

// Prune removes the logs that this one has taken the place of, and those that
// were begun in vain.
func (h *History) Prune(ctx context.Context) error {
	if err := h.prune(ctx); err != nil {
		return fmt.Errorf("prune the history of %s: %w", h.cfg.Bucket, err)
	}
	return nil
}

func (h *History) prune(ctx context.Context) error {
	if err := h.Current(ctx); err != nil {
		return err
	}
	begun, err := h.st.Head(ctx, h.cfg.System, h.epochName())
	if err != nil {
		return err
	}
	// All times are the store's: what is written now has the present one.
	now, err := h.put(ctx, h.logDir()+"pruned", []byte("when logs were looked through last\n"), store.Condition{})
	if err != nil || now.Modified.Sub(begun.Modified) <= pruneAfter {
		return err
	}
	mine := h.logDir() + h.epoch + "/"
	for after := ""; ; {
		page, err := h.st.List(ctx, h.cfg.System, h.logDir(), after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			epoch, _, ok := strings.Cut(strings.TrimPrefix(o.Key, h.logDir()), "/")
			if !ok || !isEpoch(epoch) || strings.HasPrefix(o.Key, mine) || now.Modified.Sub(o.Modified) <= pruneAfter {
				continue
			}
			if err := h.st.Delete(ctx, h.cfg.System, o.Key); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// seqs is a set of numbers from 1 on.
type seqs []uint64

func (s *seqs) add(n uint64) {
	for uint64(len(*s)) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s seqs) has(n uint64) bool { return n/64 < uint64(len(s)) && s[n/64]&(1<<(n%64)) != 0 }
