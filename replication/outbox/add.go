package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"mime"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/hold"
)

// How long what is said of a deposit may be, in bytes.
const maxTitle, maxDescription, maxCollection = 1000, 4000, 200

// MaxSize is how large one deposit may be.
const MaxSize = 8 << 30

// Add reads a file of size bytes (below 0: to its end) and returns once it is on
// the disk, whole and synced. Until then nothing is to be seen of it. Errors:
// ErrFull, ErrTooLarge, ErrName, ErrShort, ctx's, or the reader's.
func (o *Outbox) Add(ctx context.Context, r io.Reader, size int64, w Words) (Deposit, error) {
	d, err := o.add(ctx, r, size, w)
	if err != nil {
		o.litter.Store(true)
	}
	o.tidy(ctx)
	switch {
	case err == nil:
		o.met.added.WithLabelValues("kept").Inc()
		o.Poke()
	case errors.Is(err, ErrFull), errors.Is(err, ErrTooLarge), errors.Is(err, ErrName), errors.Is(err, ErrShort):
		o.met.added.WithLabelValues("refused").Inc()
	default:
		o.met.added.WithLabelValues("failed").Inc()
	}
	return d, err
}

// tidy removes the blocks of uploads that came to nothing, once no other is under
// way: that may have taken one of them for its own.
func (o *Outbox) tidy(ctx context.Context) {
	if !o.litter.Load() || !o.adding.TryLock() {
		return
	}
	defer o.adding.Unlock()
	if o.litter.Swap(false) {
		if err := o.removeUnnamed(); err != nil { //nolint:contextcheck // it is done also when the upload was given up
			o.litter.Store(true)
			o.log.WarnContext(ctx, "what is left of an upload can't be removed", "err", err)
		}
	}
}

func (o *Outbox) add(ctx context.Context, r io.Reader, size int64, w Words) (Deposit, error) {
	d, err := describe(w)
	if err != nil {
		return d, err
	}
	if size > MaxSize {
		return d, fmt.Errorf("%w: %d MiB, at most %d GiB", ErrTooLarge, size>>20, MaxSize>>30)
	}
	o.adding.RLock()
	defer o.adding.RUnlock()
	room := &room{o: o}
	defer room.leave()
	if err := room.take(max(size, 0)); err != nil {
		return d, err
	}
	taken := int64(0)
	limited := &counted{r: r, seen: func(n int64) error {
		if taken += n; taken > MaxSize {
			return fmt.Errorf("%w: at most %d GiB", ErrTooLarge, MaxSize>>30)
		}
		return room.take(taken)
	}}
	cut, err := hold.SplitContent(ctx, limited, size, func(ctx context.Context, digest block.Digest, p []byte) error {
		_, err := o.blocks.Put(ctx, 0, digest, p)
		return err
	})
	if err == nil && len(cut.Entries) > 0 {
		err = o.keepList(ctx, &d, cut.Entries)
	}
	if err != nil {
		return d, explain(ctx, err)
	}
	d.Length, d.SHA256, d.State, d.Here = cut.Length, cut.SHA256, OnBox, true
	d.Nonce = newNonce()
	d.ID = idOf(&d)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.write(d); err != nil {
		return d, explain(ctx, err)
	}
	kept := d // d goes to the caller
	o.deposits[d.ID] = &kept
	if !d.List.IsZero() {
		o.lists[d.List] = cut.Entries
	}
	o.tell()
	return o.shown(&kept), nil
}

// idOf makes an id of what it is to name, so that nothing else can have it.
func idOf(d *Deposit) string {
	h := sha256.New()
	var n [8]byte
	put := func(p []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		_, _ = h.Write(n[:]) // never fails
		_, _ = h.Write(p)
	}
	for _, text := range []string{"preau deposit 1", d.Filename, d.ContentType, d.Title, d.Description, d.Collection} {
		put([]byte(text))
	}
	put(d.SHA256[:])
	put(d.List[:])
	put(binary.BigEndian.AppendUint64(nil, uint64(d.Length)))
	put(binary.BigEndian.AppendUint64(nil, uint64(d.At.UnixMilli())))
	put(binary.BigEndian.AppendUint64(nil, d.Nonce))
	return idPrefix + hex.EncodeToString(h.Sum(nil)[:idBytes])
}

func newNonce() uint64 { return max(mrand.Uint64(), 1) }

const (
	idPrefix = "d-"
	idBytes  = 12
)

func randomID() string {
	var id [idBytes]byte
	_, _ = rand.Read(id[:]) // never fails
	return idPrefix + hex.EncodeToString(id[:])
}

func (o *Outbox) keepList(ctx context.Context, d *Deposit, entries []hold.Entry) error {
	raw, err := hold.EncodeList(entries)
	if err != nil {
		return err
	}
	d.List = block.Sum(raw)
	_, err = o.blocks.Put(ctx, 0, d.List, raw)
	return err
}

