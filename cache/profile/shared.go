package profile

import (
	"net/http"
	"strings"
)

// credentialFields are request fields that say who asks, or that hold what a
// session holds. What is asked with one of those that are not stripped for a
// shared request is passed.
var credentialFields = map[string]bool{
	"Authorization": true, "Cookie": true, "Cookie2": true, "Proxy-Authorization": true, "Requesttoken": true, "Ocs-Apirequest": true,
	"X-Api-Key": true, "Api-Key": true, "User-Api-Key": true, "User-Api-Client-Id": true, "X-Auth-Token": true, "X-Access-Token": true,
	"X-Token": true, "X-Csrf-Token": true, "X-Xsrf-Token": true, "X-Wp-Nonce": true, "X-Peertube-Video-Password": true,
	"X-Amz-Security-Token": true, "X-Amz-Request-Payer": true, "X-Goog-User-Project": true, "X-Remote-User": true,
}

// credentialField reports whether a request field, in canonical form, says who
// asks.
func credentialField(name string) bool {
	return credentialFields[name] || strings.HasPrefix(name, "X-Amz-Server-Side-Encryption-Customer-")
}

// tokenKeys are names of query parameters that open a resource to whoever has
// the link, or that say who asks. Names that end in one of tokenEnds are as well.
var (
	tokenKeys = map[string]bool{
		"videofiletoken": true, "sig": true, "signature": true, "awsaccesskeyid": true, "googleaccessid": true, "key-pair-id": true, "ossaccesskeyid": true,
		"jwt": true, "auth": true, "authorization": true, "session": true, "sessionid": true, "session_id": true, "sid": true,
		"phpsessid": true, "jsessionid": true, "password": true, "passwd": true, "pwd": true, "secret": true, "apikey": true,
		"api_key": true, "api-key": true, "nonce": true, "_wpnonce": true, "hmac": true, "ticket": true,
	}
	tokenStarts = []string{"x-amz-", "x-goog-", "x-oss-"}
	tokenEnds   = []string{"token", "signature", "password", "_secret", "-secret"}
)

// bearsToken reports whether a key of the query is like a token's. A query that
// cannot be read is taken to be.
func (q *ask) bearsToken() bool {
	if !q.asked {
		return true
	}
	for _, p := range q.pairs {
		key := strings.ToLower(p.key)
		key, _, _ = strings.Cut(key, "[") // how PHP writes lists
		key = strings.TrimSpace(key)
		if tokenKeys[key] || tokenKeys[strings.ReplaceAll(key, ".", "_")] {
			return true
		}
		for _, s := range tokenStarts {
			if strings.HasPrefix(key, s) {
				return true
			}
		}
		for _, s := range tokenEnds {
			if strings.HasSuffix(key, s) {
				return true
			}
		}
	}
	return false
}

// neverShared are the rules that come first for every platform.
func neverShared() []rule {
	return []rule{
		pass("shared-method", "Only GET and HEAD ask for something and change nothing (RFC 9110 section 9.2.1).", func(q *ask) bool {
			return q.Method != http.MethodGet && q.Method != http.MethodHead
		}),
		pass("shared-upgrade", "A connection that changes its protocol belongs to the one who asked for it (RFC 9110 section 7.8).", func(q *ask) bool {
			return q.Header.Get("Upgrade") != "" && !strings.EqualFold(q.Header.Get("Upgrade"), "h2c")
		}),
		pass("shared-body", "A body may change what a GET means (RFC 9110 section 9.3.1).", func(q *ask) bool {
			length := q.Header.Get("Content-Length")
			return length != "" && length != "0" || q.Header.Get("Transfer-Encoding") != ""
		}),
		pass("shared-authorization", "What one gets with credentials is not another's (RFC 9111 section 3.5).", func(q *ask) bool {
			_, ok := q.Header["Authorization"]
			return ok
		}),
		pass("shared-credential-field", "The request says who asks in a field of its own: keys, tokens and passwords travel so beside Authorization.", func(q *ask) bool {
			for name := range q.Header {
				switch name {
				case "Cookie", "Cookie2", "Requesttoken", "Ocs-Apirequest", "X-Csrf-Token", "X-Xsrf-Token":
					// Browsers send these everywhere. They are left out of a shared
					// request, and what needs them is on no list of shared paths.
				default:
					if credentialField(name) {
						return true
					}
				}
			}
			return false
		}),
		pass("shared-token-query", "A token or signature in the query is the right of whoever has the link, ends some time, and often differs for each asker.", func(q *ask) bool {
			return q.asked && q.bearsToken()
		}),
		pass("shared-unclear-query", "A query that cannot be read in one way only may mean anything to the site.", func(q *ask) bool {
			return !q.asked
		}),
		pass("shared-unclear-path", "A path with empty or dot segments, encoded slashes, parameters or needless encoding may be another path to the site than to this box.", func(q *ask) bool {
			return !q.clear
		}),
	}
}

func operatorPass(patterns []string) rule {
	return pass("operator-pass", "The operator wants these paths passed.", func(q *ask) bool {
		return anyMatches(patterns, q.folded) || anyMatches(patterns, strings.ToLower(q.Path))
	})
}

func operatorShare(patterns []string) rule {
	never := neverShared()
	return share("operator-share", "The operator says that these paths are for everybody; they are asked for without cookies, and the answer's own words count (RFC 9111).",
		func(q *ask) bool {
			for _, r := range never {
				if _, applies := r.plan(q); applies {
					return false
				}
			}
			return anyMatches(patterns, q.path)
		},
		terms{own: true, most: forever, refused: minute})
}
