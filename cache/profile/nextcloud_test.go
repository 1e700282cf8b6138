package profile

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const tk = "aB3dE5gH7jK9mN1" // a share's token

const (
	ncCookie = "Cookie"
	session  = "oc1a2b3c=sessionid; nc_sameSiteCookielax=true; nc_sameSiteCookiestrict=true; oc_sessionPassphrase=x"
	fourSC   = "Set-Cookie: oc1a2b3c=s1; path=/; HttpOnly\nSet-Cookie: oc_sessionPassphrase=p; path=/\n" +
		"Set-Cookie: __Host-nc_sameSiteCookielax=true; path=/\nSet-Cookie: __Host-nc_sameSiteCookiestrict=true; path=/\n"
	davField  = "max-age=60, stale-if-error=1209600, lease=1209600"
	davTarget = "/public.php/dav/files/" + tk
)

var nextcloudAsked = []row{
	// What every platform shares with the others.
	{ask4("POST", "/s/"+tk+"/download"), Pass, "shared-method", ""},
	{ask4("PROPFIND", davTarget), Pass, "shared-method", ""},
	{ask4("PUT", davTarget+"/a.txt"), Pass, "shared-method", ""},
	{get("/push/ws", "Upgrade", "websocket", "Connection", "Upgrade"), Pass, "shared-upgrade", ""},
	{get(davTarget, "Content-Length", "12"), Pass, "shared-body", ""},
	{get(davTarget, "Authorization", "Basic eDp5"), Pass, "shared-authorization", ""},
	{get(davTarget, "X-Auth-Token", "x"), Pass, "shared-credential-field", ""},
	{get(davTarget + "?token=x"), Pass, "shared-token-query", ""},
	{get(davTarget + "?X-Amz-Signature=x"), Pass, "shared-token-query", ""},
	{get(davTarget + "?requesttoken=x"), Pass, "shared-token-query", ""},
	{get(davTarget + "?a=%zz"), Pass, "shared-unclear-query", ""},
	{get("/public.php/dav/files/" + tk + "/../../../../remote.php/dav/files/a/f"), Pass, "shared-unclear-path", ""},
	{get("/s//" + tk + "/download"), Pass, "shared-unclear-path", ""},
	{get("/%73/" + tk + "/download"), Pass, "shared-unclear-path", ""},
	{get(davTarget + "/a%2Fb"), Pass, "shared-unclear-path", ""},

	// The header table, row by row.
	{get("/s/" + tk), Pass, "nextcloud-share-page", ""},
	{get("/index.php/s/" + tk), Pass, "nextcloud-share-page", ""},
	{get("/s/" + tk + "/"), Pass, "nextcloud-share-page", ""},
	{get("/s/" + tk + "?dir=/sub"), Pass, "nextcloud-share-page", ""},
	{get("/s/" + tk + "/authenticate/showShare"), Pass, "nextcloud-share-page", ""},
	{get("/s/" + tk + "/download"), Archive, "nextcloud-share-folder", davTarget + " /s/" + tk + "/download"},
	{get("/index.php/s/" + tk + "/download"), Archive, "nextcloud-share-folder", davTarget + " /index.php/s/" + tk + "/download"},
	{get("/s/" + tk + "/download?downloadStartSecret=abc"), Archive, "nextcloud-share-folder", davTarget + " /s/" + tk + "/download"},
	{get("/s/" + tk + "/download?path=/sub%20dir/x"), Archive, "nextcloud-share-folder", davTarget + "/sub%20dir/x /s/" + tk + "/download?path=/sub%20dir/x"},
	{get("/s/" + tk + "/download?path=%2F"), Archive, "nextcloud-share-folder", davTarget + " /s/" + tk + "/download?path=%2F"},
	{get("/s/" + tk + "/download?path=/sub&files=%5B%22a%22%2C%22b%22%5D"), Archive, "nextcloud-share-folder", ""},
	{get("/s/" + tk + "/download?files[]=a&files[]=b"), Archive, "nextcloud-share-folder", ""},
	{get("/s/" + tk + "/download/le%C3%A7on%201.pdf"), Share, "nextcloud-share-file", davTarget + " /s/" + tk + "/download/le%C3%A7on%201.pdf"},
	{get("/index.php/s/" + tk + "/download/a.pdf?downloadStartSecret=x1&z=1"), Share, "nextcloud-share-file", davTarget + "?z=1 /index.php/s/" + tk + "/download/a.pdf?z=1"},
	{get("/s/" + tk + "/download?path=%2Fsub&files=a%20%C3%A9.txt"), Share, "nextcloud-share-file", davTarget + "/sub/a%20%C3%A9.txt /s/" + tk + "/download?path=%2Fsub&files=a%20%C3%A9.txt"},
	{get("/s/" + tk + "/download?path=/&files=%5B%22a.txt%22%5D&downloadStartSecret=q"), Share, "nextcloud-share-file", davTarget + "/a.txt /s/" + tk + "/download?path=/&files=%5B%22a.txt%22%5D"},
	{get("/s/" + tk + "/download?files=%22a.txt%22"), Share, "nextcloud-share-file", davTarget + "/a.txt /s/" + tk + "/download?files=%22a.txt%22"},
	{get("/s/" + tk + "/download?files[]=a.txt"), Share, "nextcloud-share-file", davTarget + "/a.txt /s/" + tk + "/download?files[]=a.txt"},
	{get("/s/"+tk+"/download/a.pdf", ncCookie, session), Share, "nextcloud-share-file", ""},
	{ask4("HEAD", davTarget), Share, "nextcloud-share-file", davTarget},
	{get(davTarget), Share, "nextcloud-share-file", davTarget},
	{get(davTarget + "/"), Share, "nextcloud-share-file", davTarget},
	{get(davTarget+"/sub/caf%C3%A9.txt", "Range", "bytes=0-9"), Share, "nextcloud-share-file", davTarget + "/sub/caf%C3%A9.txt"},
	{get(davTarget + "/a+b,c@d.txt"), Share, "nextcloud-share-file", davTarget + "/a%2Bb%2Cc%40d.txt"},
	{get(davTarget + "/a?x=1&downloadStartSecret=zz"), Share, "nextcloud-share-file", davTarget + "/a?x=1"},
	{get(davTarget + "/?accept=zip"), Archive, "nextcloud-share-folder", davTarget},
	{get(davTarget + "/sub/?accept=zip"), Archive, "nextcloud-share-folder", davTarget + "/sub"},
	{get(davTarget + "/?accept=zip&files=%5B%22a%22%2C%22b%22%5D"), Archive, "nextcloud-share-folder", davTarget},
	{get(davTarget + "/?accept=zip&files=%5B%22a%22%5D"), Archive, "nextcloud-share-folder", davTarget},
	{get(davTarget + "/?accept=tar"), Pass, "nextcloud-share-other-archive", ""},
	{get(davTarget + "/?accept=zip&files=%5B%22..%22%5D"), Pass, "nextcloud-share-other-archive", ""},
	{get(davTarget+"/", "Accept", "application/zip"), Pass, "nextcloud-share-other-archive", ""},
	{get(davTarget+"/", "X-Nc-Files", "a"), Pass, "nextcloud-share-other-archive", ""},
	{get("/s/" + tk + "/download?path=/../x"), Pass, "nextcloud-other", ""},
	{get("/s/" + tk + "/download?path=/a&path=/b"), Pass, "nextcloud-other", ""},
	{get("/s/" + tk + "/download/a?files=b"), Pass, "nextcloud-other", ""},
	{get("/public.php/webdav/a.txt"), Pass, "nextcloud-legacy-public-dav", ""},
	{get("/remote.php/dav/files/alice/f", ncCookie, session), Pass, "nextcloud-private-dav", ""},
	{get("/remote.php/webdav/f"), Pass, "nextcloud-private-dav", ""},
	{get("/REMOTE.php/dav/files/alice/f"), Pass, "nextcloud-private-dav", ""},
	{get("/index.php/s/" + tk + "/preview"), Share, "nextcloud-share-preview", ""},
	{get("/s/" + tk + "/preview?x=1"), Share, "nextcloud-share-preview", "/s/" + tk + "/preview?x=1"},
	{get("/index.php/apps/files_sharing/publicpreview/" + tk + "?file=/a.jpg&x=32&y=32&a=true"), Share, "nextcloud-share-preview", ""},
	{get("/apps/files_sharing/publicpreview/"+tk+"?file=/a.jpg", "X-Nc-Preview", "true"), Pass, "nextcloud-share-hidden-preview", ""},
	{get("/index.php/core/preview?fileId=5"), Pass, "nextcloud-private-preview", ""},
	{get("/index.php/avatar/alice/64"), Pass, "nextcloud-private-preview", ""},
	{get("/apps/theming/background?v=1", ncCookie, session), Pass, "nextcloud-private-preview", ""},
	{get("/index.php/apps/theming/theme/default.css?plain=0&v=1"), Share, "nextcloud-theme", ""},
	{get("/apps/theming/theme/default.css?v=1", ncCookie, "nc_sameSiteCookielax=true"), Share, "nextcloud-theme", ""},
	{get("/apps/theming/theme/default.css?v=1", ncCookie, session), Pass, "nextcloud-personal-theme", ""},
	{get("/apps/theming/favicon?v=1", ncCookie, session), Share, "nextcloud-theme", ""},
	{get("/core/js/main.js?v=1a2b", ncCookie, session), Share, "nextcloud-static-versioned", "/core/js/main.js?v=1a2b"},
	{get("/dist/core-main.js"), Share, "nextcloud-static", ""},
	{get("/apps/files/img/app.svg"), Share, "nextcloud-static", ""},
	{get("/custom_apps/deck/css/deck.css"), Share, "nextcloud-static", ""},
	{get("/core/fonts/NotoSans.ttf"), Share, "nextcloud-static", ""},
	{get("/index.php/apps/files/js/x.js"), Pass, "nextcloud-other", ""},
	{get("/apps/files/ajax/list.js"), Pass, "nextcloud-other", ""},
	{get("/status.php"), Pass, "nextcloud-session", ""},
	{get("/index.php/login"), Pass, "nextcloud-session", ""},
	{get("/ocs/v2.php/apps/files_sharing/api/v1/shares"), Pass, "nextcloud-api", ""},
	{get("/index.php/apps/files/"), Pass, "nextcloud-other", ""},
	{get("/apps/dashboard/", ncCookie, session), Pass, "nextcloud-other", ""},
	{get("/index.php/apps/richdocuments/public?fileId=1"), Pass, "nextcloud-live", ""},
	{get("/"), Pass, "nextcloud-other", ""},
	{get("/PUBLIC.php/dav/files/" + tk), Pass, "nextcloud-other", ""},
	{get("/public.php/dav/files"), Pass, "nextcloud-other", ""},
	{get("/public.php/dav/uploads/" + tk), Pass, "nextcloud-other", ""},
}