// explain makes the errors of disks and readers our own.
func explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, block.ErrNoSpace), errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: the box's disk is full (%w)", ErrFull, err)
	case errors.Is(err, hold.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (%w)", ErrShort, err)
	}
	return err
}

// describe checks what is said of a file.
func describe(w Words) (Deposit, error) {
	d := Deposit{
		Filename: w.Filename, At: central.Milli(time.Now()),
		Title: clean(w.Title, maxTitle), Description: clean(w.Description, maxDescription), Collection: clean(w.Collection, maxCollection),
	}
	if err := central.CheckName(w.Filename); err != nil {
		return d, fmt.Errorf("%w: %w", ErrName, err)
	}
	d.ContentType = w.ContentType
	if d.ContentType == "" || d.ContentType == "application/x-www-form-urlencoded" {
		d.ContentType = mime.TypeByExtension(path.Ext(w.Filename))
	}
	if kind, params, err := mime.ParseMediaType(d.ContentType); err != nil || len(d.ContentType) > 200 {
		d.ContentType = "application/octet-stream"
	} else {
		d.ContentType = mime.FormatMediaType(kind, params)
	}
	d.ContentType = cmp.Or(d.ContentType, "application/octet-stream")
	return d, nil
}

// clean makes one line of text of at most n bytes.
func clean(text string, n int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0
	}), " ")
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return strings.TrimSpace(text)
}

// counted tells how much is read.
type counted struct {
	r    io.Reader
	seen func(n int64) error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		if full := c.seen(int64(n)); full != nil {
			return 0, full
		}
	}
	return n, err
}

// room is what one upload may take of the budget.
type room struct {
	o    *Outbox
	held int64
}

// take makes it n bytes in all.
func (r *room) take(n int64) error {
	o := r.o
	if o.cfg.Budget == 0 || n <= r.held {
		return nil
	}
	// A little more, so that not every read asks.
	want := n + 8<<20
	o.mu.Lock()
	defer o.mu.Unlock()
	if free := o.cfg.Budget - o.blocks.Usage() - o.reserved + r.held; n > free {
		return fmt.Errorf("%w: %d MiB are left of %d MiB", ErrFull, max(free, 0)>>20, o.cfg.Budget>>20)
	} else if want > free {
		want = free
	}
	o.reserved += want - r.held
	r.held = want
	return nil
}

func (r *room) leave() {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	r.o.reserved -= r.held
}

// Room is how many bytes Add would take now, once Free has given up what it may;
// the disk's own room, of which it knows nothing, may be less.
func (o *Outbox) Room() int64 {
	if o.cfg.Budget == 0 {
		return MaxSize
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	room := o.cfg.Budget - o.blocks.Usage() - o.reserved
	for _, d := range o.deposits {
		if d.State == InCentral && d.Here {
			room += d.Length
		}
	}
	return min(max(room, 0), o.cfg.Budget)
}

// Free gives up the bytes of deposits that the centre keeps, oldest first, until
// n bytes are freed, and says how many were. What the centre does not keep yet
// stays, whatever happens.
func (o *Outbox) Free(n int64) (freed int64, err error) {
	o.adding.Lock()
	defer o.adding.Unlock()
	before := o.blocks.Usage()
	list := o.List()
	slices.Reverse(list)
	for _, d := range list {
		if d.State != InCentral || !d.Here {
			continue
		}
		if before-o.blocks.Usage() >= n {
			break
		}
		if err := o.forget(d); err != nil {
			return before - o.blocks.Usage(), err
		}
	}
	return before - o.blocks.Usage(), nil
}

// forget drops a deposit's bytes, but for those that others have too.
func (o *Outbox) forget(d Deposit) error {
	o.mu.Lock()
	d.Here = false
	if err := o.write(d); err != nil {
		o.mu.Unlock()
		return err
	}
	o.deposits[d.ID].Here = false
	o.unlist(d.List)
	o.tell()
	o.mu.Unlock()
	return o.removeUnnamed()
}

// unlist forgets which blocks a deposit had, if no other has the same. o.mu is
// held.
func (o *Outbox) unlist(list block.Digest) {
	for _, d := range o.deposits {
		if d.Here && d.List == list {
			return
		}
	}
	for _, g := range o.guests.all() {
		if g.List == list {
			return
		}
	}
	delete(o.lists, list)
}

// removeUnnamed removes blocks that no deposit that is here names, and no guest,
// be it still coming in. Nothing is being added meanwhile.
func (o *Outbox) removeUnnamed() error {
	if unread, err := o.unread(); err != nil || unread {
		return err
	}
	o.mu.Lock()
	named := make(map[block.Digest]bool)
	for list, entries := range o.lists {
		named[list] = true
		for _, e := range entries {
			named[e.Digest] = true
		}
	}
	for _, in := range o.guests.coming {
		named[in.List] = true
		for digest := range in.lengths {
			named[digest] = true
		}
	}
	o.mu.Unlock()
	return o.blocks.Walk(context.Background(), func(d block.Digest, _ int64, _ time.Time) error {
		if named[d] {
			return nil
		}
		return o.blocks.Remove(d)
	})
}
