package platformtest

import (
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// sabre is the body of an error of SabreDAV.
func (a *answer) sabre(status int, exception, message string) {
	a.set("Content-Type", "application/xml; charset=utf-8")
	a.WriteHeader(status)
	fmt.Fprintf(a, `<?xml version="1.0" encoding="utf-8"?>
<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">
  <s:exception>%s</s:exception>
  <s:message>%s</s:message>
</d:error>
`, exception, message)
	if a.as != "" {
		fmt.Fprintln(a, "<!-- "+Marker(a.as)+" -->")
	}
}

// public answers below public.php: without the fields of the pages, and not as
// the pages do in maintenance.
func (n *Nextcloud) public(a *answer, r *http.Request, se *session, rest string) {
	var down bool
	if n.do(func() { down = n.maintenance }); down {
		a.sabre(http.StatusServiceUnavailable, `OCA\DAV\Exception\ServerMaintenanceMode`, "System is in maintenance mode.")
		return
	}
	if n.banned(a, r) {
		return
	}
	if rest == "webdav" || strings.HasPrefix(rest, "webdav/") {
		n.legacy(a, r, strings.TrimPrefix(strings.TrimPrefix(rest, "webdav"), "/"))
		return
	}
	below, ok := strings.CutPrefix(rest, "dav/files/")
	if !ok {
		a.sabre(http.StatusNotFound, `Sabre\DAV\Exception\NotFound`, "")
		return
	}
	token, name, _ := strings.Cut(below, "/")
	if n.version >= 31 && r.Method != http.MethodGet && r.Header.Get("X-Requested-With") != "XMLHttpRequest" {
		a.set("WWW-Authenticate", `Basic realm="Nextcloud"`)
		a.sabre(http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "Cannot authenticate over ajax calls")
		return
	}
	s := n.find(token)
	if s == nil {
		n.guessed(r)
		if n.version >= 31 {
			a.sabre(http.StatusNotFound, `Sabre\DAV\Exception\NotFound`, "")
			return
		}
		a.sabre(http.StatusServiceUnavailable, `Sabre\DAV\Exception\ServiceUnavailable`, `Sabre\DAV\Exception\NotFound: `)
		return
	}
	who, by, ok := n.opened(r, se, s)
	if !ok {
		n.guessed(r)
		a.set("WWW-Authenticate", `Basic realm="Nextcloud"`)
		a.sabre(http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "Cannot authenticate")
		return
	}
	if s.Password != "" {
		a.own(who, by)
	}
	n.shared(a, r, s, strings.Trim(name, "/"))
}

// legacy answers public.php/webdav, where the token is a user's name.
func (n *Nextcloud) legacy(a *answer, r *http.Request, name string) {
	token, password, ok := r.BasicAuth()
	s := n.find(token)
	if !ok || s == nil || s.Password != password {
		if ok {
			n.guessed(r)
		}
		a.set("WWW-Authenticate", `Basic realm="Nextcloud"`)
		a.sabre(http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "Cannot authenticate")
		return
	}
	a.own("link", "basic")
	n.shared(a, r, s, name)
}

// shared answers for a file or folder of a share.
func (n *Nextcloud) shared(a *answer, r *http.Request, s *Share, name string) {
	data, isFile := s.Data, name == "" && !s.folder()
	if s.folder() && name != "" {
		data, isFile = s.Files[name]
	}
	isFolder := s.folder() && slices.Contains(folders(s), name)
	switch {
	case !isFile && !isFolder:
		a.sabre(http.StatusNotFound, `Sabre\DAV\Exception\NotFound`, "File with name "+name+" could not be located")
	case r.Method == "PROPFIND":
		n.propfind(a, r, s, name, isFile)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		a.sabre(http.StatusMethodNotAllowed, `Sabre\DAV\Exception\MethodNotAllowed`, "")
	case isFile:
		n.downloaded(s)
		n.file(a, r, data, s.Modified, path.Base("/"+s.Name), s.Token, name)
	case n.version >= 31 && (r.URL.Query().Get("accept") == "zip" || r.Header.Get("Accept") == "application/zip"):
		n.zip(a, s)
	default:
		a.html(http.StatusOK, "This is the WebDAV interface. It can only be accessed by WebDAV clients.")
	}
}

// file sends a file as SabreDAV does: single ranges work and are not spoken of.
func (n *Nextcloud) file(a *answer, r *http.Request, data []byte, modified time.Time, name string, tag ...string) {
	a.set("ETag", strong(append(tag, a.as, modified.String())...), "Content-Type", "application/octet-stream", "Content-Disposition", disposition(name),
		"X-Accel-Buffering", "no")
	a.content(r, data, modified, ranges{silent: true, single: true})
}

// folders are all folders of a share, "" among them.
func folders(s *Share) []string {
	out := []string{""}
	for f := range s.Files {
		for dir := path.Dir(f); dir != "."; dir = path.Dir(dir) {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// propfind lists a file, or a folder and what lies in it (RFC 4918 section 9.1).
func (n *Nextcloud) propfind(a *answer, r *http.Request, s *Share, name string, isFile bool) {
	asked, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		a.sabre(http.StatusBadRequest, `Sabre\DAV\Exception\BadRequest`, "")
		return
	}
	hides := strings.Contains(string(asked), "hide-download")
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?>` + "\n" + `<d:multistatus xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns">`)
	if isFile {
		data := s.Data
		if s.folder() {
			data = s.Files[name]
		}
		n.entry(&b, s, name, data, true, hides)
	} else {
		n.entry(&b, s, name, nil, false, hides)
	}
	if depth := r.Header.Get("Depth"); !isFile && depth != "0" {
		for _, f := range slices.Sorted(maps.Keys(s.Files)) {
			if dir(f) == name {
				n.entry(&b, s, f, s.Files[f], true, hides)
			}
		}
		for _, f := range folders(s) {
			if f != "" && dir(f) == name {
				n.entry(&b, s, f, nil, false, hides)
			}
		}
	}
	b.WriteString("</d:multistatus>\n")
	a.set("DAV", "1, 3, extended-mkcol")
	a.text(http.StatusMultiStatus, "application/xml; charset=utf-8", b.String())
}

func dir(name string) string { return strings.TrimSuffix(path.Dir(name), ".") }

// entry is one response of a multistatus.
func (n *Nextcloud) entry(b *strings.Builder, s *Share, name string, data []byte, isFile, hides bool) {
	href := "/public.php/dav/files/" + s.Token + "/"
	for seg := range strings.SplitSeq(name, "/") {
		if seg != "" {
			href += url.PathEscape(seg) + "/"
		}
	}
	b.WriteString("<d:response><d:href>")
	if isFile && (name != "" || !s.folder()) {
		href = strings.TrimSuffix(href, "/")
	}
	b.WriteString(html.EscapeString(href) + "</d:href><d:propstat><d:prop><d:getlastmodified>" + s.Modified.UTC().Format(http.TimeFormat) + "</d:getlastmodified>")
	if isFile {
		fmt.Fprintf(b, "<d:getcontentlength>%d</d:getcontentlength><d:resourcetype/><d:getetag>%s</d:getetag><d:getcontenttype>application/octet-stream</d:getcontenttype>",
			len(data), html.EscapeString(strong(s.Token, name, "", s.Modified.String())))
	} else {
		fmt.Fprintf(b, "<d:resourcetype><d:collection/></d:resourcetype><d:getetag>%s</d:getetag>", html.EscapeString(strong(s.Token, name, "folder", s.Modified.String())))
	}
	if hides {
		fmt.Fprintf(b, "<nc:hide-download>%t</nc:hide-download>", s.Hidden)
	}
	b.WriteString("</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>")
}

// remote answers below remote.php: everybody's own files, by cookie or password.
// By cookie an answer says nothing that would keep a shared cache from storing
// it: no Cache-Control, no Vary, no Set-Cookie, and a strong tag.
func (n *Nextcloud) remote(a *answer, r *http.Request, se *session, rest string) {
	var down bool
	if n.do(func() { down = n.maintenance }); down {
		a.sabre(http.StatusServiceUnavailable, `OCA\DAV\Exception\ServerMaintenanceMode`, "System is in maintenance mode.")
		return
	}
	user, by := "", "cookie"
	if se.in {
		user = se.user
	} else if u := basic(r); u != "" {
		user, by = u, "basic"
		a.Header().Add("Set-Cookie", "nc_session_id="+n.session()+"; path=/; HttpOnly")
	}
	if user == "" {
		a.set("WWW-Authenticate", `Basic realm="Nextcloud", charset="UTF-8"`)
		a.sabre(http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "No public access to this resource., No 'Authorization: Basic' header found.")
		return
	}
	name, ok := strings.CutPrefix(rest, "dav/files/"+user+"/")
	if !ok {
		name, ok = strings.CutPrefix(rest, "webdav/")
	}
	if !ok || name != "lettre.txt" && name != "film.mp4" {
		a.sabre(http.StatusNotFound, `Sabre\DAV\Exception\NotFound`, "")
		return
	}
	a.own(user, by)
	n.file(a, r, Noise(2000, uint64(len(name))), n.begun.Add(-90*24*time.Hour).Truncate(time.Second), name, "own", name)
}