const maintenance = `<?xml version="1.0" encoding="utf-8"?><d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">
 <s:exception>OCA\DAV\Exception\ServerMaintenanceMode</s:exception><s:message>System is in maintenance mode.</s:message></d:error>`

const gone503 = `<?xml version="1.0" encoding="utf-8"?><d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">
 <s:exception>Sabre\DAV\Exception\ServiceUnavailable</s:exception><s:message>Sabre\DAV\Exception\NotFound: </s:message></d:error>`

const other503 = `<s:exception>Sabre\DAV\Exception\ServiceUnavailable</s:exception><s:message>OC\User\NoUserException: </s:message>`

const download = "Cache-Control: must-revalidate, post-check=0, pre-check=0\nExpires: 0\nContent-Disposition: attachment; filename=\"a.pdf\"\nContent-Type: application/pdf\n" + fourSC

var nextcloudAnswered = []said{
	// Public DAV, as of 29.
	{davTarget, 0, 200, "Etag: \"5e1\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\nContent-Disposition: attachment\n" + fourSC, "", Keep, "", davField, 0},
	{davTarget, 0, 206, "Etag: \"5e1\"\nContent-Range: bytes 0-9/100\n" + fourSC, "", Keep, "", davField, 0},
	{davTarget, 0, 304, "Etag: \"5e1\"\n" + fourSC, "", Keep, "", davField, 0},
	{davTarget, 0, 200, "Etag: \"5e1\"\nCache-Control: no-store, no-cache, must-revalidate\nPragma: no-cache\nExpires: Thu, 19 Nov 1981 08:52:00 GMT\n", "", Keep, "", davField, 0},
	{davTarget, 0, 200, "Etag: \"5e1\"\nCache-Control: no-store\n", "", Own, "-private", "", minute},
	{davTarget, 0, 200, "Etag: \"5e1\"\nCache-Control: private, max-age=3\n", "", Own, "-private", "", minute},
	{davTarget, 0, 200, "Etag: \"5e1\"\nCache-Control: no-cache\n", "", Keep, "", "max-age=60, stale-if-error=1209600, no-cache, lease=1209600", 0},
	{davTarget, 0, 200, "Etag: \"5e1\"\nCache-Control: must-revalidate\n", "", Keep, "", davField, 0},
	{davTarget, 0, 200, "Content-Type: text/plain\n", "", Own, "-page", "", minute},
	{davTarget, 0, 200, "Etag: \"5e1\"\nVary: Cookie\n", "", Own, "-private", "", minute},
	{davTarget, 0, 200, "Etag: \"5e1\"\nVary: Accept-Encoding\n", "", Keep, "", davField, 0},
	{davTarget, 0, 200, "Etag: \"5e1\"\nVary: *\n", "", Own, "-private", "", minute},
	{davTarget, 0, 200, "Content-Type: text/html; charset=utf-8\n", "", Own, "-page", "", minute},
	{"/s/" + tk + "/download/a.pdf", 0, 200, "Content-Type: text/html; charset=utf-8\n", "", Next, "-elsewhere", "", 0},
	{davTarget, 0, 401, "Www-Authenticate: Basic realm=\"Nuage\"\n", "", Own, "-locked", "", 10 * minute},
	{davTarget, 0, 403, "", "", Own, "-refused", "", 10 * minute},
	{davTarget, 0, 412, "", "", Own, "-other", "", 0},
	{davTarget, 0, 429, "Retry-After: 30\n", "", Keep, "-failure", "no-store", 0},
	{davTarget, 0, 404, "", "", Gone, "-link-gone", "", 10 * minute},
	{davTarget + "/sub/a", 0, 404, "", "", Gone, "-gone", "", 10 * minute},
	{davTarget, 0, 503, "Content-Type: application/xml\n", gone503, Gone, "-link-gone", "", 10 * minute},
	{davTarget + "/sub/a", 0, 503, "Content-Type: application/xml\n", gone503, Gone, "-link-gone", "", 10 * minute},
	{davTarget, 0, 503, "Content-Type: application/xml\n", other503, Own, "-denied", "", 0},
	{davTarget, 0, 503, "Content-Type: application/xml\n", maintenance, Keep, "-failure", "no-store", 0},
	{davTarget, 0, 503, "Content-Type: text/html\n", "<html>busy", Keep, "-failure", "no-store", 0},
	{davTarget, 0, 502, fourSC, "", Keep, "-failure", "no-store", 0},
	// The download address, first by public DAV, then as it is.
	{"/s/" + tk + "/download", 0, 207, "Content-Type: application/xml\n" + fourSC, "", Keep, "", davField, 0},
	{"/s/" + tk + "/download", 0, 404, "", "", Next, "-elsewhere", "", 0},
	{"/s/" + tk + "/download", 0, 503, "", gone503, Next, "-elsewhere", "", 0},
	{"/s/" + tk + "/download", 1, 200, download + "Content-Length: 10\n", "", Keep, "", "max-age=300, stale-if-error=1209600, lease=1209600", 0},
	{"/s/" + tk + "/download", 1, 200, "Expires: 0\nPragma: public\nContent-Type: application/zip\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\n" + fourSC, "", Own, "-archive", "", minute},
	{"/s/" + tk + "/download", 1, 200, download, "", Own, "-archive", "", minute},
	{"/s/" + tk + "/download", 1, 404, "Cache-Control: no-cache, no-store, must-revalidate\n", "", Gone, "-link-gone", "", 10 * minute},
	{"/s/" + tk + "/download?path=/x&files=a", 1, 404, "", "", Gone, "-gone", "", 10 * minute},
	{"/s/" + tk + "/download", 1, 303, "Location: /s/" + tk + "/authenticate/downloadShare\n" + fourSC, "", Own, "-locked", "", 10 * minute},
	// Previews.
	{"/s/" + tk + "/preview", 0, 200, "Cache-Control: private, max-age=86400, must-revalidate\nContent-Type: image/png\nEtag: \"p\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 +0000\nExpires: Tue, 04 Aug 2026 10:00:00 +0000\n" + fourSC,
		"", Keep, "", "max-age=300, stale-if-error=1209600, lease=1209600", 0},
	{"/s/" + tk + "/preview", 0, 200, "Content-Type: application/json\n", "", Own, "-no-image", "", minute},
	{"/s/" + tk + "/preview", 0, 404, "", "", Gone, "-gone", "", 10 * minute},
	{"/s/" + tk + "/preview", 0, 303, "Location: /core/img/filetypes/file.svg\n", "", Own, "-refused", "", 10 * minute},
	// The page.
	{"/s/" + tk, 0, 200, "Cache-Control: no-cache, no-store, must-revalidate\n" + fourSC, "", Own, "", "", 0},
	{"/s/" + tk + "?path=/gone", 0, 404, "", "", Own, "", "", 0},
	{"/s/" + tk + "/authentication", 0, 404, "", "", Own, "", "", 0},
	{davTarget + "?accept=tar", 0, 503, "", gone503, Gone, "-link-gone", "", 10 * minute},
	{davTarget + "?accept=tar", 0, 404, "", "", Own, "", "", 0},
	{davTarget + "?unknown=1", 0, 404, "", "", Gone, "-gone", "", 10 * minute},
	{"/s/" + tk + "/download", 1, 200, "Content-Type: application/json\nContent-Length: 30\n", "", Own, "-archive", "", minute},
	{"/s/" + tk, 0, 404, "Cache-Control: no-cache, no-store, must-revalidate\n", "", Gone, "-link-gone", "", 10 * minute},
	// Files of the server.
	{"/core/js/main.js?v=1", 0, 200, "Cache-Control: public, max-age=15778463, immutable\nEtag: \"a\"\n", "", Keep, "", "max-age=15778463, stale-if-error=2592000, public, immutable, lease=2592000", 0},
	{"/core/js/main.js", 0, 200, "Cache-Control: public, max-age=15778463\nEtag: \"a\"\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, public, lease=2592000", 0},
	{"/core/fonts/a.ttf", 0, 200, "Etag: \"a\"\n", "", Keep, "", "max-age=3600, stale-if-error=2592000, lease=2592000", 0},
	{"/core/js/main.js", 0, 200, "Etag: \"a\"\nSet-Cookie: a=b\n", "", Own, "-private", "", minute},
	{"/core/js/main.js", 0, 404, "", "", Own, "-missing", "", 0},
	{"/apps/theming/theme/default.css", 0, 200, "Cache-Control: private, max-age=86400, must-revalidate\nContent-Type: text/css\n" + fourSC, "", Keep, "", "max-age=86400, stale-if-error=2592000, lease=2592000", 0},
	{"/remote.php/dav/files/a/f", 0, 200, "Etag: \"x\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\n", "", Own, "", "", 0},
}

