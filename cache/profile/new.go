package profile

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Profile is the written rules for one kind of platform, as an operator has
// adjusted them. It does not change, and its methods may be called concurrently.
type Profile struct {
	name  string
	rules []rule
	named map[string]*rule
	marks func(q *ask) (capability string, live bool)
	reads func(status int, h http.Header) int
	asked func(plan Plan, status int, h http.Header, body []byte) Ruling
	dead  func(q *ask, plan Plan, r Response) (Ruling, bool)
	bound time.Duration // the operator's on freshness; 0 for none
}

// platform is what a platform's file says.
type platform struct {
	rules []rule
	// marks names the capability of a request and says whether people talk while
	// it is open; nil for neither.
	marks func(q *ask) (capability string, live bool)
	// reads is Profile.Reads; nil for never.
	reads func(status int, h http.Header) int
	// probed is Profile.Probed; nil where no plan has a probe.
	probed func(plan Plan, status int, h http.Header, body []byte) Ruling
	// dead looks in the answer to what was passed for that a capability opens
	// nothing; nil where that cannot be seen.
	dead func(q *ask, plan Plan, r Response) (Ruling, bool)
}

var platforms = []struct {
	name  string
	rules func(Adjust) platform
}{
	{"rfc9111", standard},
	{"nextcloud", nextcloud},
	{"peertube", peertube},
	{"etherpad", etherpad},
	{"discourse", discourse},
	{"wordpress", wordpress},
	{"jitsi", jitsi},
	{"kiwix", kiwix},
	{"s3-public", s3public},
}

// Names lists the profiles there are.
func Names() []string {
	list := make([]string, len(platforms))
	for i, p := range platforms {
		list[i] = p.name
	}
	return list
}

// New makes the profile of that name.
func New(name string, a Adjust) (*Profile, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	for _, known := range platforms {
		if known.name != name {
			continue
		}
		a.Pass, a.Share = folded(a.Pass), append([]string(nil), a.Share...)
		own := known.rules(a)
		p := &Profile{name: name, marks: own.marks, reads: own.reads, asked: own.probed, dead: own.dead, bound: a.FreshMax}
		p.rules = assemble(own.rules, a, name == "rfc9111")
		p.named = make(map[string]*rule, len(p.rules))
		for i := range p.rules {
			p.rules[i].terms.bound = a.FreshMax
			p.named[p.rules[i].Name] = &p.rules[i]
		}
		return p, nil
	}
	return nil, fmt.Errorf("profile %q is unknown: there are %s", name, strings.Join(Names(), ", "))
}

// Name returns the name that New was given.
func (p *Profile) Name() string { return p.name }

// assemble puts the rules in order: what holds for every platform, the
// operator's pass, the platform's rules, and before the last of them, which is
// for everything else, the operator's share. So an operator can add to what a
// platform's rules leave open, and undo none of them but by passing.
func assemble(own []rule, a Adjust, plain bool) []rule {
	var list []rule
	if !plain {
		list = append(list, neverShared()...)
	}
	if len(a.Pass) > 0 {
		list = append(list, operatorPass(a.Pass))
	}
	last := len(own) - 1
	list = append(list, own[:last]...)
	if len(a.Share) > 0 {
		list = append(list, operatorShare(a.Share))
	}
	return append(list, own[last])
}

// standard is RFC 9111 and nothing of our own.
func standard(Adjust) platform {
	return platform{rules: []rule{{
		Rule:  Rule{"rfc9111", "The standard for shared caches decides by the fields of request and response (RFC 9111)."},
		plan:  func(*ask) (Plan, bool) { return Plan{Do: ByRFC9111, Listed: true}, true },
		terms: terms{own: true, most: forever},
	}}}
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
	// forever is longer than anything says.
	forever = 100 * 365 * day
)
