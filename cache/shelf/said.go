package shelf

import (
	"net/http"

	"preau/cache/rfc9111"
)

// cacheName is the cache's name in Cache-Status, as that of everything else on
// the box.
const cacheName = "preau"

// mostOrigins bounds the items of which it is known where their blocks came from.
const mostOrigins = 10_000

// came notes where a block of an item has come from.
func (s *Shelf) came(id string, from Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.origins) >= mostOrigins {
		clear(s.origins) // what is asked for now is known again soon
	}
	s.origins[id] = from
}

// say tells where an answer comes from (RFC 9211): from here, or from where the
// last block of the item came.
func (s *Shelf) say(h http.Header, id string, hit, stored bool) {
	cs := rfc9111.CacheStatus{Hit: true, Detail: "local"}
	if !hit {
		s.mu.RLock()
		cs = rfc9111.CacheStatus{Fwd: rfc9111.FwdMiss, Stored: stored, Detail: string(s.origins[id])}
		s.mu.RUnlock()
	}
	rfc9111.AppendCacheStatus(h, cacheName, cs)
}
