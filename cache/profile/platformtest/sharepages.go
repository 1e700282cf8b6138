package platformtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// sharePages answers below /s/.
func (n *Nextcloud) sharePages(a *answer, r *http.Request, se *session, rest string) {
	token, what, _ := strings.Cut(rest, "/")
	if n.banned(a, r) {
		return
	}
	s := n.find(token)
	if s == nil {
		n.guessed(r)
		a.set("Cache-Control", noStore)
		a.html(http.StatusNotFound, "Share not found")
		return
	}
	if strings.HasPrefix(what, "authenticate") {
		n.authenticate(a, r, s)
		return
	}
	who, by, ok := n.opened(r, se, s)
	if !ok {
		n.locked(a, r, s, what)
		return
	}
	if s.Password != "" {
		a.own(who, by)
	}
	kind, _, _ := strings.Cut(what, "/")
	switch kind {
	case "":
		n.sharePage(a, r, se, s)
	case "download":
		n.download(a, r, s)
	case "preview":
		n.preview(a, r, s, "")
	default:
		a.html(http.StatusNotFound, "Page not found")
	}
}

// locked answers who has not entered the password.
func (n *Nextcloud) locked(a *answer, r *http.Request, s *Share, what string) {
	a.set("Cache-Control", noStore)
	if what == "preview" {
		a.json(http.StatusForbidden, []string{})
		return
	}
	a.redirect(http.StatusSeeOther, absolute(r, "/index.php/s/"+s.Token+"/authenticate/showShare"))
}

// authenticate shows the form for a password, or takes one.
func (n *Nextcloud) authenticate(a *answer, r *http.Request, s *Share) {
	a.set("Cache-Control", noStore)
	if r.Method != http.MethodPost {
		a.html(http.StatusOK, "This share is password-protected", `<form method="post"><input type="password" name="password"></form>`)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	form, bad := url.ParseQuery(string(body))
	if err != nil || bad != nil || form.Get("password") != s.Password || s.Password == "" {
		n.guessed(r)
		a.html(http.StatusOK, "Wrong password")
		return
	}
	name := n.session()
	n.do(func() {
		n.sessions[name] = &session{user: "entered" + short(name), open: map[string]bool{s.Token: true}}
	})
	a.Header().Add("Set-Cookie", sessionName+"="+name+"; path=/; HttpOnly; SameSite=Lax")
	a.redirect(http.StatusSeeOther, absolute(r, "/index.php/s/"+s.Token))
}

// sharePage is the page of a share. What it says of hidden and counted
// downloads is all that its visitors are told of them: a field of the page (29),
// or the missing entry of the page's menu (31), and the state of the app that
// counts.
func (n *Nextcloud) sharePage(a *answer, r *http.Request, se *session, s *Share) {
	if se.in {
		a.own(se.user, "cookie")
	}
	var parts []string
	zip := absolute(r, "/public.php/dav/files/"+s.Token+"/?accept=zip")
	if n.version < 31 {
		parts = append(parts, `<input type="hidden" name="sharingToken" value="`+s.Token+`" id="sharingToken">`,
			`<input type="hidden" name="filename" value="`+s.Name+`" id="filename">`,
			`<input type="hidden" name="hideDownload" value="`+strconv.FormatBool(s.Hidden)+`" id="hideDownload">`)
	} else {
		menu := []map[string]string{}
		if !s.Hidden {
			menu = append(menu, map[string]string{"id": "download", "label": "Download", "icon": "icon-download", "href": zip})
		}
		menu = append(menu, map[string]string{"id": "directLink", "label": "Direct link", "icon": "icon-public", "href": zip})
		parts = append(parts, state("files_sharing", "isPublic", true), state("files_sharing", "sharingToken", s.Token), state("files_sharing", "filename", s.Name), state("core", "public-page-menu", menu))
	}
	if s.Limit > 0 {
		var done int
		n.do(func() { done = s.downloads })
		parts = append(parts, state("files_downloadlimit", "download_limit", map[string]int{"limit": s.Limit, "downloads": done}))
	}
	a.set("Cache-Control", noStore, "Expires", "Thu, 19 Nov 1981 08:52:00 GMT", "Pragma", "no-cache")
	a.html(http.StatusOK, s.Name, parts...)
}

// download answers /s/T/download: with the bytes and no validator up to 29, by a
// redirect from 31 on.
func (n *Nextcloud) download(a *answer, r *http.Request, s *Share) {
	q := r.URL.Query()
	if secret := q.Get("downloadStartSecret"); secret != "" {
		a.Header().Add("Set-Cookie", "ocDownloadStarted="+secret+"; Max-Age=20; path=/")
	}
	names := chosen(q)
	if n.version >= 31 {
		to := "/public.php/dav/files/" + s.Token + "/" + strings.Trim(q.Get("path"), "/") + "?accept=zip"
		if len(names) > 0 {
			list, err := json.Marshal(names)
			if err == nil {
				to += "&files=" + url.QueryEscape(string(list))
			}
		}
		a.set("Cache-Control", noStore)
		a.redirect(http.StatusSeeOther, absolute(r, to))
		return
	}
	data, name := s.Data, s.Name
	if s.folder() {
		if len(names) != 1 {
			n.zip(a, s)
			return
		}
		var ok bool
		name = names[0]
		if data, ok = s.Files[strings.TrimPrefix(path.Join(q.Get("path"), name), "/")]; !ok {
			n.guessed(r)
			a.set("Cache-Control", noStore)
			a.html(http.StatusNotFound, "File not found")
			return
		}
	}
	n.downloaded(s)
	a.set("Cache-Control", "must-revalidate, post-check=0, pre-check=0", "Expires", "0", "Content-Disposition", disposition(name))
	a.content(r, data, time.Time{}, ranges{only: true, past: true})
}

// chosen are the files that a download names.
func chosen(q url.Values) (out []string) {
	if v := q.Get("files"); v != "" && json.Unmarshal([]byte(v), &out) != nil {
		out = []string{v}
	}
	return append(out, q["files[]"]...)
}

func disposition(name string) string {
	return `attachment; filename*=UTF-8''` + url.PathEscape(name) + `; filename="` + url.PathEscape(name) + `"`
}

// zip makes a zip file as the platform does: no tag, no length, no ranges.
func (n *Nextcloud) zip(a *answer, s *Share) {
	n.do(func() { n.zips++ })
	n.downloaded(s)
	a.set("Content-Type", "application/zip", "Accept-Ranges", "bytes", "Expires", "0", "Pragma", "public",
		"Last-Modified", n.now().UTC().Format(http.TimeFormat), "Content-Disposition", disposition(s.Name+".zip"))
	a.stream([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
}
