package parent

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// Key returns what names the response to req among all of the site whose first
// page is root: the path below it, with the query. false means that the request
// is not for other caches: it may change something, or says who asks, or is not
// for the site under its own name.
func Key(req *http.Request, root *url.URL) (key string, ok bool) {
	h := req.Header
	switch {
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
	case req.Body != nil && req.Body != http.NoBody, req.URL == nil:
	case h.Get("Authorization") != "" || h.Get("Cookie") != "" || h.Get("Upgrade") != "":
	case req.URL.Host != root.Host || req.Host != "" && req.Host != req.URL.Host:
		// Asked under the client's name: the parent would ask under another.
	default:
		path, below := strings.CutPrefix(req.URL.EscapedPath(), strings.TrimSuffix(root.EscapedPath(), "/"))
		if !below || !strings.HasPrefix(path, "/") {
			return "", false
		}
		if req.URL.RawQuery != "" || req.URL.ForceQuery {
			path += "?" + req.URL.RawQuery
		}
		return path, true
	}
	return "", false
}

// Request is req as p gets it, when it is asked for what key names.
func Request(ctx context.Context, req *http.Request, key string, p Parent) *http.Request {
	path, query, has := strings.Cut(key, "?")
	escaped := strings.TrimSuffix(p.Base.EscapedPath(), "/") + path
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		plain = escaped
	}
	out := &http.Request{
		Method: req.Method, Host: p.Base.Host, Header: req.Header.Clone(),
		URL: &url.URL{
			Scheme: p.Base.Scheme, Host: p.Base.Host, Path: plain, RawPath: escaped, RawQuery: query,
			ForceQuery: has && query == "",
		},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if out.Header.Get("Accept-Encoding") == "" {
		out.Header.Set("Accept-Encoding", "identity") // else net/http asks for what it decodes
	}
	return out.WithContext(ctx)
}
