package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"preau/replication/central/store"
)

// upload is an object that comes in parts.
type upload struct {
	about about
	// turn holds a token while the upload is free. Who takes it may change
	// parts, last and gone, and the upload's folder.
	turn  chan struct{}
	parts map[int]store.Part
	last  time.Time // when something was done with it
	gone  bool      // complete or given up
}

func newUpload(a about) *upload {
	u := &upload{about: a, turn: make(chan struct{}, 1), parts: map[int]store.Part{}, last: a.Modified}
	u.turn <- struct{}{}
	return u
}

// take waits for the upload to be free.
func (u *upload) take(ctx context.Context) (release func(), err error) {
	select {
	case <-u.turn:
		return func() { u.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Store) folderOf(id string) string { return filepath.Join(s.dir, "uploads", id) }

func partName(number int) string { return fmt.Sprintf("part-%05d", number) }

func noUpload(id, key string) error {
	return fmt.Errorf("%w: upload %q of %q", store.ErrNotFound, id, key)
}

// upload finds an upload. Names come from outside, and only known ones are ever
// made into paths.
func (s *Store) upload(bucket, key, id string) (*upload, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := s.uploads[id]
	if u == nil || u.about.Bucket != bucket || u.about.Key != key {
		return nil, noUpload(id, key)
	}
	return u, nil
}

// Begin implements store.Store.
func (s *Store) Begin(ctx context.Context, bucket, key string, o store.Options) (string, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o))
	if err != nil {
		return "", err
	}
	defer leave()
	if _, err := s.bucket(bucket); err != nil {
		return "", err
	}
	id := strings.ToLower(rand.Text())
	a := about{Bucket: bucket, Key: key, Type: store.TypeOf(o), Meta: store.CloneMeta(o.Meta)}
	if err := s.begin(ctx, id, &a); err != nil {
		return "", explain(fmt.Sprintf("begin an upload of %q in %q", key, bucket), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[id] = newUpload(a)
	return id, nil
}

func (s *Store) begin(ctx context.Context, id string, a *about) error {
	tmp, err := s.write(ctx, strings.NewReader(""), a)
	if err != nil {
		return err
	}
	// The folder is made under another name, for one without its about says nothing.
	folder := tmp + ".d"
	err = os.Mkdir(folder, 0o700)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(folder, "about"))
	}
	if err == nil {
		err = syncFolder(folder)
	}
	if err == nil {
		err = os.Rename(folder, s.folderOf(id))
	}
	if err == nil {
		err = syncFolder(filepath.Join(s.dir, "uploads"))
	}
	if err != nil {
		return errors.Join(err, discard(tmp), discard(filepath.Join(folder, "about")), discard(folder))
	}
	return nil
}

// PutPart implements store.Store.
func (s *Store) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, size int64) (store.Part, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckPart(number, size))
	if err != nil {
		return store.Part{}, err
	}
	defer leave()
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return store.Part{}, err
	}
	what := fmt.Sprintf("put part %d of %q in %q", number, key, bucket)
	a := about{Key: key}
	tmp, err := s.write(ctx, store.Exactly(body, size), &a)
	if err != nil {
		return store.Part{}, explain(what, err)
	}
	if err := s.keepPart(ctx, u, id, tmp, number, a); err != nil {
		return store.Part{}, explain(what, errors.Join(err, discard(tmp)))
	}
	return store.Part{Number: number, ETag: a.ETag, Size: a.Size}, nil
}

func (s *Store) keepPart(ctx context.Context, u *upload, id, tmp string, number int, a about) error {
	release, err := u.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if u.gone {
		return noUpload(id, a.Key)
	}
	if err := os.Rename(tmp, filepath.Join(s.folderOf(id), partName(number))); err != nil {
		return err
	}
	u.parts[number] = store.Part{Number: number, ETag: a.ETag, Size: a.Size}
	u.last = a.Modified
	return syncFolder(s.folderOf(id))
}

// Parts implements store.Store.
func (s *Store) Parts(ctx context.Context, bucket, key, id string) ([]store.Part, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key))
	if err != nil {
		return nil, err
	}
	defer leave()
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return nil, err
	}
	release, err := u.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if u.gone {
		return nil, noUpload(id, key)
	}
	var all []store.Part
	for _, number := range slices.Sorted(maps.Keys(u.parts)) {
		all = append(all, u.parts[number])
	}
	return all, nil
}

