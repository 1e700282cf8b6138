package twoperson_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"preau/cache/profile"
	"preau/cache/profile/platformtest"
)

// judge looks at what somebody was served.
func (s *teller) judge(r request, req *http.Request, may []string, w *responder) {
	status := w.sent.Get("Cache-Status")
	own := status[strings.LastIndexByte(status, ',')+1:]
	hit := strings.Contains(own, "; hit")
	s.say("  %s %s: %d, %d bytes, %s", orNobody(persons[r.Who]), req.URL, w.status, w.body.Len(), status)
	all := append([]byte(headerText(w.sent)), w.body.Bytes()...)
	if w.status == http.StatusOK && w.sent.Get("Content-Type") == "application/zip" && r.Method == http.MethodGet && w.sent.Get("ETag") != "" && !w.broken {
		all = append(all, s.unzip(w, req)...)
	}
	down := !s.line.State().Up
	var allowed []string
	for _, user := range may {
		allowed = append(allowed, platformtest.Marker(user))
	}
	where := func() string {
		return orNobody(persons[r.Who]) + ", " + req.Method + " " + req.URL.String() + " (" + status + ")"
	}
	for _, m := range platformtest.Markers(all) {
		switch {
		case strings.Contains(m, "-session-"):
			s.mu.Lock()
			before := s.sessions[m]
			s.sessions[m] = true
			s.mu.Unlock()
			if before {
				s.fail("%s got a session that another has: %s", where(), m)
			}
		case strings.HasPrefix(m, "only-for-entered"):
		case !slices.Contains(allowed, m):
			s.fail("%s got what is %s", where(), m)
		}
		if hit && !s.keeps {
			s.fail("%s got from the store what is %s", where(), m)
		}
		if down && !s.keeps {
			s.fail("%s got, the line being cut, what is %s", where(), m)
		}
	}
	if v := w.sent.Get(profile.Field); v != "" {
		s.fail("%s got the field %s: %s", where(), profile.Field, v)
	}
	s.judgeCookies(req, w, hit, where)
	s.judgeShare(req, w, hit, where)
	if r.Method == http.MethodGet && (w.status == http.StatusOK || w.status == http.StatusNonAuthoritativeInfo) && hit && !w.broken && w.sent.Get("Content-Encoding") == "" && w.sent.Get(platformtest.Private) == "" {
		s.judgeBody(req, w, where)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts["served"]++
	if hit {
		s.counts["hits"]++
	}
	if len(platformtest.Markers(all)) > 0 {
		s.counts["own"]++
	}
	if down {
		s.counts["offline"]++
	}
	if tag := w.sent.Get("ETag"); tag != "" {
		s.tag[req.URL.EscapedPath()] = tag
	}
}

// judgeCookies looks whether somebody was given a cookie out of the store, or a
// session that another has.
func (s *teller) judgeCookies(req *http.Request, w *responder, hit bool, where func() string) {
	bare := func(line string) string { // its path is the box's
		pair, _, _ := strings.Cut(line, ";")
		return pair
	}
	due := s.profile.Request(s.asked(req)).Cookies
	for _, c := range w.sent["Set-Cookie"] {
		if hit && !s.keeps && !slices.ContainsFunc(due, func(line string) bool { return bare(line) == bare(c) }) {
			s.fail("%s got a cookie from the store: %s", where(), c)
		}
		name, value, _ := strings.Cut(bare(c), "=")
		if real, ok := s.p.(interface{ SessionCookie() string }); ok && name == real.SessionCookie() {
			s.mu.Lock()
			before := s.sessions[value]
			s.sessions[value] = true
			s.mu.Unlock()
			if before {
				s.fail("%s got a session that another has: %s", where(), c)
			}
		}
	}
}

// asked is a request as the profile is asked about it.
func (s *teller) asked(req *http.Request) profile.Request {
	path := strings.TrimPrefix(req.URL.EscapedPath(), "/o/site")
	return profile.Request{Method: req.Method, Path: path, Query: req.URL.RawQuery, Header: req.Header}
}

// noticed is the line above an old copy.
var noticed = regexp.MustCompile(`<div role="status" lang="[a-z]+" data-preau="offline"[^>]*>[^<]*</div>`)

// judgeBody looks whether what was stored is of what was asked for, and not of
// something else: the platform would answer so too, to nobody in particular.
func (s *teller) judgeBody(req *http.Request, w *responder, where func() string) {
	path := strings.TrimPrefix(req.URL.EscapedPath(), "/o/site")
	plan := s.profile.Request(profile.Request{Method: http.MethodGet, Path: path, Query: req.URL.RawQuery, Header: http.Header{}})
	if plan.Do == profile.Archive && w.sent.Get("Content-Type") == "application/zip" || strings.Contains(path, "/hls/") && strings.HasSuffix(path, "0.m3u8") {
		return
	}
	got := w.body.Bytes()
	if w.status == http.StatusNonAuthoritativeInfo {
		got = noticed.ReplaceAll(got, nil)
	}
	for _, t := range append([]profile.Target{{Path: path, Query: req.URL.RawQuery}}, plan.Targets...) {
		direct, err := incoming(http.MethodGet, t.Path+"?"+t.Query)
		if err != nil {
			continue
		}
		if bytes.Equal(serve(s.p, direct).body.Bytes(), got) {
			return
		}
	}
	s.mu.Lock()
	changed := s.changed
	s.mu.Unlock()
	if !changed {
		s.fail("%s got %d bytes that are of something else", where(), w.body.Len())
	}
}

// unzip returns what is in a zip file that the cache made, all of which a link
// must have.
func (s *teller) unzip(w *responder, req *http.Request) (all []byte) {
	body := w.body.Bytes()
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		s.fail("%s: %d bytes that are no zip file: %v", req.URL, len(body), err)
		return nil
	}
	s.mu.Lock()
	s.counts["zips"]++
	changed := s.changed
	s.mu.Unlock()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			s.fail("%s: %s: %v", req.URL, f.Name, err)
			return nil
		}
		data, err := io.ReadAll(r) // and its sum
		if err = errors.Join(err, r.Close()); err != nil {
			s.fail("%s: %s: %v", req.URL, f.Name, err)
		}
		if n, ok := s.p.(*platformtest.Nextcloud); ok && !changed && !strings.HasSuffix(f.Name, "/") && !n.Has(data) {
			s.fail("%s: %s is of no share", req.URL, f.Name)
		}
		all = append(append(all, data...), '\n')
	}
	return all
}

