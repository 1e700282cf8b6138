package edge

import (
	"net/http"
	"net/url"
	"strings"
)

// base is the path that all of the site lies under, without a slash at its end.
func (x *exchange) base() string {
	return strings.TrimSuffix(x.site.Upstream.URL("/", "").EscapedPath(), "/")
}

// sitePath turns a path of the upstream's into one of the site's, without the
// upstream's base path; false if it lies outside.
func (x *exchange) sitePath(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, x.base())
	switch {
	case !ok:
		return "", false
	case rest == "":
		return "/", true
	}
	return rest, rest[0] == '/'
}

// climbs reports whether the path would leave the site's base path once its dot
// segments are removed, in any of the ways servers are known to read them.
func (x *exchange) climbs() bool { return x.leaves(x.path) }

func (x *exchange) leaves(path string) bool {
	if x.base() == "" || !strings.Contains(path, ".") && !strings.Contains(path, "%") {
		return false
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	depth := 0
	for seg := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		// Tomcat and its like cut parameters off before they look.
		seg, _, _ = strings.Cut(seg, ";")
		switch seg {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

// localise makes what the site says of its own address fit this box, so that
// clients stay with it: redirects, and the paths of cookies where several sites
// share one host name.
func (x *exchange) localise(h http.Header) {
	if x.prefix != "" && len(h["Set-Cookie"]) > 0 {
		lines := make([]string, len(h["Set-Cookie"]))
		for i, line := range h["Set-Cookie"] {
			lines[i] = x.localCookie(line)
		}
		h["Set-Cookie"] = lines
	}
	loc := h.Get("Location")
	if loc == "" {
		return
	}
	u, err := url.Parse(loc)
	if err != nil {
		return
	}
	base := x.site.Upstream.URL("/", "")
	host := base.Host
	if x.site.PreserveHost {
		host = x.r.Host
	}
	switch {
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		if x.prefix == "" && x.base() == "" {
			return // it is right as it is
		}
	case u.User == nil && u.Scheme == base.Scheme && strings.EqualFold(u.Host, host):
	default:
		return
	}
	path, ok := x.sitePath(u.EscapedPath())
	if !ok {
		return
	}
	out := x.prefix + path
	if strings.HasPrefix(out, "//") {
		out = "/." + out // else the path would be read as a host
	}
	if u.RawQuery != "" || u.ForceQuery {
		out += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		out += "#" + u.EscapedFragment()
	}
	h.Set("Location", out)
}

// localCookie bounds a cookie to the path under which the site is met here.
func (x *exchange) localCookie(line string) string {
	parts := strings.Split(line, ";")
	kept := parts[:1]
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "domain": // the site's, not this box's
			continue
		case "path":
			path, ok := x.sitePath(strings.TrimSpace(value))
			if !ok {
				path = "/"
			}
			p = " Path=" + x.prefix + path
		}
		kept = append(kept, p)
	}
	return strings.Join(kept, ";")
}
