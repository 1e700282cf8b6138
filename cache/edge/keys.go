package edge

import (
	"cmp"
	"net/http"
	"time"

	"preau/cache/object"
	"preau/cache/profile"
)

// Keys are the keys under which what a GET of r's URL brings is stored, or would
// be, whether it is here or not: that of the URL, of what the site's profile says
// is asked for instead, or of a folder's listing and files as far as they are
// known. There are none for what is never stored, and while no storage is open.
// Nothing is asked of the site.
func (h *Handler) Keys(r *http.Request) []object.Key {
	if _, _, path := h.byHost.route(r.Host, cmp.Or(r.URL.EscapedPath(), "/")); path == "" {
		return nil // it would be sent on
	}
	x, ok := h.exchange(nil, r, exchange{})
	if !ok || x.climbs() {
		return nil
	}
	if x.store = h.store.Load(); x.store == nil {
		return nil
	}
	x.start = time.Now()
	x.planRequest()
	if x.plan == nil || x.plan.Do == profile.ByRFC9111 {
		return []object.Key{x.store.Key(x.keyParts()...)}
	}
	if x.plan.Do == profile.Pass {
		return nil
	}
	x.share()
	if x.plan.Do != profile.Archive {
		return []object.Key{x.key}
	}
	out := []object.Key{x.listingKey()}
	l, _ := x.listing()
	switch {
	case l == nil || l.kind == listFile:
		return append(out, x.key) // it may be a file, and no folder
	case l.kind == listFolder:
		from := &files{x, l}
		for i, f := range l.items {
			if f.Size == 0 {
				continue
			}
			if y := from.exchange(r.Context(), nil, i, http.Header{}); y != nil {
				out = append(out, y.key)
			}
		}
	}
	return out
}
