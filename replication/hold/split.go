package hold

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"preau/cache/block"
)

// splitting is how many blocks of a file Split holds in memory.
const splitting = 4

// Split cuts what r has into blocks, gives each to put, and returns the manifest
// of the whole. It calls put from several goroutines at once, with bytes that
// are its own again when put returns, and reads no further than a few blocks
// ahead of it. It returns when every call of put has returned; the first error
// ends it. A file with more than MaxDigests blocks is refused with ErrTooLarge,
// after its first blocks have been put. ctx is looked at between blocks: whoever
// has a reader that may hang closes it.
func Split(ctx context.Context, r io.Reader, put func(ctx context.Context, d block.Digest, p []byte) error) (block.Manifest, error) {
	return split(ctx, r, MaxDigests, put)
}

func split(ctx context.Context, r io.Reader, limit int, put func(ctx context.Context, d block.Digest, p []byte) error) (block.Manifest, error) {
	r = whole{r}
	cut, err := pieces(ctx, limit, put, func(buf []byte) ([]byte, error) {
		n, err := io.ReadFull(r, buf)
		return buf[:n], err
	})
	if err != nil {
		return block.Manifest{}, err
	}
	m := block.Manifest{Length: cut.Length, SHA256: cut.SHA256}
	for _, e := range cut.Entries {
		m.Blocks = append(m.Blocks, e.Digest)
	}
	return m, nil
}

// whole is a reader whose own io.ErrUnexpectedEOF, which every body that is cut
// off ends with, is not taken for the short read that ends a file.
type whole struct{ r io.Reader }

func (w whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errBrokenOff
	}
	return n, err
}

// errBrokenOff stands for io.ErrUnexpectedEOF until all have looked for that.
var errBrokenOff = errors.New("the file breaks off")

// pieces gives put what next returns, in the buffer that next is given or in
// another, until next returns io.EOF or io.ErrUnexpectedEOF, with bytes or not.
func pieces(ctx context.Context, limit int, put func(ctx context.Context, d block.Digest, p []byte) error, next func(buf []byte) ([]byte, error)) (Cut, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	free := make(chan []byte, splitting)
	for range splitting {
		free <- nil // made when first used: most files are small
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		cut   Cut
		whole = sha256.New()
	)
	stop := func(err error) (Cut, error) {
		cancel(err)
		wg.Wait()
		err = context.Cause(ctx)
		if errors.Is(err, errBrokenOff) {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		return Cut{}, fmt.Errorf("split: %w", err)
	}
	for i := 0; ; i++ {
		var buf []byte
		select {
		case <-ctx.Done():
			return stop(context.Cause(ctx))
		case buf = <-free:
		}
		// A free buffer and an end may come together.
		if ctx.Err() != nil {
			return stop(context.Cause(ctx))
		}
		if buf == nil {
			buf = make([]byte, block.Size)
		}
		p, err := next(buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return stop(fmt.Errorf("read at byte %d: %w", cut.Length, err))
		}
		if len(p) > 0 {
			if i >= limit {
				return stop(fmt.Errorf("%w: at most %d blocks", ErrTooLarge, limit))
			}
			whole.Write(p)
			cut.Length += int64(len(p))
			mu.Lock()
			cut.Entries = append(cut.Entries, Entry{Length: len(p)})
			mu.Unlock()
			wg.Go(func() {
				d := block.Sum(p)
				mu.Lock()
				cut.Entries[i].Digest = d
				mu.Unlock()
				if err := put(ctx, d, p); err != nil {
					cancel(err)
				}
				free <- buf
			})
		}
		if last {
			break
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return stop(context.Cause(ctx))
	}
	cut.SHA256 = block.Digest(whole.Sum(nil))
	return cut, nil
}
