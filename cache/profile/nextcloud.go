package profile

import (
	"encoding/json"
	"net/http"
	"strings"
)

// What Nextcloud's answers may be kept on.
var (
	// Unsharing has to be felt soon, so a file is fresh for a minute only; the
	// conditional GET that follows has no body, is not counted as a download, and
	// comes once for the school. Fourteen days is what a share may be served for
	// without contact, because its expiry date is not told to who reads it.
	nextcloudFile = terms{fresh: minute, lease: 14 * day, strip: true, file: true, waives: waivePHP | waiveRevalidate,
		refused: 10 * minute, missing: 10 * minute}
	nextcloudPreview = terms{fresh: 5 * minute, lease: 14 * day, strip: true, file: true, waives: waivePrivate | waiveRevalidate,
		refused: 10 * minute, missing: 10 * minute}
	nextcloudVersioned = terms{own: true, fresh: day, most: 365 * day, lease: 30 * day, file: true}
	nextcloudStatic    = terms{own: true, fresh: hour, most: day, lease: 30 * day, file: true}
	nextcloudTheme     = terms{own: true, fresh: hour, most: day, lease: 30 * day, strip: true, file: true, waives: waivePrivate | waiveRevalidate}
)

// nextcloud are the rules for Nextcloud 28 and later. Accounts are teachers';
// pupils come by public links, so those are what is shared.
func nextcloud(Adjust) platform {
	return platform{
		marks: func(q *ask) (string, bool) { return shareToken(q), false },
		reads: func(status int, _ http.Header) int {
			if status == http.StatusServiceUnavailable {
				return 4 << 10
			}
			return 0
		},
		probed: nextcloudProbed,
		dead:   deadLink,
		rules: []rule{
			pass("nextcloud-private-dav", "Private files: with a session cookie they come without Cache-Control, Vary or Set-Cookie, so nothing in the answer says that they are private.",
				app("/remote.php", "/webdav", "/dav")),
			pass("nextcloud-legacy-public-dav", "The share's token is the user name of Basic here, so that one address means another file for each link.",
				app("/public.php/webdav")),
			pass("nextcloud-api", "Answers of the API depend on who asks.", app("/ocs", "/ocs-provider", "/ocm", "/ocm-provider", "/.well-known")),
			pass("nextcloud-session", "Logging in, tokens against forgery and health are each client's own.",
				app("/login", "/logout", "/lostpassword", "/csrftoken", "/settings", "/status.php", "/cron.php", "/heartbeat")),
			pass("nextcloud-private-preview", "Previews, avatars and backgrounds of somebody who is logged in.",
				app("/core/preview", "/core/preview.png", "/avatar", "/apps/theming/background", "/apps/files/api")),
			pass("nextcloud-live", "Push channels and documents that are written together are open for as long as people work.",
				app("/push", "/apps/richdocuments", "/apps/richdocumentscode", "/apps/onlyoffice", "/cool", "/lool", "/browser", "/hosting", "/apps/spreed", "/call")),

			pass("nextcloud-share-other-archive", "An archive that is asked for by a request field, or as tar, is the platform's to make.", otherArchive),
			{
				Rule: Rule{"nextcloud-share-folder", "A shared folder as a zip file: the platform's has no validator, length or ranges and differs each time, " +
					"so the box makes it of the folder's files."},
				plan: shareFolder, terms: nextcloudFile, special: shareAnswer,
			},
			{
				Rule: Rule{"nextcloud-share-file", "Everybody who has a public link gets the same bytes, so the file is asked for without cookies and shared. Public DAV has them with a strong tag, " +
					"ranges and 304; the download address has no validator. Its must-revalidate, and what PHP's session module adds, are written into every answer alike and say nothing of the file: " +
					"who runs the site runs the box, whose targeted field stands in their place (RFC 9213 section 2.2). Freshness is a minute. " +
					"The answer's cookies would hand one new session to a class and are dropped."},
				plan: shareFile, terms: nextcloudFile, special: shareAnswer,
			},
			pass("nextcloud-share-hidden-preview", "The share's page asks so for previews of what may not be downloaded; the same address answers others differently, without saying so in Vary.",
				func(q *ask) bool { return len(q.Header["X-Nc-Preview"]) > 0 && previewToken(q) != "" }),
			{
				Rule: Rule{"nextcloud-share-preview", "A preview of what a public link opens is asked for without cookies and is the same for all who have the link. " +
					"The platform calls it private because the address alone does not show that a link opens it; the operator's targeted field says so here (RFC 9213 section 2.2)."},
				plan: sharePreview, terms: nextcloudPreview, special: previewAnswer,
			},
			pass("nextcloud-share-page", "The page holds a session and a token against forgery for each client. It is passed; that it is not there tells that the link is dead.",
				func(q *ask) bool { return pageToken(q) != "" }),

			pass("nextcloud-personal-theme", "Colours can be a user's own, and the address does not show it: a client with a session gets its own.", func(q *ask) bool {
				return q.theme("/theme", "/css") && q.session()
			}),
			share("nextcloud-theme", "The look of the site is the same for everybody who has no session, and its pictures for everybody. They are asked for without cookies and those of the answer dropped; "+
				"the platform writes private for all that its programs answer.",
				func(q *ask) bool {
					return q.theme("/theme", "/css", "/image", "/favicon", "/icon", "/img", "/manifest")
				}, nextcloudTheme),
			share("nextcloud-static-versioned", "Files of the web server, asked for without cookies; their version is in the query, so they may be kept as long as they say.",
				func(q *ask) bool { return q.shipped() && q.has("v") }, nextcloudVersioned),
			share("nextcloud-static", "Files of the web server, asked for without cookies; without a version in the address half a year would outlast an upgrade, so a day at most.",
				(*ask).shipped, nextcloudStatic),

			pass("nextcloud-other", "Pages, apps and all that no rule names may depend on the session, even where the answer does not say so.", everything),
		},
	}
}

