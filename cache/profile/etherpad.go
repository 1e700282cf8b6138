package profile

import "strings"

// What Etherpad's answers may be kept on. Exports have no validators and are
// limited to ten in ninety seconds for one address, which is a whole school's.
// Versions before 2 begin a session with whoever asks for anything without a
// cookie, a style sheet even: what is shared is asked for so, and the session is
// nobody's, so that its cookie is taken out.
var (
	etherpadExport = terms{fresh: minute, lease: 14 * day, refused: minute, missing: minute, session: expressSession, nameless: true}
	etherpadFixed  = terms{fresh: 5 * minute, lease: 14 * day, refused: minute, session: expressSession, nameless: true}
	etherpadStatic = terms{own: true, fresh: hour, most: 6 * hour, lease: 30 * day, file: true, session: expressSession}
	etherpadHashed = terms{own: true, fresh: day, most: 365 * day, lease: 30 * day, file: true, session: expressSession}
)

// expressSession is the cookie of a session.
const expressSession = "express_sid"

// etherpad are the rules for Etherpad. A pad's name opens it.
func etherpad(Adjust) platform {
	return platform{
		marks: func(q *ask) (string, bool) {
			if len(q.segments) >= 2 && q.segments[0] == "p" {
				return q.segments[1], false
			}
			return "", false
		},
		rules: []rule{
			pass("etherpad-live", "What is written together travels here.", func(q *ask) bool { return q.in("/socket.io") }),
			pass("etherpad-api", "The interfaces are for those who run the site.", func(q *ask) bool { return q.in("/api", "/admin", "/admin-auth", "/health", "/stats", "/tests") }),
			etherpadShared("etherpad-fixed-export", "The export of one revision does not change any more; but a number beyond the last is answered with the latest text, which does, so five minutes. It is asked for without cookies: what only members may read is refused so.",
				func(e export) bool { return e.fixed && e.plain() }, etherpadFixed),
			etherpadShared("etherpad-readonly-export", "An export under the pad's read-only name, asked for without cookies, is the same for the whole class; a minute old at most.",
				func(e export) bool { return !e.fixed && e.plain() && e.readOnly() }, etherpadExport),
			pass("etherpad-export", "Who writes in a pad and exports it wants what was just written; and every format but plain text holds the name under which the pad can be written in, even if it was asked for by the read-only one, so that none of them is kept.", func(q *ask) bool { _, ok := q.export(); return ok }),
			pass("etherpad-pad", "Pads depend on who asks, by cookies that hold the author's identity.", func(q *ask) bool { return q.in("/p") }),
			share("etherpad-hashed", "Scripts with a hash in their names do not change; they come without Cache-Control.", func(q *ask) bool {
				return len(q.segments) == 1 && strings.HasSuffix(q.segments[0], ".min.js") && strings.Contains(q.segments[0], "ootstrap-")
			}, etherpadHashed),
			share("etherpad-static", "Files of the editor, asked for without cookies, for as long as they say and six hours at most.", func(q *ask) bool {
				return q.first("static") && q.static() || q.first("javascripts") || q.first("pluginfw", "plugin-definitions.json") ||
					len(q.segments) == 1 && (q.segments[0] == "favicon.ico" || q.segments[0] == "locales.json") ||
					q.first("locales") && len(q.segments) == 2 && q.suffix() == "json"
			}, etherpadStatic),
			pass("etherpad-other", "Pages and all that no rule names; without Cache-Control of theirs nothing would say that a pad has changed.", everything),
		},
	}
}

// export is the address of an export: /p/PAD[/REVISION]/export/FORMAT.
type export struct {
	pad, format string
	fixed       bool // it is of one revision
}

// readOnly reports whether the pad's name does not let people write.
func (e export) readOnly() bool { return strings.HasPrefix(e.pad, "r.") }

// plain reports whether the export is the text and nothing else.
func (e export) plain() bool { return e.format == "txt" }

// disposition is under which name the export is saved. The site says it, and what
// is kept does not: a pad's name opens it.
func (e export) disposition() string {
	if strings.ContainsFunc(e.pad, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }) {
		return "attachment; filename=\"pad." + e.format + "\""
	}
	return "attachment; filename=\"" + e.pad + "." + e.format + "\""
}

// etherpadShared makes a rule for exports that are for everybody.
func etherpadShared(name, why string, when func(export) bool, on terms) rule {
	return rule{
		Rule: Rule{name, why},
		plan: func(q *ask) (Plan, bool) {
			e, ok := q.export()
			if !ok || !when(e) {
				return Plan{}, false
			}
			return Plan{Do: Share, Targets: []Target{q.itself()}, Anonymous: true, Disposition: e.disposition()}, true
		},
		terms: on,
	}
}

// export reads the address of an export.
func (q *ask) export() (e export, ok bool) {
	s := q.segments
	if len(s) < 4 || s[0] != "p" || s[len(s)-2] != "export" {
		return e, false
	}
	e.pad, e.format = s[1], s[len(s)-1]
	switch e.format {
	case "txt", "html", "etherpad", "pdf", "odt", "doc", "docx":
	default:
		return e, false
	}
	switch len(s) {
	case 4:
		return e, true
	case 5:
		e.fixed = true
		return e, isNumber(s[2])
	}
	return e, false
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
