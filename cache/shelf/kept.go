package shelf

import (
	"net/http"
	"strconv"
	"time"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/storage"
)

// Fields that a stored item has beside those that devices get.
const (
	// fieldList names the list by which the item's blocks are cut. An object with
	// it counts a full block.Size for each of them, as the storage knows no other
	// lengths, and fieldLength is how long the item is.
	fieldList   = "Preau-List"
	fieldLength = "Preau-Length"
)

// newObject is what the storage is told of an item.
func newObject(k object.Key, it Item) *object.Object {
	h := http.Header{
		"Etag": {it.etag()}, "Content-Type": {it.ContentType}, "Content-Language": {it.Language},
		fieldLength: {strconv.FormatInt(it.Length, 10)},
	}
	if !it.ModTime.IsZero() {
		h.Set("Last-Modified", it.ModTime.UTC().Format(http.TimeFormat))
	}
	length := it.Length
	if it.Listed {
		h.Set(fieldList, it.List.String())
		length = stretched(len(it.Pieces))
	}
	now := time.Now()
	return &object.Object{
		ID: object.NewID(), Key: k, Site: siteName, Status: http.StatusOK, Header: h,
		RequestTime: now, ResponseTime: now, Length: length, Ranges: true, Lists: path(it.ID, it.SHA256),
	}
}

// stretched is the length that the storage takes n blocks of a list for.
func stretched(n int) int64 { return int64(n) * block.Size }

// share is about how many bytes of an item are held, as its manifest has no
// lengths.
func share(length int64, m block.Manifest) int64 {
	n, held := int64(len(m.Blocks)), int64(0)
	for _, d := range m.Blocks {
		if !d.IsZero() {
			held++
		}
	}
	if n == 0 {
		return 0
	}
	return int64(float64(length) * float64(held) / float64(n))
}

// kind is what a stored object says of the item that it is.
type kind struct {
	list   block.Digest // zero: blocks of block.Size
	length int64
}

func kindOf(o *object.Object) kind {
	out := kind{length: o.Length}
	if d, err := block.ParseDigest(o.Header.Get(fieldList)); err == nil {
		out.list = d
		out.length, _ = strconv.ParseInt(o.Header.Get(fieldLength), 10, 64) //nolint:errcheck // 0 fits nothing
	}
	return out
}

// complete returns a version's object if all of it is here.
func complete(st *storage.Storage, id string, h holding) (*object.Object, bool) {
	set, err := st.Objects().Lookup(key(st, id, h.sum))
	if err != nil || len(set) == 0 || !set[0].Complete || kindOf(set[0]).list != h.list {
		return nil, false
	}
	return set[0], true
}

// itemOf is a version that is whole on the disk, as the item that it was. What
// people are told of it is what they are told of the one of now.
func itemOf(st *storage.Storage, now Item, h holding) (Item, *object.Object, bool) {
	o, ok := complete(st, now.ID, h)
	if !ok {
		return now, nil, false
	}
	m, err := st.Objects().Manifest(o)
	if err != nil {
		return now, nil, false
	}
	k := kindOf(o)
	it := now
	it.SHA256, it.Length, it.List, it.Listed = h.sum, k.length, k.list, !k.list.IsZero()
	it.Blocks, it.Pieces = nil, nil
	if t := o.Header.Get("Content-Type"); t != "" {
		it.ContentType, it.Language = t, o.Header.Get("Content-Language")
	}
	it.ModTime, _ = http.ParseTime(o.Header.Get("Last-Modified")) //nolint:errcheck // zero: it is not known
	for i, d := range m.Blocks {
		b, err := st.Blocks().Open(d)
		if err != nil {
			return now, nil, false
		}
		n := b.Len()
		if b.Close() != nil || !it.Listed && n != block.BlockLen(it.Length, i) {
			return now, nil, false
		}
		if it.Listed {
			it.Pieces = append(it.Pieces, Piece{d, n})
		} else {
			it.Blocks = append(it.Blocks, d)
		}
	}
	return it, o, it.validateBlocks() == nil
}
