package pool

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// slack is how much older than the authority's a neighbour's copy may be and
// still count as one that came with it.
const slack = 2

// vouched is a response that the authority vouches for, or has.
type vouched struct {
	resp   *http.Response // its body is the list, unless it is proven
	span   span
	list   *vouch.Reader
	proven bool          // it has been vouched for once, with a proof
	took   time.Duration // until the authority vouched
}

// says reports whether the response has another status than those that bodies
// usually have.
func (v *vouched) says(status int) bool {
	return v != nil && v.proven && status == v.resp.StatusCode
}

// vouched asks the authority to vouch for a response. If it does not, v is nil
// and what it answered is the response.
func (o *Origin) vouched(req *http.Request) (v *vouched, resp *http.Response, err error) {
	asks := req.WithContext(req.Context())
	asks.Header = req.Header.Clone()
	vouch.Ask(asks.Header)
	began := time.Now()
	resp, err = o.Authority.Fetch(asks)
	took := time.Since(began)
	if err != nil || !vouch.Asked(resp.Header) {
		return nil, resp, err
	}
	s, ok := spanOf(resp.StatusCode, resp.Header, vouch.LengthOf(resp.Header))
	if !ok {
		_ = resp.Body.Close() // not what it should be
		resp, err = o.Authority.Fetch(req)
		return nil, resp, err
	}
	return &vouched{resp: resp, span: s, list: vouch.NewReader(resp.Body, s.blocks()), took: took}, nil, nil
}

func (v *vouched) close() { _ = v.resp.Body.Close() } // there is nothing to lose in it

// ask changes a request for the authority into one for a neighbour that has
// the same: whole blocks, and no older than what the authority has.
func (v *vouched) ask(h http.Header) {
	for _, name := range []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"} {
		h.Del(name)
	}
	if v.resp.StatusCode == http.StatusPartialContent {
		h.Set("Range", rangeOf(v.span.gridStart(), v.span.gridEnd()-1))
	}
	if v.proven {
		h.Set("Cache-Control", "only-if-cached, max-stale")
		h.Del("Pragma")
		return
	}
	if h.Get("Cache-Control") == "" {
		// A copy that came before the authority's may be of the version before.
		age, err := strconv.ParseUint(v.resp.Header.Get("Age"), 10, 31)
		if err != nil {
			age = 0
		}
		h.Set("Cache-Control", "max-age="+strconv.FormatUint(age+slack, 10))
	}
}

// same reports whether a neighbour's response is of the same version and has
// the blocks that are vouched for. sure says that the version is named beyond
// doubt, so that a block that differs was altered.
func (v *vouched) same(resp *http.Response) (same, sure bool) {
	a, b := v.resp.Header, resp.Header
	status := resp.StatusCode
	if v.says(status) && status != http.StatusPartialContent {
		status = http.StatusOK // whatever it is, it is all of it
	}
	s, ok := spanOf(status, b, resp.ContentLength)
	switch {
	case !ok, resp.Uncompressed:
		return false, false
	case s.total != v.span.total && s.total >= 0 && v.span.total >= 0:
		return false, false
	case s.off != v.span.gridStart(), s.end >= 0 && s.end < v.span.gridEnd(), s.end >= 0 && v.span.end < 0 && resp.StatusCode != http.StatusOK:
		return false, false
	case !strings.EqualFold(a.Get("Content-Encoding"), b.Get("Content-Encoding")):
		return false, false
	}
	_, sure = rfc9111.StrongValidator(rfc9111.Response{Status: v.resp.StatusCode, Header: a, ResponseTime: time.Now()})
	for _, name := range []string{"ETag", "Last-Modified", "Date"} {
		x, y := a.Get(name), b.Get(name)
		if x == "" && y == "" {
			continue
		}
		// All but an entity tag name a version only together with its length.
		return x == y && (name == "ETag" || s.total == v.span.total), sure && name != "Date"
	}
	return false, false
}
