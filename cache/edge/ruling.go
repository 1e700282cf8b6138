package edge

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"preau/cache/block"
	"preau/cache/profile"
	"preau/cache/rfc9111"
)

// asking is what a task knows of the plan for which it asks.
type asking struct {
	plan   profile.Plan
	asked  profile.Request
	shared bool // for everybody: header and asked hold nothing that says who asks
}

// asking describes what x has fetched by its plan; nil without one.
func (x *exchange) asking() *asking {
	if x.plan == nil || !x.shared && x.plan.Do != profile.ByRFC9111 {
		return nil
	}
	a := &asking{x.plan.Plan, x.plan.asked, x.shared}
	a.asked.Method, a.asked.Header = http.MethodGet, x.r.Header.Clone()
	if !x.shared {
		a.plan.Targets = []profile.Target{{Path: x.path, Query: x.query}}
	}
	return a
}

var errNoTarget = errors.New("the plan has no target")

// ask sends the request to the site: to the plan's targets one after the other,
// as long as their answers say that it is the next that has it. What it returns
// is ready to be judged by rfc9111 if the ruling is Keep, as it is without a
// profile.
func (t *task) ask(ctx context.Context, header http.Header) (*http.Response, profile.Ruling, error) {
	if t.asking == nil {
		resp, err := t.fetch(ctx, t.url, header)
		return resp, profile.Ruling{}, err
	}
	for i, target := range t.asking.plan.Targets {
		resp, err := t.fetch(ctx, t.urlOf(i, target), header.Clone())
		if err != nil {
			return nil, profile.Ruling{}, err
		}
		ruling := t.site.rule(t.asking.asked, t.asking.plan, resp, i)
		if ruling.Effect == profile.Next {
			if i+1 < len(t.asking.plan.Targets) {
				_ = resp.Body.Close() // not the one
				continue
			}
			ruling.Effect = profile.Own
		}
		if ruling.Header != nil {
			resp.Header = ruling.Header
		}
		if t.asking.shared {
			// Whoever the site takes us for, it is nobody's session.
			resp.Header.Del("Set-Cookie")
			resp.Header.Del("Set-Cookie2")
		}
		return resp, ruling, nil
	}
	return nil, profile.Ruling{}, errNoTarget
}

// urlOf is where the site has a target.
func (t *task) urlOf(i int, target profile.Target) *url.URL {
	if i == 0 {
		return t.url
	}
	return t.site.Upstream.URL(target.Path, target.Query)
}

// rule asks the profile what an answer means. The answer's body can be read
// from its beginning afterwards.
func (s *Site) rule(asked profile.Request, plan profile.Plan, resp *http.Response, target int) profile.Ruling {
	resp.Header.Del(profile.Field) // it never comes from outside
	return s.Profile.Response(asked, plan, profile.Response{
		Status: resp.StatusCode, Header: resp.Header, Target: target,
		Beginning: beginning(resp, s.Profile.Reads(resp.StatusCode, resp.Header)),
	})
}

// mostRead bounds what is read of a body before it goes on.
const mostRead = 8 << 10

// beginning reads the first n bytes of a body and puts them back.
func beginning(resp *http.Response, n int) []byte {
	n = min(n, mostRead)
	if n <= 0 || resp.Body == nil || resp.Body == http.NoBody {
		return nil
	}
	buf, got := make([]byte, n), 0
	var err error
	for got < n && err == nil {
		var k int
		k, err = resp.Body.Read(buf[got:])
		got += k
	}
	buf = buf[:got]
	resp.Body = &again{first: bytes.NewReader(buf), err: err, ReadCloser: resp.Body}
	if !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		return buf
	}
	z, err := gzip.NewReader(bytes.NewReader(buf))
	if err != nil {
		return buf
	}
	plain := make([]byte, n)
	got, _ = io.ReadFull(z, plain) //nolint:errcheck // what was read of it ends anywhere
	return plain[:got]
}

// again is a body of which the first bytes have been read.
type again struct {
	io.ReadCloser
	first *bytes.Reader
	err   error // by which the first bytes ended
}

func (b *again) Read(p []byte) (int, error) {
	if b.first.Len() > 0 {
		return b.first.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// Source is the body's own, as sourceOf wants it.
func (b *again) Source() string {
	if s, ok := b.ReadCloser.(interface{ Source() string }); ok {
		return s.Source()
	}
	return ""
}

// Digest implements fill.Compared.
func (b *again) Digest(i int) (block.Digest, bool) { return digestOf(b.ReadCloser, i) }

// Give implements fill.Giver.
func (b *again) Give() ([]*block.Chunk, int64) {
	if b.first.Len() > 0 || b.err != nil {
		return nil, 0
	}
	return giveOf(b.ReadCloser)
}

// Lent is the body's own, as lentBy wants it.
func (b *again) Lent() bool { return lentBy(b.ReadCloser) }

// failure reports whether a status says nothing about what is stored, which may
// stand in. To a platform that says that it is asked too often, so does what it
// answers to what is for everybody.
func (t *task) failure(status int) bool {
	return rfc9111.FailureStatus(status) || t.asking != nil && t.asking.shared && status == http.StatusTooManyRequests
}

// isOwn takes note that what t asked for is everybody's own.
func (t *task) isOwn(ruling profile.Ruling) {
	if ruling.For > 0 {
		t.h.unshared.SetFor(t.key, mark{alone: true}, ruling.For)
	} else if t.prior == nil {
		return // this answer alone
	}
	var exact []profile.Target
	had := t.removeAll()
	if had {
		exact = t.asking.plan.Targets[:1]
	}
	t.h.purge(t.site, t.store, exact, ruling.Groups, had)
}

// isGone takes note that the site has no more what t asked for.
func (t *task) isGone(ruling profile.Ruling) {
	had := t.removeAll()
	t.h.goneBy(t.site, t.store, t.asking.plan, t.path, t.query, ruling, had)
}

// overtakenByGone reports whether what t asked for has been found gone since.
func (t *task) overtakenByGone() bool {
	if t.asking == nil || !t.asking.shared || t.h.gone.Empty() {
		return false
	}
	target := t.asking.plan.Targets[0]
	return t.h.knowsGone(t.site.Name, []profile.Target{target}, []string{target.Path, t.asking.asked.Path})
}

// removeAll forgets what is stored of what t asks for, and reports whether there
// was anything.
func (t *task) removeAll() bool {
	n, err := t.store.Objects().RemoveAll(context.Background(), t.key, "purged")
	if err != nil {
		t.h.log.Warn("a response that is not to be shared any more could not be removed", "site", t.site.Name, "err", err)
	}
	return n > 0
}