// hear notes which links of Nextcloud's the cache has heard to be dead, or
// closed, before the next request.
func (s *teller) hear() {
	n, ok := s.p.(*platformtest.Nextcloud)
	if !ok {
		return
	}
	shares := n.Shares()
	for _, a := range s.line.news() {
		plan := s.profile.Request(a.asked)
		page := plan.Name == "nextcloud-share-page" && a.asked.Method == http.MethodGet
		if open, ok := shares[plan.Capability]; ok {
			switch {
			case plan.Do == profile.Pass && (!page || a.status == http.StatusSeeOther):
				// What is refused to somebody with a password says little of the link.
			case strings.Contains(a.asked.Header.Get("Accept"), "event-stream"), strings.Contains(a.asked.Header.Get("Cache-Control"), "no-store"):
				// Passed unread.
			case a.status == http.StatusNotFound, a.status == http.StatusUnauthorized, a.status == http.StatusSeeOther, a.status == http.StatusServiceUnavailable && !n.Maintenance():
				s.dead[plan.Capability] = !open
			case a.status == http.StatusOK, a.status == http.StatusPartialContent:
				s.dead[plan.Capability] = false
			}
		}
	}
}

// judgeShare looks whether a link that was dead before is served from the store
// nevertheless.
func (s *teller) judgeShare(req *http.Request, w *responder, hit bool, where func() string) {
	for token, dead := range s.dead {
		if dead && strings.Contains(req.URL.Path, token) && hit && w.status < 300 && !w.broken && !s.line.justGave(token) {
			s.fail("%s got %d from the store for a link that is dead: %s", where(), w.status, token)
		}
	}
}
