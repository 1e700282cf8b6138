package storetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/replication/central/store"
)

// Memory is a store.Store in memory. It passes Run.
type Memory struct {
	mu      sync.Mutex
	buckets map[string]map[string]*object
	uploads map[string]*upload
	begun   int
}

type object struct {
	info store.Info
	data []byte
}

type upload struct {
	bucket, key string
	options     store.Options
	parts       map[int]part
}

type part struct {
	sum  [md5.Size]byte
	data []byte
}

// NewMemory returns a store with no bucket.
func NewMemory() *Memory {
	return &Memory{buckets: map[string]map[string]*object{}, uploads: map[string]*upload{}}
}

// Uploads tells how many uploads are neither complete nor given up.
func (m *Memory) Uploads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

// MakeBucket implements store.Store.
func (m *Memory) MakeBucket(ctx context.Context, bucket string) error {
	if err := check(ctx, store.CheckBucket(bucket)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.buckets[bucket] == nil {
		m.buckets[bucket] = map[string]*object{}
	}
	return nil
}

// Ready implements store.Store.
func (m *Memory) Ready(ctx context.Context, bucket string) error {
	_, err := m.List(ctx, bucket, "", "", 1)
	return err
}

// Put implements store.Store.
func (m *Memory) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o), store.CheckCondition(c)); err != nil {
		return store.Info{}, err
	}
	data, err := read(ctx, body, size)
	if err != nil {
		return store.Info{}, fmt.Errorf("put %q: %w", key, err)
	}
	sum := md5.Sum(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	objects, err := m.bucket(bucket)
	if err != nil {
		return store.Info{}, err
	}
	switch old := objects[key]; {
	case c.Absent && old != nil:
		return store.Info{}, fmt.Errorf("%w: %q exists", store.ErrChanged, key)
	case c.ETag != "" && (old == nil || old.info.ETag != c.ETag):
		return store.Info{}, fmt.Errorf("%w: %q is another version", store.ErrChanged, key)
	}
	return m.keep(objects, key, data, hex.EncodeToString(sum[:]), o), nil
}

// keep writes an object. The caller has locked.
func (m *Memory) keep(objects map[string]*object, key string, data []byte, etag string, o store.Options) store.Info {
	info := store.Info{
		Key: key, ETag: etag, Size: int64(len(data)), Modified: time.Now().UTC(),
		ContentType: store.TypeOf(o), Meta: store.CloneMeta(o.Meta),
	}
	objects[key] = &object{info: info, data: data}
	return clone(info)
}

// Head implements store.Store.
func (m *Memory) Head(ctx context.Context, bucket, key string) (store.Info, error) {
	o, err := m.object(ctx, bucket, key)
	if err != nil {
		return store.Info{}, err
	}
	return clone(o.info), nil
}

// Get implements store.Store.
func (m *Memory) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	if off < 0 {
		return nil, store.Info{}, fmt.Errorf("%w: a range from %d on", store.ErrInvalid, off)
	}
	o, err := m.object(ctx, bucket, key)
	if err != nil {
		return nil, store.Info{}, err
	}
	if etag != "" && etag != o.info.ETag {
		return nil, store.Info{}, fmt.Errorf("%w: %q is another version", store.ErrChanged, key)
	}
	if off > o.info.Size {
		return nil, store.Info{}, fmt.Errorf("%w: a range from %d on, of an object of %d bytes", store.ErrInvalid, off, o.info.Size)
	}
	data := o.data[off:]
	if length >= 0 && length < int64(len(data)) {
		data = data[:length]
	}
	return &memoryBody{ctx: ctx, r: bytes.NewReader(data)}, clone(o.info), nil
}

// memoryBody ends when the context does, as a body from a network would.
type memoryBody struct {
	ctx context.Context
	r   *bytes.Reader
}

func (b *memoryBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

func (b *memoryBody) Close() error { return nil }

// Delete implements store.Store.
func (m *Memory) Delete(ctx context.Context, bucket, key string) error {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	objects, err := m.bucket(bucket)
	if err != nil {
		return err
	}
	delete(objects, key)
	return nil
}

// List implements store.Store.
func (m *Memory) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckLimit(limit)); err != nil {
		return store.Page{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	objects, err := m.bucket(bucket)
	if err != nil {
		return store.Page{}, err
	}
	var keys []string
	for key := range objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	var page store.Page
	if len(keys) > limit {
		keys = keys[:limit]
		page.Next = keys[limit-1]
	}
	for _, key := range keys {
		info := objects[key].info
		info.ContentType, info.Meta = "", nil
		page.Objects = append(page.Objects, info)
	}
	return page, nil
}

// Begin implements store.Store.
func (m *Memory) Begin(ctx context.Context, bucket, key string, o store.Options) (string, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o)); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.bucket(bucket); err != nil {
		return "", err
	}
	m.begun++
	id := "upload-" + strconv.Itoa(m.begun)
	o.Meta = maps.Clone(o.Meta)
	m.uploads[id] = &upload{bucket: bucket, key: key, options: o, parts: map[int]part{}}
	return id, nil
}