func TestAPreviewsDatesAreMended(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	req := get("/s/" + tk + "/preview")
	got := p.Response(req, p.Request(req), Response{Status: 200, Header: header("Content-Type: image/png\nLast-Modified: Mon, 03 Aug 2026 10:00:00 +0000\nExpires: never")})
	if v := got.Header.Get("Last-Modified"); v != "Mon, 03 Aug 2026 10:00:00 GMT" {
		t.Errorf("Last-Modified: %s", v)
	}
	got = p.Response(req, p.Request(req), Response{Status: 200, Header: header("Content-Type: image/png\nLast-Modified: yesterday")})
	if v, ok := got.Header["Last-Modified"]; ok {
		t.Errorf("Last-Modified: %s", v)
	}
}

func TestAFolderSharesPlanNamesWhatIsWanted(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	plan := p.Request(get("/s/" + tk + "/download?path=/sub&files=%5B%22a%22%2C%22b%22%5D&downloadStartSecret=s3cr3t"))
	if plan.Folder == nil || plan.Folder.List.Path != davTarget+"/sub" || !slices.Equal(plan.Folder.Files, []string{"a", "b"}) || plan.Folder.Name != "sub" {
		t.Fatalf("%+v", plan.Folder)
	}
	if plan.Folder.Otherwise != plan.Targets[0] || plan.Capability != tk || !plan.Anonymous || plan.Listed {
		t.Errorf("%+v", plan)
	}
	if !slices.Equal(plan.Cookies, []string{"ocDownloadStarted=s3cr3t; Max-Age=20; Path=/"}) {
		t.Errorf("cookies %q", plan.Cookies)
	}
	if plan.Probe == nil || plan.Probe.Target.Path != "/s/"+tk {
		t.Errorf("probe %+v", plan.Probe)
	}
	for _, secret := range []string{"", "a-b", "a%0d%0ab", "a%3Bb", strings.Repeat("a", 33)} {
		if c := p.Request(get("/s/" + tk + "/download?downloadStartSecret=" + secret)).Cookies; c != nil {
			t.Errorf("secret %q: %q", secret, c)
		}
	}
}

