package profile

import "strings"

// What Jitsi Meet's answers may be kept on.
var (
	jitsiVersioned = terms{own: true, fresh: 30 * day, most: 365 * day, lease: 30 * day, file: true}
	jitsiStatic    = terms{own: true, fresh: 5 * minute, most: hour, lease: 30 * day, file: true}
	jitsiConfig    = terms{own: true, fresh: minute, most: minute, lease: day, file: true}
)

// jitsi are the rules for Jitsi Meet. A conference is not for caches; what
// helps is that its files come once, and that the line is free while people talk.
func jitsi(Adjust) platform {
	return platform{
		marks: func(q *ask) (string, bool) { return "", q.conference() },
		rules: []rule{
			pass("jitsi-conference", "The signals and bridges of a conference, open for as long as people talk.", (*ask).conference),
			pass("jitsi-room-info", "Who is in which room.", func(q *ask) bool {
				return q.in("/_api", "/conference-request", "/_unlock", "/metadata") || q.has("room")
			}),
			share("jitsi-versioned", "Files of the application with their version in the query, asked for without cookies.",
				func(q *ask) bool { return q.application() && q.has("v") }, jitsiVersioned),
			share("jitsi-static", "Files of the application without a version: an upgrade leaves their addresses as they are.", (*ask).application, jitsiStatic),
			share("jitsi-config", "The settings have no version and are wanted as they are; a minute, so that a class that starts together asks once.", func(q *ask) bool {
				if len(q.segments) != 1 {
					return false
				}
				switch q.segments[0] {
				case "config.js", "interface_config.js", "external_api.js", "external_api.min.js", "manifest.json", "pwa-worker.js", "favicon.ico":
					return true
				}
				return false
			}, jitsiConfig),
			pass("jitsi-room", "All else may be the name of a room, which is nobody's business.", everything),
		},
	}
}

// conference reports whether the path is one of those over which conferences
// run; a tenant's name may stand before it.
func (q *ask) conference() bool {
	s := q.segments
	for i := 0; i < len(s) && i < 2; i++ {
		switch strings.ToLower(s[i]) {
		case "http-bind", "xmpp-websocket", "colibri-ws", "colibri-relay-ws":
			return true
		}
	}
	return false
}

// application reports whether the path is a file of the application.
func (q *ask) application() bool {
	if len(q.segments) < 2 || !q.static() {
		return false
	}
	switch q.segments[0] {
	case "libs", "css", "static", "images", "fonts", "lang", "sounds":
		return true
	}
	return false
}
