// Package dirstore is a store.Store in a folder, for demonstrations and small
// set-ups that have no Ceph.
//
// An object is one file, with its bytes first and what is known of them after
// (object.go). It is written beside, made durable, and renamed into place, so
// that a crash at any moment leaves the old object or the new one, and what was
// acknowledged is there. Checksums are kept for every piece of 256 KiB: a file
// that rotted gives ErrDamaged, never wrong bytes.
//
// One process at a time has the folder open. Listings come from an index in
// memory, built by Open from the end of every file: about 90 bytes and the key
// per object (13 MB for 100,000), and Open takes a read of each file. Complete
// copies the parts, so it takes as long as writing the object once more, and as
// much room while it runs. There is no replication: the folder is as safe as the
// disk it is on.
//
//	format                          says that the folder is ours
//	lock                            held while it is open
//	tmp/                            what is being written; emptied by Open
//	buckets/BUCKET/XX/HASH          objects, by the SHA-256 of their keys
//	uploads/ID/{about,part-NNNNN}   uploads that are not complete
package dirstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"preau/cache/block/lockfile"
	"preau/replication/central/store"
)

// ErrDamaged is a file that is not what was written: its disk lost or altered
// something. Putting the object again mends it, and so does deleting it. It comes
// together with store.ErrUnavailable.
var ErrDamaged = errors.New("the file is damaged")

const (
	// UploadsFor is how long an upload lives after its last part.
	UploadsFor = 7 * 24 * time.Hour

	formatText = "preau directory store 1\n"
	sweepEvery = time.Hour
	stripes    = 64
)

// Store is a store.Store in a folder. Open makes one.
type Store struct {
	dir  string
	lock *lockfile.Lock
	log  *slog.Logger

	gate   sync.Mutex // guards closed, and calls' Add against its Wait
	closed bool
	calls  sync.WaitGroup

	// One of keys is held while an object's file is replaced, by the hash of its
	// key.
	keys [stripes]sync.Mutex

	mu      sync.RWMutex // guards the maps
	buckets map[string]*index
	uploads map[string]*upload
}

var _ store.Store = (*Store)(nil)

// Open opens a folder, which it makes if it is not there. A folder that holds
// something else is refused. Close it.
func Open(dir string, log *slog.Logger) (*Store, error) {
	s := &Store{
		dir: dir, log: log.With("part", "dirstore"),
		buckets: map[string]*index{}, uploads: map[string]*upload{},
	}
	if err := s.claim(); err != nil {
		return nil, fmt.Errorf("open the object store's folder %s: %w", dir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the object store's folder %s: %w", dir, err), s.lock.Close())
	}
	return s, nil
}

// Run removes uploads that nobody has touched for UploadsFor, every hour, until
// ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.sweep(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Close waits for the calls under way and gives the folder up. Bodies that Get
// has returned can be read on.
func (s *Store) Close() error {
	s.gate.Lock()
	already := s.closed
	s.closed = true
	s.gate.Unlock()
	s.calls.Wait()
	if already {
		return nil
	}
	return s.lock.Close()
}

// enter begins a call. Its leave must be called.
func (s *Store) enter(ctx context.Context, checks ...error) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, err := range checks {
		if err != nil {
			return nil, err
		}
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: it is closed", store.ErrUnavailable)
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// path is where an object's file is, and which lock goes with it.
func (s *Store) path(bucket, key string) (path string, stripe *sync.Mutex) {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, "buckets", bucket, name[:2], name), &s.keys[sum[0]%stripes]
}

func (s *Store) bucket(bucket string) (*index, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[bucket]
	if b == nil {
		return nil, fmt.Errorf("%w: bucket %q", store.ErrNotFound, bucket)
	}
	return b, nil
}

// MakeBucket implements store.Store.
func (s *Store) MakeBucket(ctx context.Context, bucket string) error {
	leave, err := s.enter(ctx, store.CheckBucket(bucket))
	if err != nil {
		return err
	}
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] != nil {
		return nil
	}
	err = os.Mkdir(filepath.Join(s.dir, "buckets", bucket), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = syncFolder(filepath.Join(s.dir, "buckets"))
	}
	if err != nil {
		return explain(fmt.Sprintf("make bucket %q", bucket), err)
	}
	s.buckets[bucket] = &index{}
	return nil
}

