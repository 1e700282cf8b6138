package profile

import "strings"

// What Discourse's answers may be kept on.
var (
	discourseAsset  = terms{own: true, fresh: day, most: 365 * day, lease: 30 * day, file: true}
	discourseStyle  = terms{own: true, fresh: hour, most: day, lease: 30 * day, file: true, strip: true}
	discourseImage  = terms{own: true, fresh: day, most: 7 * day, lease: 30 * day, file: true, refused: minute}
	discourseUpload = terms{own: true, fresh: 5 * minute, most: 5 * minute, lease: 7 * day, file: true, refused: minute}
)

// discourse are the rules for Discourse.
func discourse(Adjust) platform {
	return platform{rules: []rule{
		pass("discourse-secure-upload", "Secure uploads redirect each asker to an address signed for them.",
			func(q *ask) bool {
				return q.in("/secure-uploads", "/secure-media-uploads", "/uploads/short-url", "/uploads/lookup-urls")
			}),
		pass("discourse-live", "The message bus is open for as long as somebody reads.", func(q *ask) bool { return q.in("/message-bus") }),
		pass("discourse-session", "Logging in, administration and whatever depends on an account.",
			func(q *ask) bool {
				return q.in("/session", "/login", "/auth", "/admin", "/u", "/my", "/notifications", "/drafts", "/presence", "/srv", "/logs", "/sidekiq")
			}),
		share("discourse-image", "Images under uploads are handed out by the web server to everybody who knows the address. They are asked for without cookies, so nothing that needs an account is had.",
			func(q *ask) bool {
				return q.first("uploads") && q.media("png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico")
			}, discourseImage),
		share("discourse-upload", "Attachments say public and immutable even where the forum asks for an account; asked for without cookies only the open ones are had. Who closes them is heeded after five minutes.",
			func(q *ask) bool { return q.first("uploads") && len(q.segments) >= 3 && q.suffix() != "" }, discourseUpload),
		share("discourse-style", "Stylesheets and avatars are the same for everybody: the platform's own server hides their cookies in order to keep them.",
			func(q *ask) bool {
				return q.static() && (q.first("stylesheets") || q.first("letter_avatar") || q.first("letter_avatar_proxy") || q.first("user_avatar") || q.first("highlight-js") || q.first("svg-sprite"))
			}, discourseStyle),
		share("discourse-asset", "Files with a digest in their names, asked for without cookies.",
			func(q *ask) bool {
				return q.static() && (q.first("assets") || q.first("plugins") || q.first("javascripts") || q.first("theme-javascripts") || q.first("fonts") ||
					q.first("images") || q.first("extra-locales")) && !strings.HasSuffix(q.path, ".json")
			}, discourseAsset),
		pass("discourse-other", "Topics and lists depend on who reads, under one address.", everything),
	}}
}