// app matches paths of programs, with and without the front controller, in
// letters of either case.
func app(folders ...string) func(q *ask) bool {
	return func(q *ask) bool {
		return under(q.folded, folders...) || under(strings.TrimPrefix(q.folded, "/index.php"), folders...)
	}
}

// routed returns the segments of a path without the front controller.
func (q *ask) routed() []string {
	if len(q.segments) > 1 && q.segments[0] == "index.php" {
		return q.segments[1:]
	}
	return q.segments
}

// theme reports whether the path is one of the theming app's.
func (q *ask) theme(folders ...string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(q.path, "/index.php"), "/apps/theming")
	return ok && under(rest, folders...)
}

// shipped reports whether the path is a file that comes with the platform.
func (q *ask) shipped() bool {
	if !q.static() || len(q.segments) < 2 {
		return false
	}
	switch q.segments[0] {
	case "core", "dist", "themes":
		return true
	case "apps", "custom_apps", "apps-extra":
		if len(q.segments) < 4 {
			return false
		}
		switch q.segments[2] {
		case "js", "css", "img", "l10n", "fonts", "dist", "vendor":
			return true
		}
	}
	return false
}

// session reports whether the request has a cookie that could be a session's.
func (q *ask) session() bool {
	found := false
	q.cookies(func(name string) {
		switch strings.TrimPrefix(name, "__Host-") {
		case "nc_sameSiteCookielax", "nc_sameSiteCookiestrict", "ocDownloadStarted":
		default:
			found = true
		}
	})
	return found
}

// isToken reports whether s can be a share's token.
func isToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) || c == '.' || c == '~' {
			return false
		}
	}
	return true
}

// shareToken finds the token in any of a share's addresses.
func shareToken(q *ask) string {
	s := q.routed()
	switch {
	case len(s) >= 2 && s[0] == "s" && isToken(s[1]):
		return s[1]
	case q.first("public.php", "dav", "files") && len(q.segments) >= 4 && isToken(q.segments[3]):
		return q.segments[3]
	}
	return previewToken(q)
}

// previewToken finds the token in the addresses of public previews.
func previewToken(q *ask) string {
	s := q.routed()
	switch {
	case len(s) == 3 && s[0] == "s" && s[2] == "preview" && isToken(s[1]):
		return s[1]
	case len(s) == 4 && s[0] == "apps" && s[1] == "files_sharing" && s[2] == "publicpreview" && isToken(s[3]):
		return s[3]
	}
	return ""
}

// pageToken finds the token in the addresses of a share's pages.
func pageToken(q *ask) string {
	s := q.routed()
	if len(s) < 2 || s[0] != "s" || !isToken(s[1]) {
		return ""
	}
	switch {
	case len(s) == 2, len(s) == 3 && s[2] == "", len(s) >= 3 && (s[2] == "authenticate" || s[2] == "authentication"):
		return s[1]
	}
	return ""
}

// files reads the names of a download's parameter: a JSON list, one name, or
// PHP's list.
func (q *ask) files() (names []string, ok bool) {
	for _, p := range q.pairs {
		if strings.HasPrefix(p.key, "files[") {
			names = append(names, p.value)
		}
	}
	value, once := q.value("files")
	switch {
	case len(names) > 0 && q.has("files"), q.has("files") && !once:
		return nil, false
	case value == "":
	case json.Unmarshal([]byte(value), &names) == nil:
	default:
		var one string
		if json.Unmarshal([]byte(value), &one) != nil {
			one = value
		}
		names = []string{one}
	}
	if len(names) > 500 {
		return nil, false
	}
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, "/")
		if !plainName(names[i]) {
			return nil, false
		}
	}
	return names, true
}
