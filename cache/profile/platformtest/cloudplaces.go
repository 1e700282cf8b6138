package platformtest

import (
	"net/http"
)

// Places implements Platform.
func (n *Nextcloud) Places(user string) []string {
	var out []string
	for _, s := range []string{"file", "folder", "locked", "hidden", "counted", "brief", "never"} {
		t := n.token(s)
		out = append(
			out, "/s/"+t, "/index.php/s/"+t, "/s/"+t+"/download", "/index.php/s/"+t+"/download", "/s/"+t+"/download?downloadStartSecret=abc123",
			"/public.php/dav/files/"+t, "/public.php/dav/files/"+t+"/", "/public.php/dav/files/"+t+"/?accept=zip",
			"/s/"+t+"/preview", "/index.php/apps/files_sharing/publicpreview/"+t+"?file=/a.txt&x=64&y=64&a=true", "/s/"+t+"/authenticate/showShare",
		)
	}
	t := n.token("folder")
	out = append(
		out, "/public.php/dav/files/"+t+"/a.txt", "/public.php/dav/files/"+t+"/film.mp4", "/public.php/dav/files/"+t+"/%C3%A9%20%C3%A0.txt",
		"/public.php/dav/files/"+t+"/sub/b.txt", "/public.php/dav/files/"+t+"/sub/?accept=zip", "/s/"+t+"/download?path=/&files=a.txt",
		"/s/"+t+"/download?path=%2Fsub&files=b.txt", "/s/"+t+`/download?path=/&files=["a.txt","film.mp4"]`, "/s/"+t+"/download/a.txt",
		"/public.php/dav/files/"+n.token("locked")+"/notes.ods", "/s/"+n.token("locked")+"/download?path=/&files=notes.ods",
		"/public.php/webdav", "/public.php/webdav/notes.ods", "/public.php/webdav/a.txt",
		"/remote.php/dav/files/"+user+"/lettre.txt", "/remote.php/dav/files/"+user+"/film.mp4", "/remote.php/webdav/lettre.txt",
		"/index.php/core/preview?fileId=7&x=64&y=64", "/index.php/avatar/"+user+"/64", "/index.php/apps/files/", "/apps/files/", "/ocs/v2.php/cloud/user?format=json",
		"/login", "/status.php", "/index.php/apps/theming/theme/default.css?plain=1", "/apps/theming/favicon", "/dist/core-main.js?v=a1b2", "/dist/core-main.js",
		"/core/img/logo.svg?v=0", "/core/fonts/a.ttf", "/core/fonts/a.woff2", "/", "/csrftoken",
	)
	return out
}

// Ways implements Platform.
func (n *Nextcloud) Ways(user string) []Way {
	strict := "; nc_sameSiteCookielax=true; nc_sameSiteCookiestrict=true"
	login, guest := sessionName+"="+credential("login", user), sessionName+"="+credential("guest", user)
	share, link := http.Request{Header: http.Header{}}, http.Request{Header: http.Header{}}
	share.SetBasicAuth(user, n.password("locked"))
	link.SetBasicAuth(n.token("locked"), n.password("locked"))
	return []Way{
		{}, way("login", "Cookie", login+strict), way("guest session", "Cookie", guest+strict), way("login without strict", "Cookie", login),
		byPassword(user), {Name: "share password", Header: share.Header},
		{Name: "link", Header: link.Header, Also: []string{"guest", "link"}}, way("login and ajax", "Cookie", login+strict, "X-Requested-With", "XMLHttpRequest", "OCS-APIREQUEST", "true"),
		way("preview app", "x-nc-preview", "true"), way("counter", "Cookie", "_ga=GA1.2.3"),
	}
}

func (n *Nextcloud) password(name string) (p string) {
	n.do(func() {
		if s := n.shares[n.token(name)]; s != nil {
			p = s.Password
		}
	})
	return p
}

// Happenings implements Platform.
func (n *Nextcloud) Happenings() []Happening {
	var out []Happening
	for _, s := range []string{"file", "folder", "locked", "brief"} {
		t := n.token(s)
		out = append(out, Happening{s + " deleted", func() { n.Delete(t) }}, Happening{s + " shared again", func() { n.Restore(t) }})
	}
	file := n.token("file")
	out = append(
		out, Happening{"maintenance", func() { n.SetMaintenance(true) }}, Happening{"maintenance over", func() { n.SetMaintenance(false) }},
		Happening{"file changed", func() { n.Change(file, func(s *Share) { s.Data = Noise(20_000+len(s.Data)%7, uint64(len(s.Data))) }) }},
		Happening{"file locked", func() { n.Change(file, func(s *Share) { s.Password = "motdepasse-" + short("later") }) }},
		Happening{"file unlocked", func() { n.Change(file, func(s *Share) { s.Password = "" }) }},
		Happening{"file hidden", func() { n.Change(file, func(s *Share) { s.Hidden = !s.Hidden }) }},
	)
	return out
}