// PutPart implements store.Store.
func (m *Memory) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, size int64) (store.Part, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckPart(number, size)); err != nil {
		return store.Part{}, err
	}
	if err := m.exists(bucket, key, id); err != nil {
		return store.Part{}, err
	}
	data, err := read(ctx, body, size)
	if err != nil {
		return store.Part{}, fmt.Errorf("put part %d of %q: %w", number, key, err)
	}
	p := part{sum: md5.Sum(data), data: data}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(bucket, key, id)
	if err != nil {
		return store.Part{}, err
	}
	u.parts[number] = p
	return p.tell(number), nil
}

func (p part) tell(number int) store.Part {
	return store.Part{Number: number, ETag: hex.EncodeToString(p.sum[:]), Size: int64(len(p.data))}
}

// Parts implements store.Store.
func (m *Memory) Parts(ctx context.Context, bucket, key, id string) ([]store.Part, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(bucket, key, id)
	if err != nil {
		return nil, err
	}
	var all []store.Part
	for _, number := range slices.Sorted(maps.Keys(u.parts)) {
		all = append(all, u.parts[number].tell(number))
	}
	return all, nil
}

// Complete implements store.Store.
func (m *Memory) Complete(ctx context.Context, bucket, key, id string, parts []store.Part) (store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckParts(parts)); err != nil {
		return store.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(bucket, key, id)
	if err != nil {
		return store.Info{}, err
	}
	var pieces [][]byte
	for _, want := range parts {
		p, ok := u.parts[want.Number]
		if !ok || p.tell(want.Number) != want {
			return store.Info{}, fmt.Errorf("%w: part %d of %q is not there, or another one", store.ErrInvalid, want.Number, key)
		}
		pieces = append(pieces, p.data)
	}
	etag, err := store.ETagOfParts(parts)
	if err != nil {
		return store.Info{}, err
	}
	delete(m.uploads, id)
	return m.keep(m.buckets[bucket], key, slices.Concat(pieces...), etag, u.options), nil
}

// Abort implements store.Store.
func (m *Memory) Abort(ctx context.Context, bucket, key, id string) error {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.upload(bucket, key, id); err == nil {
		delete(m.uploads, id)
	}
	return nil
}

// bucket and upload are for those who have locked.
func (m *Memory) bucket(bucket string) (map[string]*object, error) {
	objects := m.buckets[bucket]
	if objects == nil {
		return nil, fmt.Errorf("%w: bucket %q", store.ErrNotFound, bucket)
	}
	return objects, nil
}

func (m *Memory) upload(bucket, key, id string) (*upload, error) {
	u := m.uploads[id]
	if u == nil || u.bucket != bucket || u.key != key {
		return nil, fmt.Errorf("%w: upload %q of %q", store.ErrNotFound, id, key)
	}
	return u, nil
}

func (m *Memory) exists(bucket, key, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.upload(bucket, key, id)
	return err
}

func (m *Memory) object(ctx context.Context, bucket, key string) (*object, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	objects, err := m.bucket(bucket)
	if err != nil {
		return nil, err
	}
	if objects[key] == nil {
		return nil, fmt.Errorf("%w: %q in %q", store.ErrNotFound, key, bucket)
	}
	return objects[key], nil
}

// check returns the context's error or the first other one.
func check(ctx context.Context, errs ...error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads a body piece by piece, and gives up between pieces.
func read(ctx context.Context, body io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("%w: a size of %d", store.ErrInvalid, size)
	}
	var all bytes.Buffer
	all.Grow(int(min(size, 64<<20)))
	r := store.Exactly(body, size)
	for {
		n, err := io.CopyN(&all, r, 64<<10)
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		if err != nil || n == 0 {
			if int64(all.Len()) == size && errors.Is(err, io.EOF) {
				return all.Bytes(), nil
			}
			return nil, err
		}
	}
}

func clone(i store.Info) store.Info {
	i.Meta = maps.Clone(i.Meta)
	return i
}
