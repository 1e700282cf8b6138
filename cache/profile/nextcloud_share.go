package profile

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// ownKeys are query parameters that this box acts on itself.
func ownKeys(key string) bool {
	return key == "downloadStartSecret" || key == "accept" || key == "path" || key == "files" || strings.HasPrefix(key, "files[")
}

// dav is what a request for a share's content is about.
type dav struct {
	token  string
	names  []string // from the share's root down
	files  []string
	folder bool // it may be a folder that is wanted as a zip file
	asked  bool // by the download address
}

// content reads the two kinds of address that a share's content has.
func (q *ask) content() (dav, bool) {
	if q.first("public.php", "dav", "files") && len(q.segments) >= 4 && isToken(q.segments[3]) {
		d := dav{token: q.segments[3], names: q.segments[4:]}
		if n := len(d.names); n > 0 && d.names[n-1] == "" {
			d.names = d.names[:n-1]
		}
		if !q.has("accept") {
			return d, true
		}
		accept, once := q.value("accept")
		var ok bool
		d.folder = true
		d.files, ok = q.files()
		return d, ok && once && accept == "zip"
	}
	s := q.routed()
	if len(s) < 3 || len(s) > 4 || s[0] != "s" || !isToken(s[1]) || s[2] != "download" {
		return dav{}, false
	}
	d := dav{token: s[1], asked: true}
	if len(s) == 4 && s[3] != "" {
		// The page adds the name for a single file only.
		return d, !q.has("path", "files") && !q.listsFiles()
	}
	d.folder = true
	if q.has("path") {
		path, once := q.value("path")
		if !once {
			return dav{}, false
		}
		if path = strings.Trim(path, "/"); path != "" {
			d.names = strings.Split(path, "/")
		}
		for _, name := range d.names {
			if !plainName(name) {
				return dav{}, false
			}
		}
	}
	var ok bool
	d.files, ok = q.files()
	return d, ok
}

func (q *ask) listsFiles() bool {
	for _, p := range q.pairs {
		if strings.HasPrefix(p.key, "files[") {
			return true
		}
	}
	return false
}

// davRoot is where public DAV has a share.
func davRoot(token string) string { return "/public.php/dav/files/" + token }

// plan makes what is common to a share's plans.
func (d dav) plan(q *ask, do Do, names []string) Plan {
	p := Plan{Do: do, Anonymous: true, Probe: pageProbe(q, d.token)}
	rest := q.without(ownKeys)
	p.Targets = []Target{{Path: davRoot(d.token) + escape(names...), Query: rest}}
	if d.asked {
		// Before 29 there is no public DAV of this kind, only the address itself.
		p.Targets = append(p.Targets, Target{Path: q.Path, Query: q.without(func(key string) bool { return key == "downloadStartSecret" })})
	}
	if secret, once := q.value("downloadStartSecret"); once && plainSecret(secret) {
		// The page waits for this cookie to know that the download has begun.
		p.Cookies = []string{"ocDownloadStarted=" + secret + "; Max-Age=20; Path=/"}
	}
	return p
}

// plainSecret is the platform's own test.
func plainSecret(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			return false
		}
	}
	return true
}

// pageProbe is the page of a share: it alone tells an anonymous client that
// downloads are hidden or counted.
func pageProbe(q *ask, token string) *Probe {
	front := "/index.php" // works with and without pretty addresses
	if q.segments[0] == "s" {
		front = ""
	}
	return &Probe{Target: Target{Path: front + "/s/" + token}, Limit: 1 << 20}
}

func otherArchive(q *ask) bool {
	if !q.first("public.php", "dav", "files") {
		return false
	}
	if len(q.Header["X-Nc-Files"]) > 0 {
		return true
	}
	for _, line := range q.Header["Accept"] {
		if strings.Contains(line, "application/zip") || strings.Contains(line, "application/x-tar") {
			return true
		}
	}
	_, ok := q.content()
	return !ok && q.has("accept")
}

// shareFolder is for what may be a folder as a zip file.
func shareFolder(q *ask) (Plan, bool) {
	d, ok := q.content()
	if !ok || !d.folder || d.asked && len(d.files) == 1 {
		return Plan{}, false
	}
	p := d.plan(q, Archive, d.names)
	p.Folder = &Folder{List: Target{Path: p.Targets[0].Path}, Files: d.files, Otherwise: p.Targets[0]}
	if n := len(d.names); n > 0 {
		p.Folder.Name = d.names[n-1]
	}
	return p, true
}

// shareFile is for one file.
func shareFile(q *ask) (Plan, bool) {
	d, ok := q.content()
	if !ok || d.folder && len(d.files) != 1 {
		return Plan{}, false
	}
	return d.plan(q, Share, append(slices.Clip(d.names), d.files...)), true
}

func sharePreview(q *ask) (Plan, bool) {
	token := previewToken(q)
	if token == "" {
		return Plan{}, false
	}
	return Plan{Do: Share, Targets: []Target{q.itself()}, Anonymous: true, Probe: pageProbe(q, token)}, true
}

// shareGroups are the paths of all that a share's token opens.
func shareGroups(token string) []string {
	return []string{
		"/s/" + token, "/index.php/s/" + token, davRoot(token),
		"/apps/files_sharing/publicpreview/" + token, "/index.php/apps/files_sharing/publicpreview/" + token,
	}
}

