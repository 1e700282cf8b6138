package publish

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
)

// The list of a version's blocks lies in the gateways' bucket, with where the
// version is:
//
//	lists/BUCKET/DIGEST/PLACE
//
// Two versions with one content have two places, which come and go apart from one
// another.

type place struct {
	Key    string `cbor:"1,keyasint"`
	ETag   string `cbor:"2,keyasint"`
	Length int64  `cbor:"3,keyasint"`
}

const (
	maxPlace = 4 << 10 // of what stands before the list
	maxList  = block.Size
)

func placesDir(bucket string, list block.Digest) string {
	return "lists/" + bucket + "/" + list.String() + "/"
}

func placeName(bucket string, list block.Digest, place uint64) string {
	return placesDir(bucket, list) + fmt.Sprintf("%016x", place)
}

// oldPlace is where the list is of the version that an attempt replaces; empty
// if it has none.
func oldPlace(bucket string, a *history.Attempt) string {
	if !a.Known || a.Row.List.IsZero() {
		return ""
	}
	return placeName(bucket, a.Row.List, a.Row.Place)
}

func encodePlace(at place, list []byte) ([]byte, error) {
	head, err := central.Encode(at)
	if err != nil || len(head) > maxPlace || len(list) > maxList {
		return nil, errors.Join(err, fmt.Errorf("a place of %d bytes, a list of %d", len(head), len(list)))
	}
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(head)+len(list)), uint16(len(head)))
	return append(append(out, head...), list...), nil
}

var errPlace = errors.New("what lies beside a list of blocks is damaged")

func decodePlace(p []byte) (at place, list []byte, err error) {
	if len(p) < 2 {
		return place{}, nil, errPlace
	}
	n := int(binary.BigEndian.Uint16(p))
	if p = p[2:]; n > len(p) || n > maxPlace || len(p)-n > maxList {
		return place{}, nil, errPlace
	}
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
	}.DecMode()
	if err == nil {
		err = mode.Unmarshal(p[:n], &at)
	}
	if err == nil {
		err = store.CheckKey(at.Key)
	}
	if err != nil || at.Length < 0 {
		return place{}, nil, errors.Join(errPlace, err)
	}
	return at, p[n:], nil
}

func (p *Publisher) putPlace(ctx context.Context, name string, at place, list []byte) error {
	b, err := encodePlace(at, list)
	if err != nil {
		return err
	}
	_, err = p.st.Put(ctx, p.cfg.System, name, bytes.NewReader(b), int64(len(b)), store.Options{ContentType: anything}, store.Condition{})
	if err != nil {
		return fmt.Errorf("keep a list of blocks: %w", err)
	}
	return nil
}

func (p *Publisher) getPlace(ctx context.Context, name string) (place, []byte, error) {
	body, _, err := p.st.Get(ctx, p.cfg.System, name, 0, -1, "")
	if err != nil {
		return place{}, nil, fmt.Errorf("read a list of blocks: %w", err)
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxPlace+maxList+3))
	if err != nil {
		return place{}, nil, fmt.Errorf("read a list of blocks: %w", err)
	}
	return decodePlace(b)
}

// dropPlace removes a list that no version has any more. One that stays is never
// in the way.
func (p *Publisher) dropPlace(ctx context.Context, name string) {
	if name == "" {
		return
	}
	if err := p.st.Delete(ctx, p.cfg.System, name); err != nil && ctx.Err() == nil {
		p.log.InfoContext(ctx, "a list that nobody needs stays in the store", "name", name, "err", err)
	}
}

// places remembers where versions are, for a while: the ranges of one are asked
// for one after the other.
type places struct {
	mu sync.Mutex
	at map[block.Digest]remembered
}

type remembered struct {
	place
	until time.Time
}

const (
	maxPlaces   = 10_000
	placesStand = time.Minute
)

func (c *places) get(list block.Digest) (place, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.at[list]
	return r.place, ok && time.Now().Before(r.until)
}

func (c *places) put(list block.Digest, at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil || len(c.at) >= maxPlaces {
		c.at = map[block.Digest]remembered{}
	}
	c.at[list] = remembered{place: at, until: time.Now().Add(placesStand)}
}

func (c *places) drop(list block.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, list)
}