func TestAllOfALinksAddressesHaveItsToken(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	for _, target := range []string{
		"/s/" + tk, "/index.php/s/" + tk + "/", "/s/" + tk + "/authenticate/showShare", "/s/" + tk + "/download", "/s/" + tk + "/download/x", "/s/" + tk + "/preview",
		davTarget, davTarget + "/a/b", "/index.php/apps/files_sharing/publicpreview/" + tk, "/s/" + tk + "/anything/else",
	} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			if plan := p.Request(ask4(method, target)); plan.Capability != tk || plan.Listed {
				t.Errorf("%s %s: capability %q, listed %v", method, target, plan.Capability, plan.Listed)
			}
		}
		if !p.Secret(get(target)) {
			t.Errorf("%s is no secret", target)
		}
	}
	if p.Secret(get("/core/js/main.js?v=1")) {
		t.Error("a script is a secret")
	}
}

// hidden writes a hidden input as the platform does.
func hidden(id, value string) string {
	return `<input type="hidden" name="` + id + `" value="` + value + `" id="` + id + `">` + "\n"
}

func initial(id, value string) string {
	return "\t<input type=\"hidden\" id=\"initial-state-" + id + "\" value=\"" + base64.StdEncoding.EncodeToString([]byte(value)) + "\">\n"
}