// Complete implements store.Store.
func (s *Store) Complete(ctx context.Context, bucket, key, id string, parts []store.Part) (store.Info, error) {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckParts(parts))
	if err != nil {
		return store.Info{}, err
	}
	defer leave()
	b, err := s.bucket(bucket)
	if err != nil {
		return store.Info{}, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return store.Info{}, err
	}
	release, err := u.take(ctx)
	if err != nil {
		return store.Info{}, err
	}
	defer release()
	if u.gone {
		return store.Info{}, noUpload(id, key)
	}
	what := fmt.Sprintf("complete %q in %q", key, bucket)
	for _, p := range parts {
		if u.parts[p.Number] != p {
			return store.Info{}, fmt.Errorf("%s: %w: part %d is not there, or another one", what, store.ErrInvalid, p.Number)
		}
	}
	a := about{Key: key, Type: u.about.Type, Meta: u.about.Meta, Upload: id}
	if a.ETag, err = store.ETagOfParts(parts); err != nil {
		return store.Info{}, fmt.Errorf("%s: %w", what, err)
	}
	all := &joined{ctx: ctx, what: what, folder: s.folderOf(id), parts: parts}
	tmp, err := s.write(ctx, all, &a)
	if err = errors.Join(err, all.Close()); err == nil {
		err = s.keep(ctx, b, bucket, tmp, a, store.Condition{})
	}
	if err != nil {
		return store.Info{}, explain(what, err)
	}
	s.forget(ctx, id, u)
	return a.info(), nil
}

// joined reads the parts of an upload one after the other, and checks them.
type joined struct {
	ctx    context.Context // of the Complete that reads
	what   string
	folder string
	parts  []store.Part
	now    *body
}

func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.now == nil {
			if len(j.parts) == 0 {
				return 0, io.EOF
			}
			f, a, err := openObject(filepath.Join(j.folder, partName(j.parts[0].Number)))
			if err != nil {
				return 0, err
			}
			if a.ETag != j.parts[0].ETag || a.Size != j.parts[0].Size {
				return 0, errors.Join(fmt.Errorf("%w: %s is another part", ErrDamaged, f.Name()), f.Close())
			}
			j.parts = j.parts[1:]
			j.now = &body{ctx: j.ctx, what: j.what, f: f, a: a, end: a.Size}
		}
		n, err := j.now.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := j.Close(); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (j *joined) Close() error {
	if j.now == nil {
		return nil
	}
	now := j.now
	j.now = nil
	return now.Close()
}

// Abort implements store.Store.
func (s *Store) Abort(ctx context.Context, bucket, key, id string) error {
	leave, err := s.enter(ctx, store.CheckBucket(bucket), store.CheckKey(key))
	if err != nil {
		return err
	}
	defer leave()
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return nil //nolint:nilerr // one that is not there is no error
	}
	s.dropUpload(ctx, id, u)
	return ctx.Err()
}

// dropUpload gives an upload up, unless ctx ends before it is free.
func (s *Store) dropUpload(ctx context.Context, id string, u *upload) {
	release, err := u.take(ctx)
	if err != nil {
		return
	}
	defer release()
	if !u.gone {
		s.forget(ctx, id, u)
	}
}

// forget removes an upload. The caller has its turn. What can't be removed is
// removed by a later Open or sweep.
func (s *Store) forget(ctx context.Context, id string, u *upload) {
	u.gone = true
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	// By one rename, so that no crash leaves an upload with half of its parts.
	doomed := filepath.Join(s.dir, "tmp", id)
	err := os.Rename(s.folderOf(id), doomed)
	if err == nil {
		err = errors.Join(syncFolder(filepath.Join(s.dir, "uploads")), os.RemoveAll(doomed))
	}
	if err != nil {
		s.log.WarnContext(ctx, "the parts of an upload are left", "upload", id, "err", err)
	}
}

// sweep gives up the uploads that nobody has touched for long.
func (s *Store) sweep(ctx context.Context, now time.Time) {
	s.mu.RLock()
	all := maps.Clone(s.uploads)
	s.mu.RUnlock()
	for id, u := range all {
		release, err := u.take(ctx)
		if err != nil {
			return
		}
		if !u.gone && now.Sub(u.last) > UploadsFor {
			s.log.InfoContext(ctx, "an upload was left lying and is removed", "upload", id, "bucket", u.about.Bucket, "since", u.last)
			s.forget(ctx, id, u)
		}
		release()
	}
}

// loadUploads reads the uploads that an earlier process has left.
func (s *Store) loadUploads() error {
	folders, err := os.ReadDir(filepath.Join(s.dir, "uploads"))
	if err != nil {
		return explain("read uploads", err)
	}
	for _, folder := range folders {
		u, err := loadUpload(s.folderOf(folder.Name()))
		switch {
		case errors.Is(err, ErrDamaged):
			s.log.Error("an upload is damaged and is removed", "upload", folder.Name(), "err", err)
			if err := os.RemoveAll(s.folderOf(folder.Name())); err != nil {
				return explain("remove an upload", err)
			}
		case err != nil:
			return explain("read an upload", err)
		default:
			s.uploads[folder.Name()] = u
		}
	}
	return nil
}

func loadUpload(folder string) (*upload, error) {
	f, a, err := openObject(filepath.Join(folder, "about"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	u := newUpload(a)
	names, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		var number int
		if _, err := fmt.Sscanf(n.Name(), "part-%05d", &number); err != nil || partName(number) != n.Name() {
			continue
		}
		f, a, err := openObject(filepath.Join(folder, n.Name()))
		if errors.Is(err, ErrDamaged) {
			// It will be missed, and put again.
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		u.parts[number] = store.Part{Number: number, ETag: a.ETag, Size: a.Size}
		if a.Modified.After(u.last) {
			u.last = a.Modified
		}
	}
	return u, nil
}
