package profile

// What Kiwix's answers may be kept on. A book can be replaced by a newer one
// under the same name, so they are asked after each day, whatever they say. One
// entity tag stands for all addresses of a server until it restarts: it validates
// an address and says nothing beyond that.
var kiwixBook = terms{own: true, fresh: hour, most: day, lease: 30 * day, missing: minute, listed: true}

// kiwix are the rules for kiwix-serve, which knows no users.
func kiwix(Adjust) platform {
	return platform{rules: []rule{
		pass("kiwix-dynamic", "The list of books, searches and what is drawn at random are made for each request.", func(q *ask) bool {
			return q.path == "/" || q.in("/catalog", "/search", "/suggest", "/random", "/catch", "/nojs", "/viewer_settings.js")
		}),
		share("kiwix-book", "Books are public and do not change; they are asked for without cookies.", everything, kiwixBook),
	}}
}