func TestASharesPageTellsWhetherItIsForEverybody(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	old := "<!DOCTYPE html><html><body>" + hidden("filename", "a &quot;b&quot; &gt; c.pdf") + hidden("sharingToken", tk)
	menu := `[{"id":"download","label":"T\u00e9l\u00e9charger","icon":"icon-download","href":"https:\/\/nuage.test\/public.php\/dav\/files\/` + tk + `\/?accept=zip"},{"id":"directLink"}]`
	recent := "<html><body><div id=\"initial-state-container\" style=\"display: none;\">" + initial("files_sharing-sharingToken", `"`+tk+`"`)
	limit := initial("files_downloadlimit-download_limit", `{"limit":5,"downloads":1}`)
	for _, c := range []struct {
		name, body string
		status     int
		effect     Effect
		rule       string
	}{
		{"29, open", old + hidden("hideDownload", "false"), 200, Keep, "nextcloud-probe-open"},
		{"29, hidden", old + hidden("hideDownload", "true"), 200, Own, "nextcloud-probe-hidden"},
		{"29, no word of it", old, 200, Own, "nextcloud-probe-hidden"},
		{"29, limited", limit + old + hidden("hideDownload", "false"), 200, Own, "nextcloud-probe-limit"},
		{"31, open", recent + initial("core-public-page-menu", menu), 200, Keep, "nextcloud-probe-open"},
		{"31, hidden", recent + initial("core-public-page-menu", `[{"id":"directLink"}]`), 200, Own, "nextcloud-probe-hidden"},
		{"31, no menu", recent, 200, Own, "nextcloud-probe-hidden"},
		{"31, limited", recent + initial("core-public-page-menu", menu) + limit, 200, Own, "nextcloud-probe-limit"},
		{"another token's", strings.ReplaceAll(old, tk, "other") + hidden("hideDownload", "false"), 200, Own, "nextcloud-probe-unknown"},
		{"something else", "<html>hello <input", 200, Own, "nextcloud-probe-unknown"},
		{"too long", old + hidden("hideDownload", "false") + strings.Repeat(" ", 1<<20), 200, Own, "nextcloud-probe-unread"},
		{"password", "", 303, Own, "nextcloud-probe-password"},
		{"dead", "", 404, Gone, "nextcloud-probe-link-gone"},
		{"busy", "", 503, Next, "nextcloud-probe-silent"},
		{"too many", "", 429, Next, "nextcloud-probe-silent"},
	} {
		for _, target := range []string{"/s/" + tk + "/download", davTarget + "/a", "/s/" + tk + "/preview"} {
			plan := p.Request(get(target))
			got := p.Probed(plan, c.status, http.Header{}, []byte(c.body))
			if got.Effect != c.effect || got.Name != c.rule || got.For <= 0 || got.Why == "" {
				t.Errorf("%s at %s: %d by %s for %v", c.name, target, got.Effect, got.Name, got.For)
			}
			if c.effect != Keep && c.effect != Next && !slices.Contains(got.Groups, davTarget) {
				t.Errorf("%s: groups %q", c.name, got.Groups)
			}
		}
	}
	plan := p.Request(get(davTarget))
	if got := p.Probed(plan, 200, http.Header{"Content-Encoding": {"gzip"}}, []byte(old)); got.Effect != Own {
		t.Errorf("a coded page: %+v", got)
	}
}

func FuzzASharesPageIsReadWithoutHarm(f *testing.F) {
	f.Add([]byte(hidden("sharingToken", tk) + hidden("hideDownload", "false")))
	f.Add([]byte("<input type='hidden' id=x value=y><input =\"\" / >"))
	p, err := New("nextcloud", Adjust{})
	if err != nil {
		f.Fatal(err)
	}
	plan := p.Request(get(davTarget))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := p.Probed(plan, 200, http.Header{}, body)
		if got.For <= 0 || got.Effect == Keep && !strings.Contains(string(body), "hideDownload") && !strings.Contains(string(body), "public-page-menu") {
			t.Fatalf("%+v", got)
		}
	})
}
