package profile

import (
	"net/http"
	"strings"
)

// What a public bucket's answers may be kept on.
var s3Object = terms{own: true, fresh: 5 * minute, most: 365 * day, lease: 30 * day, refused: minute, listed: true}

// s3public are the rules for objects that a bucket's policy gives to everybody.
func s3public(Adjust) platform {
	return platform{rules: []rule{
		pass("s3-list", "The list of a bucket changes with each upload.", func(q *ask) bool { return strings.HasSuffix(q.path, "/") }),
		pass("s3-subresource", "A query asks for a list, a policy or a part, not for the object.", func(q *ask) bool {
			for _, p := range q.pairs {
				if !strings.EqualFold(p.key, "versionId") {
					return true
				}
			}
			return false
		}),
		pass("s3-field", "Fields of the interface change what is answered.", func(q *ask) bool {
			for name := range q.Header {
				if strings.HasPrefix(name, "X-Amz-") {
					return true
				}
			}
			return false
		}),
		{
			Rule: Rule{"s3-object", "An object that is given without a signature is for everybody. Its tag changes with it; what does not say how long it holds is asked after each five minutes."},
			plan: func(q *ask) (Plan, bool) {
				return Plan{Do: Share, Targets: []Target{q.itself()}, Anonymous: true, Listed: true}, true
			},
			terms: s3Object,
			special: func(on *rule, _ Plan, r Response) (Ruling, bool) {
				if r.Status == http.StatusOK && r.Header.Get("Etag") == "" {
					return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-list", "An answer without a tag is no object, but a list."}}, true
				}
				return Ruling{}, false
			},
		},
	}}
}