// linkGone is that a share is no more, or never was: the platform counts each
// question for an unknown token as an attempt to guess one, by the address of
// the school.
func linkGone(name string, token string) Ruling {
	return Ruling{Effect: Gone, For: 10 * minute, Groups: shareGroups(token), Rule: Rule{name + "-link-gone",
		"The public link was deleted, has expired or never was; asking again would count as guessing against the school's address."}}
}

// linkLocked is that a link wants a password, which it may not have wanted when
// what it opens was stored: nothing of it is served any more.
func linkLocked(name, token string) Ruling {
	return Ruling{Effect: Own, For: 10 * minute, Groups: shareGroups(token), Rule: Rule{name + "-locked",
		"The link asks for a password now: what it opens is for those who have it, and nothing that was stored of it is served any more."}}
}

// asksPassword reports whether an answer sends its asker to where the link's
// password is asked for.
func asksPassword(token string, r Response) bool {
	return r.Status == http.StatusSeeOther && token != "" && strings.Contains(r.Header.Get("Location"), "/s/"+token+"/authenticate")
}

// shareAnswer reads what is particular in answers about a share's content.
func shareAnswer(on *rule, plan Plan, r Response) (Ruling, bool) {
	more := r.Target+1 < len(plan.Targets)
	next := Ruling{Effect: Next, Rule: Rule{on.Name + "-elsewhere", "Public DAV does not have it: the link's own address says why."}}
	switch {
	case r.Status == http.StatusUnauthorized, asksPassword(plan.Capability, r):
		return linkLocked(on.Name, plan.Capability), true
	case r.Status == http.StatusMultiStatus: // the folder's list (RFC 4918 section 13)
		return on.terms.keep(on.Rule, r), true
	case r.Status == http.StatusServiceUnavailable && bytes.Contains(r.Beginning, []byte(`ServerMaintenanceMode`)):
		return Ruling{}, false // a failure like others
	case r.Status == http.StatusServiceUnavailable && bytes.Contains(r.Beginning, []byte(`Sabre\DAV\Exception`)):
		// Public DAV answers 503 for a share that is not there. With stale-on-503
		// a deleted share would be served for ever.
		switch {
		case more:
			return next, true
		case noShare(r.Beginning):
			return linkGone(on.Name, plan.Capability), true
		}
		return Ruling{Effect: Own, Rule: Rule{on.Name + "-denied", "Public DAV refuses the share for a reason of its own; nothing stored may stand in for that."}}, true
	case r.Status == http.StatusNotFound || r.Status == http.StatusGone:
		if !more && wholeShare(plan) {
			return linkGone(on.Name, plan.Capability), true
		}
	case r.Status == http.StatusOK && r.Target == 0 && r.Header.Get("Etag") == "" && r.Header.Get("Content-Disposition") == "":
		// What SabreDAV says to a browser that asks for a folder.
		if more {
			return next, true
		}
		return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-page", "Public DAV speaks of itself here, as it does where there is a folder."}}, true
	case r.Status == http.StatusOK && r.Target > 0:
		// From the download address. A zip file made on the fly has no length, or
		// says public and is as young as the request; what has no name is no file.
		h := r.Header
		if h.Get("Content-Length") == "" || h.Get("Content-Disposition") == "" || h.Get("Pragma") == "public" || h.Get("Etag") == "" && h.Get("Last-Modified") != "" {
			return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-archive", "The platform makes an archive, another for each who asks, or gives no file at all."}}, true
		}
		t := on.terms
		t.fresh = 5 * minute // without a validator a file comes again as a whole
		if sign := t.private(h); sign == "" && !page(h) {
			return t.keep(on.Rule, r), true
		}
	}
	return Ruling{}, false
}

// wholeShare reports whether an answer to the plan is about the link itself and
// not about something in a folder.
func wholeShare(plan Plan) bool {
	return len(plan.Targets) > 0 && plan.Targets[0] == (Target{Path: davRoot(plan.Capability)}) && (plan.Folder == nil || len(plan.Folder.Files) == 0)
}

// previewAnswer tells an image that is not there from a link that is not.
func previewAnswer(on *rule, _ Plan, r Response) (Ruling, bool) {
	if r.Status == http.StatusOK && !strings.HasPrefix(r.Header.Get("Content-Type"), "image/") {
		return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-no-image", "No image came: that is the platform talking to the asker."}}, true
	}
	return Ruling{}, false
}

// deadLink looks in the answer to a request that was passed for nothing but
// that the link is dead. Only what no header or query can have caused counts: a
// page inside the share, or a list of files, may be missing from a link that is
// alive, and nobody is to shut out a class by asking for it.
func deadLink(q *ask, plan Plan, r Response) (Ruling, bool) {
	if plan.Capability == "" || q.Method != http.MethodGet {
		return Ruling{}, false
	}
	s := q.routed()
	page := q.Query == "" && len(s) >= 2 && s[0] == "s" && (len(s) == 2 || len(s) == 3 && s[2] == "")
	switch {
	case page && (r.Status == http.StatusNotFound || r.Status == http.StatusGone):
	case page && asksPassword(plan.Capability, r):
		return linkLocked(plan.Name, plan.Capability), true
	case r.Status == http.StatusServiceUnavailable && q.first("public.php", "dav", "files") && noShare(r.Beginning):
	default:
		return Ruling{}, false
	}
	return linkGone(plan.Name, plan.Capability), true
}

// noShare recognises public DAV's way of saying that a share is not there.
func noShare(body []byte) bool { return bytes.Contains(body, []byte(`Sabre\DAV\Exception\NotFound`)) }
