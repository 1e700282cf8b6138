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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	free := make(chan []byte, splitting)
	for range splitting {
		free <- nil // made when first used: most files are small
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		blocks []block.Digest
		length int64
		whole  = sha256.New()
	)
	stop := func(err error) (block.Manifest, error) {
		cancel(err)
		wg.Wait()
		return block.Manifest{}, fmt.Errorf("split: %w", context.Cause(ctx))
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
		n, err := io.ReadFull(r, buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return stop(fmt.Errorf("read at byte %d: %w", length, err))
		}
		if n > 0 {
			if i >= limit {
				return stop(fmt.Errorf("%w: at most %d bytes", ErrTooLarge, int64(limit)*block.Size))
			}
			p := buf[:n]
			whole.Write(p)
			length += int64(n)
			wg.Go(func() {
				d := block.Sum(p)
				mu.Lock()
				for len(blocks) <= i {
					blocks = append(blocks, block.Digest{})
				}
				blocks[i] = d
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
	return block.Manifest{Length: length, Blocks: blocks, SHA256: block.Digest(whole.Sum(nil))}, nil
}
