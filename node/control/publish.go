package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/hold"
)

// uploads is how many blocks travel at once. Each is in memory.
const uploads = 4

// ErrChanged reports a file that is not what it was when it was first read.
var ErrChanged = fmt.Errorf("%w: it changed meanwhile, publish it again", errFile)

// errFile is trouble with the file, which no other server would mend.
var errFile = errors.New("read file")

// Publish brings a file to a server and has the region publish it as p, whose
// Length, SHA256, Blocks, Manifest and Listed it fills in. A file is cut where its
// content says, so that another version of it has most blocks of the one before.
// Only what the server lacks is sent, and a server that is lost in the middle is replaced by the next: the
// same file in the same collection is the same resource, so nothing comes twice.
// progress, if not nil, hears how many of the file's bytes are on the server; it
// is called by one goroutine at a time.
func (c *Client) Publish(ctx context.Context, file io.ReaderAt, size int64, p Publication, progress func(done, total int64)) (Done, error) {
	u, err := newUpload(ctx, file, size, progress)
	if err != nil {
		return Done{}, err
	}
	p.Length, p.SHA256 = u.body.Length, u.body.SHA256.String()
	p.Blocks, p.Manifest, p.Listed = nil, "", u.lengths
	if u.list != nil {
		p.Manifest = block.Sum(u.list).String()
	} else {
		for _, e := range u.body.Entries {
			p.Blocks = append(p.Blocks, e.Digest.String())
		}
	}
	var tried []Attempt
	var undecided error
	for address := range c.each() {
		c.learn(ctx, address)
		done, err := c.publishAt(ctx, address, u, p)
		said, isAnswer := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return done, nil
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
			return Done{}, context.Cause(ctx)
		case isAnswer && Undecided(said):
			undecided = err
		case isAnswer || errors.Is(err, errFile):
			return Done{}, err
		default:
			tried = append(tried, c.failed(address, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if undecided != nil {
		return Done{}, undecided
	}
	if err := c.certificateError(tried); err != nil {
		return Done{}, err
	}
	return Done{}, &UnreachableError{tried}
}

// publishAt is all of it with one server, which must itself hold what it is
// asked to publish.
func (c *Client) publishAt(ctx context.Context, address string, u *upload, p Publication) (Done, error) {
	to, err := hold.NewClient(address, "https://region", c.transport(address))
	if err != nil {
		return Done{}, err
	}
	if err := u.bring(ctx, to); err != nil {
		if errors.Is(err, hold.ErrRefused) {
			return Done{}, &Error{Status: http.StatusForbidden, Code: CodeCertificate, cause: err,
				Detail: "the region does not take files from this identity: choose an operator's folder with --as DIR"}
		}
		return Done{}, err
	}
	var done Done
	_, err = c.ask(ctx, address, call{method: http.MethodPost, path: "/v1/publications", send: p}, &done)
	return done, err
}

// upload is a file on its way to some server.
type upload struct {
	file     io.ReaderAt
	body     hold.Cut
	list     []byte                // the block that lists the others, if there is one
	lengths  bool                  // it tells their lengths
	at       map[block.Digest]span // where each block is in the file, once for each digest
	unique   []block.Digest
	progress func(done, total int64)
}

// span is a part of a file.
type span struct {
	off int64
	len int
}

func newUpload(ctx context.Context, file io.ReaderAt, size int64, progress func(done, total int64)) (*upload, error) {
	if size > int64(hold.MaxDigests)*block.Size {
		return nil, fmt.Errorf("%w: at most %d GiB", hold.ErrTooLarge, int64(hold.MaxDigests)*block.Size>>30)
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	body, err := cut(ctx, io.NewSectionReader(file, 0, size), size)
	if err != nil {
		return nil, err
	}
	u := &upload{file: file, body: body, at: map[block.Digest]span{}, progress: progress}
	off, even := int64(0), true
	for i, e := range body.Entries {
		even = even && e.Length == block.BlockLen(size, i)
		if _, ok := u.at[e.Digest]; !ok {
			u.at[e.Digest] = span{off, e.Length}
			u.unique = append(u.unique, e.Digest)
		}
		off += int64(e.Length)
	}
	if u.lengths = !even; u.lengths || len(body.Entries) > catalogue.MaxInlineBlocks {
		if u.list, err = hold.EncodeList(body.Entries); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// cut finds a file's blocks. One that fits in one block is that.
func cut(ctx context.Context, file io.Reader, size int64) (hold.Cut, error) {
	none := func(context.Context, block.Digest, []byte) error { return nil }
	if size > block.Size {
		body, err := hold.SplitContent(ctx, file, size, none)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return body, ErrChanged
		case err != nil:
			return body, fmt.Errorf("%w: %w", errFile, err)
		}
		return body, nil
	}
	whole, err := hold.Split(ctx, file, none)
	if err != nil {
		return hold.Cut{}, fmt.Errorf("%w: %w", errFile, err)
	}
	if whole.Length != size {
		return hold.Cut{}, ErrChanged
	}
	body := hold.Cut{Length: size, SHA256: whole.SHA256}
	for i, d := range whole.Blocks {
		body.Entries = append(body.Entries, hold.Entry{Digest: d, Length: block.BlockLen(size, i)})
	}
	return body, nil
}

// bring puts on a server what it lacks.
func (u *upload) bring(ctx context.Context, to *hold.Client) error {
	missing, err := to.Missing(ctx, u.unique)
	if err != nil {
		return err
	}
	left := int64(0)
	for _, d := range missing {
		left += int64(u.size(d))
	}
	u.progress(u.body.Length-left, u.body.Length)
	var mu sync.Mutex
	bufs := make(chan []byte, uploads)
	for range min(uploads, len(missing)) {
		bufs <- make([]byte, block.Size)
	}
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, d := range missing {
		group.Go(func() error {
			if sending.Err() != nil {
				return context.Cause(sending)
			}
			buf := <-bufs
			defer func() { bufs <- buf }()
			p := buf[:u.size(d)]
			if err := u.read(d, p); err != nil {
				return err
			}
			if err := to.Put(sending, d, p); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			left -= int64(len(p))
			u.progress(u.body.Length-left, u.body.Length)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if u.list == nil {
		return nil
	}
	return to.Put(ctx, block.Sum(u.list), u.list)
}

func (u *upload) size(d block.Digest) int { return u.at[d].len }

func (u *upload) read(d block.Digest, p []byte) error {
	n, err := u.file.ReadAt(p, u.at[d].off)
	if n < len(p) && (err == nil || errors.Is(err, io.EOF)) {
		return ErrChanged
	}
	if n < len(p) {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	if block.Sum(p) != d {
		return ErrChanged
	}
	return nil
}