// Ready implements store.Store.
func (s *Store) Ready(ctx context.Context, bucket string) error {
	leave, err := s.enter(ctx, store.CheckBucket(bucket))
	if err != nil {
		return err
	}
	defer leave()
	if _, err := s.bucket(bucket); err != nil {
		return err
	}
	// The index knows it all, and the disk may be gone all the same.
	if _, err := os.Stat(filepath.Join(s.dir, "buckets", bucket)); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (store.Info, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o), store.CheckCondition(c), checkSize(size))
	if err != nil {
		return store.Info{}, err
	}
	defer leave()
	b, err := s.bucket(bucket)
	if err != nil {
		return store.Info{}, err
	}
	what := fmt.Sprintf("put %q in %q", key, bucket)
	about := about{Key: key, Type: store.TypeOf(o), Meta: store.CloneMeta(o.Meta)}
	tmp, err := s.write(ctx, store.Exactly(body, size), &about)
	if err != nil {
		return store.Info{}, explain(what, err)
	}
	if err := s.keep(ctx, b, bucket, tmp, about, c); err != nil {
		return store.Info{}, explain(what, err)
	}
	return about.info(), nil
}

// keep puts the file tmp in its place if the condition holds, and removes it if
// not.
func (s *Store) keep(ctx context.Context, b *index, bucket, tmp string, a about, c store.Condition) error {
	path, stripe := s.path(bucket, a.Key)
	stripe.Lock()
	defer stripe.Unlock()
	err := ctx.Err()
	if err == nil && c != (store.Condition{}) {
		err = b.holds(filepath.Base(path), a.Key, c)
	}
	if err == nil {
		err = s.place(tmp, path)
	}
	if err != nil {
		return errors.Join(err, discard(tmp))
	}
	b.set(filepath.Base(path), a)
	// Durable only now: until then the name may be lost.
	return syncFolder(filepath.Dir(path))
}

// place renames a file into a folder that it makes if need be.
func (s *Store) place(tmp, path string) error {
	err := os.Rename(tmp, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncFolder(filepath.Dir(folder)); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, bucket, key string) (store.Info, error) {
	body, info, err := s.Get(ctx, bucket, key, 0, 0, "")
	if err != nil {
		return store.Info{}, err
	}
	return info, body.Close()
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckCondition(store.Condition{ETag: etag}))
	if err != nil {
		return nil, store.Info{}, err
	}
	defer leave()
	if _, err := s.bucket(bucket); err != nil {
		return nil, store.Info{}, err
	}
	what := fmt.Sprintf("get %q in %q", key, bucket)
	if off < 0 {
		return nil, store.Info{}, fmt.Errorf("%s: %w: a range from %d on", what, store.ErrInvalid, off)
	}
	path, _ := s.path(bucket, key)
	f, a, err := openObject(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.Info{}, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	if err == nil && a.Key != key {
		err = errors.Join(fmt.Errorf("%w: it is another key's", ErrDamaged), f.Close())
	}
	if err != nil {
		return nil, store.Info{}, explain(what, err)
	}
	switch {
	case etag != "" && a.ETag != etag:
		err = fmt.Errorf("%s: %w: it is version %q, not %q", what, store.ErrChanged, a.ETag, etag)
	case off > a.Size:
		err = fmt.Errorf("%s: %w: a range from %d on, of %d bytes", what, store.ErrInvalid, off, a.Size)
	}
	if err != nil {
		return nil, store.Info{}, errors.Join(err, f.Close())
	}
	end := a.Size
	if length >= 0 && length < end-off {
		end = off + length
	}
	return &body{ctx: ctx, what: what, f: f, a: a, at: off, end: end}, a.info(), nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, bucket, key string) error {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key))
	if err != nil {
		return err
	}
	defer leave()
	b, err := s.bucket(bucket)
	if err != nil {
		return err
	}
	path, stripe := s.path(bucket, key)
	stripe.Lock()
	defer stripe.Unlock()
	switch err = os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		b.drop(filepath.Base(path), key)
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return explain(fmt.Sprintf("delete %q in %q", key, bucket), err)
	}
	return nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckLimit(limit))
	if err != nil {
		return store.Page{}, err
	}
	defer leave()
	b, err := s.bucket(bucket)
	if err != nil {
		return store.Page{}, err
	}
	return b.page(prefix, after, limit), nil
}

func checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("%w: a size of %d", store.ErrInvalid, size)
	}
	return nil
}
