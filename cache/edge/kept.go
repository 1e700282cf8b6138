package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

// listingStatus is the status of a stored listing (RFC 4918 §11.1). No request
// selects one.
const listingStatus = http.StatusMultiStatus

// mostKept bounds a stored listing.
const mostKept = 4 << 20

// keptForm is how a listing is stored: without the folder's own path, which may
// be a secret. Whoever asks for the folder has it.
type keptForm struct {
	Items []listedFile `cbor:"1,keyasint"`
	Lease time.Time    `cbor:"2,keyasint"`
}

var errNoSource = fmt.Errorf("%w: a listing is stored whole or not at all", fill.ErrChanged)

// noSource has nothing to add to what is stored.
type noSource struct{}

func (noSource) Open(context.Context, int64, int64) (*fill.Stream, error) { return nil, errNoSource }
func (noSource) Ranges() bool                                             { return false }
func (noSource) Ready() <-chan struct{}                                   { return nil }

// keepListing stores a listing, so that a class gets its folder after a restart
// with the line cut. It has the marks of its folder: what purges that purges it.
func (t *task) keepListing(key object.Key, l *listing) {
	b, err := cbor.Marshal(keptForm{l.items, l.lease})
	if err != nil || len(b) > mostKept {
		return
	}
	o := &object.Object{
		ID: object.NewID(), Key: key, Site: t.site.Name, Status: listingStatus, Header: http.Header{},
		RequestTime: l.at, ResponseTime: l.at, Length: int64(len(b)),
	}
	o.SetMarks(t.store.Marker(), t.asking.plan.Folder.List.Path, t.asking.plan.Folder.List.Query)
	stream := &fill.Stream{Body: io.NopCloser(bytes.NewReader(b)), To: o.Length, Total: o.Length, Proven: true}
	body, err := t.store.Create(context.Background(), o, noSource{}, stream)
	if err != nil {
		t.h.log.Debug("a listing can't be kept", "site", t.site.Name, "err", err)
		return
	}
	defer body.Release()
	reader := body.NewReader(0, -1)
	defer reader.Close()
	if _, err := reader.CopyTo(t.h.ctx, io.Discard); err != nil { // until it is there
		t.h.log.Debug("a listing can't be kept", "site", t.site.Name, "err", err)
	}
}

// keptListing returns what is stored of a listing; nil for nothing.
func (x *exchange) keptListing(key object.Key) *listing {
	set, err := x.store.Objects().Lookup(key)
	if err != nil || len(set) == 0 || set[0].Status != listingStatus || !set[0].Complete || set[0].Length > mostKept {
		return nil
	}
	body, err := x.store.Body(set[0], noSource{})
	if err != nil {
		return nil
	}
	defer body.Release()
	reader := body.NewReader(0, -1)
	defer reader.Close()
	var b bytes.Buffer
	if _, err := reader.CopyTo(x.r.Context(), &b); err != nil {
		return nil
	}
	var form keptForm
	if err := cbor.Unmarshal(b.Bytes(), &form); err != nil || len(form.Items) > mostItems {
		return nil
	}
	for i := range form.Items {
		form.Items[i].Path = pathIn(x.plan.Folder.List.Path, form.Items[i].Name)
	}
	// It is for when the site can't be asked: of a time when others may have
	// changed the folder, it is never fresh.
	l := &listing{kind: listFolder, items: form.Items, lease: form.Lease}
	if l.layOut(nil); l.kind != listFolder {
		return nil
	}
	return l
}

// forgetListing forgets a listing, stored or not.
func (h *Handler) forgetListing(site *Site, store *storage.Storage, key object.Key) {
	h.listings.Forget(key)
	if _, err := store.Objects().RemoveAll(context.Background(), key, "changed"); err != nil {
		h.log.Warn("an outdated listing could not be removed", "site", site.Name, "err", err)
	}
}
