package box

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/identity"
	"preau/replication/outbox"
	"preau/replication/wire"
)

// copiesPrefix is where other boxes of the school bring copies of their deposits.
const copiesPrefix = "/n/deposits/"

// The codes by which another box tells answers apart.
const (
	codeIncomplete = "missing"
	codeNotOffered = "not_offered"
	codeFull       = "full"
	codeBusy       = "busy"
)

// copiesFace serves other boxes of me's school, which can have copies kept under
// the name in their certificate and see and change nothing else:
//
//	GET    /n/deposits/?after=ID         what is here of the box that asks (CBOR)
//	POST   /n/deposits/ID                offers a deposit (outbox.EncodeOffer): 200 and the
//	                                     digests of the blocks that are missing, or 204
//	PUT    /n/deposits/ID/blocks/DIGEST  a block of it
//	PUT    /n/deposits/ID                204 once it is on this box's disk
//	DELETE /n/deposits/ID                gives it up
//	POST   /n/deposits/ID/yours          its own box has lost it
func (d *deposits) copiesFace(me identity.Identity) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+copiesPrefix+"{$}", d.asked(me, held))
	mux.HandleFunc("POST "+copiesPrefix+"{id}", d.asked(me, d.offered))
	mux.HandleFunc("PUT "+copiesPrefix+"{id}/blocks/{digest}", d.asked(me, putGuest))
	mux.HandleFunc("PUT "+copiesPrefix+"{id}", d.asked(me, func(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
		return done(w, box.KeepGuest(r.Context(), from, r.PathValue("id")))
	}))
	mux.HandleFunc("DELETE "+copiesPrefix+"{id}", d.asked(me, func(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
		return done(w, box.DropGuest(from, r.PathValue("id")))
	}))
	mux.HandleFunc("POST "+copiesPrefix+"{id}/yours", d.asked(me, func(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
		return done(w, box.AdoptGuest(from, r.PathValue("id")))
	}))
	return mux
}

func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// asked lets other boxes of the school through, so many at a time.
func (d *deposits) asked(me identity.Identity, next func(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok := wire.IdentityOf(r)
		if !ok || who.Role != identity.Box || who.Region != me.Region || who.School != me.School || who.Name == me.Name || d.barred(string(who.Name)) {
			sayFailed(w, r, http.StatusForbidden, "not_allowed", "only other boxes of this school may ask")
			return
		}
		r, box, leave, ok := d.enter(r)
		if !ok {
			sayFailed(w, r, http.StatusServiceUnavailable, codeBusy, "the folder of deposits is not open")
			return
		}
		defer leave()
		select {
		case d.guests <- struct{}{}:
			defer func() { <-d.guests }()
		case <-r.Context().Done():
			return
		}
		err := next(w, r, box, string(who.Name))
		switch {
		case err == nil:
		case errors.Is(err, outbox.ErrFull):
			sayFailed(w, r, http.StatusInsufficientStorage, codeFull, err.Error())
		case errors.Is(err, outbox.ErrIncomplete):
			sayFailed(w, r, http.StatusConflict, codeIncomplete, err.Error())
		case errors.Is(err, outbox.ErrNotFound):
			sayFailed(w, r, http.StatusNotFound, codeNotOffered, err.Error())
		case errors.Is(err, outbox.ErrOffer):
			sayFailed(w, r, http.StatusUnprocessableEntity, "offer", err.Error())
		case r.Context().Err() == nil:
			d.log.ErrorContext(r.Context(), "a copy for another box could not be seen to", "box", string(who.Name), "route", r.Pattern, "err", err)
			sayFailed(w, r, http.StatusInternalServerError, control.CodeInternal, "this box's log says why")
		}
	}
}

func sayFailed(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, r, status, control.Failure{Code: code, Detail: detail})
}

func held(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
	raw, err := cbor.Marshal(box.HeldFor(from, r.URL.Query().Get("after"), heldPage))
	if err == nil {
		send(w, r, http.StatusOK, "application/cbor", raw)
	}
	return err
}

func (d *deposits) offered(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
	raw, err := readBody(w, r, outbox.MaxOffer)
	if err != nil {
		return err
	}
	q, list, err := outbox.DecodeOffer(raw)
	if err == nil && q.ID != r.PathValue("id") {
		err = outbox.ErrOffer
	}
	if err != nil {
		return err
	}
	missing, held, err := box.Offered(r.Context(), from, q, list)
	if errors.Is(err, outbox.ErrFull) {
		// What the centre keeps makes room for what nobody else may have.
		if freed, _ := d.makeRoom(r.Context(), box, max(roomStep, q.Length+q.Length/2)); freed {
			missing, held, err = box.Offered(r.Context(), from, q, list)
		}
	}
	switch {
	case err != nil:
		return err
	case held:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	out := make([]byte, 0, len(missing)*len(block.Digest{}))
	for _, digest := range missing {
		out = append(out, digest[:]...)
	}
	send(w, r, http.StatusOK, "application/octet-stream", out)
	return nil
}

func putGuest(w http.ResponseWriter, r *http.Request, box *openedBox, from string) error {
	digest, err := block.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return errors.Join(outbox.ErrOffer, err)
	}
	p, err := readBody(w, r, block.Size)
	if err != nil {
		return err
	}
	return done(w, box.PutGuest(r.Context(), from, r.PathValue("id"), digest, p))
}

// readBody reads what another box sends, whose length it must tell.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > limit {
		return nil, outbox.ErrOffer
	}
	// One that sends nothing must not keep the others' places.
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(copyAnswer)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	defer func() { _ = c.SetReadDeadline(time.Time{}) }() //nolint:errcheck // then there was none
	p := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(http.MaxBytesReader(w, r.Body, limit), p); err != nil {
		return nil, errors.Join(outbox.ErrOffer, err)
	}
	return p, nil
}
