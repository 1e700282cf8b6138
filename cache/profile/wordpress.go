package profile

import "strings"

// What WordPress's answers may be kept on.
var (
	wordpressPage   = terms{own: true, fresh: minute, most: minute, lease: 30 * day, refused: minute, strict: true, listed: true, dates: true}
	wordpressMedia  = terms{own: true, fresh: day, most: 30 * day, lease: 30 * day, refused: minute, listed: true}
	wordpressStatic = terms{own: true, fresh: day, most: day, lease: 30 * day, file: true}
	wordpressLong   = terms{own: true, fresh: day, most: 365 * day, lease: 30 * day, file: true}
)

// wordpressCookies are cookies that say nothing to WordPress. wp-settings-* are
// not among them: who has those has an account here.
var wordpressCookies = []string{
	"_ga", "_ga_*", "_gid", "_gat*", "_pk_*", "_hj*", "_fbp", "wordpress_test_cookie", "wp_lang",
	"cookielawinfo*", "viewed_cookie_policy", "cookieyes*", "cmplz_*", "moove_gdpr_popup", "cookie_notice_accepted",
	"tarteaucitron", "hasConsent", "euconsent*", "axeptio_*", "didomi_token", "CookieConsent",
}

// wordpress are the rules for WordPress, whose pages say nothing of caching to
// those who are not logged in.
func wordpress(a Adjust) platform {
	ignored := append(append([]string(nil), wordpressCookies...), a.IgnoreCookies...)
	return platform{rules: []rule{
		pass("wordpress-account", "Logging in, administration and what programs call.", func(q *ask) bool {
			return q.in("/wp-admin", "/wp-login.php", "/wp-signup.php", "/wp-activate.php", "/wp-cron.php", "/xmlrpc.php", "/wp-comments-post.php",
				"/wp-trackback.php", "/wp-mail.php", "/wp-links-opml.php") || strings.Contains(q.folded, "/wp-login.php") || strings.Contains(q.folded, "/wp-admin/")
		}),
		pass("wordpress-rest", "Answers of the programming interface depend on a nonce and on cookies.",
			func(q *ask) bool {
				return q.in("/wp-json") || strings.Contains(q.folded, "/wp-json/") || q.has("rest_route")
			}),
		pass("wordpress-preview", "Drafts, searches, one reader's unapproved comment, shopping: the query makes it somebody's own.", func(q *ask) bool {
			return q.has("preview", "preview_id", "preview_nonce", "s", "unapproved", "moderation-hash", "replytocom", "wc-ajax", "add-to-cart", "doing_wp_cron", "elementor-preview", "fl_builder") ||
				q.begins("customize_")
		}),
		share("wordpress-media", "Uploaded files are handed out by the web server to everybody who knows the address, and asked for without cookies.",
			func(q *ask) bool { return q.uploads() && q.suffix() != "" && !q.program() }, wordpressMedia),
		share("wordpress-static-versioned", "Files of themes and plugins with their version in the query.",
			func(q *ask) bool { return q.bundled() && q.has("ver") }, wordpressLong),
		share("wordpress-static", "Files of themes and plugins, a day at most because an upgrade leaves their addresses as they are.", (*ask).bundled, wordpressStatic),
		pass("wordpress-program", "Programs that are called by their names may do anything.", func(q *ask) bool { return q.program() || q.in("/wp-content", "/wp-includes") }),
		pass("wordpress-cookies", "A cookie that is not known to mean nothing: who is logged in, has commented or knows a post's password gets another page under the same address.",
			func(q *ask) bool {
				known := true
				q.cookies(func(name string) { known = known && anyMatches(ignored, name) })
				return !known
			}),
		share("wordpress-page", "What somebody without an account sees. The platform says nothing of how long it holds; a minute, and for an outage the last one, above which people are told of when it is. What says no-cache or sets a cookie is somebody's own.",
			everything, wordpressPage),
	}}
}

// begins reports whether a key of the query begins so.
func (q *ask) begins(start string) bool {
	for _, p := range q.pairs {
		if strings.HasPrefix(strings.ToLower(p.key), start) {
			return true
		}
	}
	return false
}

// program reports whether some name in the path is a PHP program's, which may
// be followed by more.
func (q *ask) program() bool {
	for _, s := range q.segments {
		s = strings.ToLower(s)
		if strings.HasSuffix(s, ".php") || strings.Contains(s, ".php.") || strings.HasSuffix(s, ".phtml") || strings.HasSuffix(s, ".phar") || strings.HasSuffix(s, ".cgi") {
			return true
		}
	}
	return false
}

// uploads reports whether the path is below a blog's uploads; networks of blogs
// have a name before it.
func (q *ask) uploads() bool {
	for i := 0; i+2 < len(q.segments) && i < 2; i++ {
		if q.segments[i] == "wp-content" && q.segments[i+1] == "uploads" {
			return true
		}
	}
	return false
}

// bundled reports whether the path is a file of a theme or plugin, or of the
// platform.
func (q *ask) bundled() bool {
	if !q.static() || q.program() {
		return false
	}
	if len(q.segments) == 1 {
		return q.segments[0] == "favicon.ico"
	}
	for i := 0; i+1 < len(q.segments) && i < 2; i++ {
		switch q.segments[i] {
		case "wp-includes":
			return true
		case "wp-content":
			switch q.segments[i+1] {
			case "themes", "plugins", "mu-plugins", "cache":
				return true
			}
		}
	}
	return false
}
