package upstream

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// baseOf is the origin without a slash at its end, so that paths can be joined
// by writing one after the other.
func baseOf(u *url.URL) *url.URL {
	escaped := strings.TrimRight(u.EscapedPath(), "/")
	path, err := url.PathUnescape(escaped)
	if err != nil { // EscapedPath's promise
		path = escaped
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path, RawPath: escaped}
}

// URL is where the origin has the given path, which is percent-encoded as it
// came in the request (URL.EscapedPath). The encoding is kept as it is, except
// that bytes no path may hold are encoded; dot segments are kept too.
func (u *Upstream) URL(escapedPath, rawQuery string) *url.URL {
	if escapedPath == "*" && u.base.Path == "" { // OPTIONS *, RFC 9112 §3.2.4
		return &url.URL{Scheme: u.base.Scheme, Host: u.base.Host, Path: "*", RawQuery: rawQuery}
	}
	if !strings.HasPrefix(escapedPath, "/") {
		escapedPath = "/" + escapedPath
	}
	path, err := url.PathUnescape(escapedPath)
	if err != nil {
		// Not an escaped path: take it for the bare one.
		path = escapedPath
		escapedPath = (&url.URL{Path: path}).EscapedPath()
	}
	return &url.URL{
		Scheme:   u.base.Scheme,
		Host:     u.base.Host,
		Path:     u.base.Path + path,
		RawPath:  u.base.RawPath + escapedPath,
		RawQuery: rawQuery,
	}
}

// checked refuses requests that would leave the site. It closes the body of
// those, as a RoundTripper must.
func (u *Upstream) checked(req *http.Request, kinds counters) error {
	if req.URL != nil && req.URL.Scheme == u.base.Scheme && hostPort(req.URL) == hostPort(u.base) {
		return nil
	}
	if req.Body != nil {
		_ = req.Body.Close() // the request is refused whatever its body says
	}
	kinds[resultError].Inc()
	return fmt.Errorf("upstream %s: %w", u.cfg.Name, ErrForeign)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}
