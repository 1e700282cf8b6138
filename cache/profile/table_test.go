package profile

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// plain is an anonymous browser's header.
func plain(fields ...string) http.Header {
	h := http.Header{"User-Agent": {"a browser"}, "Accept": {"*/*"}}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func get(target string, fields ...string) Request { return ask4(http.MethodGet, target, fields...) }

func ask4(method, target string, fields ...string) Request {
	path, query, _ := strings.Cut(target, "?")
	return Request{Method: method, Path: path, Query: query, Header: plain(fields...)}
}

func made(t *testing.T, name string, a Adjust) *Profile {
	t.Helper()
	p, err := New(name, a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// row is a request and what is done with it.
type row struct {
	ask  Request
	do   Do
	rule string
	// targets, where they matter, as path or path?query.
	targets string
}

// said is an answer to a request and what it means.
type said struct {
	ask    string
	target int
	status int
	fields string // "Name: value" lines
	body   string
	effect Effect
	rule   string // without the rule's own name where it begins with -
	field  string // of what is kept
	hold   time.Duration
}

// tables has every platform's rows; each rule has to be in one.
var tables = map[string]struct {
	asked    []row
	answered []said
}{
	"rfc9111":   {rfc9111Asked, rfc9111Answered},
	"nextcloud": {nextcloudAsked, nextcloudAnswered},
	"peertube":  {peertubeAsked, peertubeAnswered},
	"etherpad":  {etherpadAsked, etherpadAnswered},
	"discourse": {discourseAsked, discourseAnswered},
	"wordpress": {wordpressAsked, wordpressAnswered},
	"jitsi":     {jitsiAsked, jitsiAnswered},
	"kiwix":     {kiwixAsked, kiwixAnswered},
	"s3-public": {s3Asked, s3Answered},
}

func TestRequestsAreDealtWithAsTheTablesSay(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p := made(t, name, Adjust{})
			for _, r := range tables[name].asked {
				plan := p.Request(r.ask)
				what := r.ask.Method + " " + r.ask.Path + "?" + r.ask.Query
				if plan.Do != r.do || plan.Name != r.rule {
					t.Errorf("%s: do %d by %s, want %d by %s", what, plan.Do, plan.Name, r.do, r.rule)
				}
				if plan.Why == "" {
					t.Errorf("%s: no reason", what)
				}
				var targets []string
				for _, g := range plan.Targets {
					s := g.Path
					if g.Query != "" {
						s += "?" + g.Query
					}
					targets = append(targets, s)
				}
				if got := strings.Join(targets, " "); r.targets != "" && got != r.targets {
					t.Errorf("%s: asks for %s, want %s", what, got, r.targets)
				}
				if (plan.Do == Share || plan.Do == Archive) && len(plan.Targets) == 0 {
					t.Errorf("%s: nothing to ask for", what)
				}
			}
		})
	}
}

func TestAnswersMeanWhatTheTablesSay(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p := made(t, name, Adjust{})
			for _, s := range tables[name].answered {
				req := get(s.ask)
				plan := p.Request(req)
				r := Response{Status: s.status, Header: header(s.fields), Beginning: []byte(s.body), Target: s.target}
				got := p.Response(req, plan, r)
				want := s.rule
				if want == "" || want[0] == '-' {
					want = plan.Name + want
				}
				if got.Effect != s.effect || got.Name != want || got.Why == "" {
					t.Errorf("%s (%d, %q): effect %d by %q, want %d by %q", s.ask, s.status, s.fields, got.Effect, got.Name, s.effect, want)
				}
				if got.For != s.hold {
					t.Errorf("%s (%d, %q): holds for %v, want %v", s.ask, s.status, s.fields, got.For, s.hold)
				}
				if field := got.Header.Get(Field); field != s.field {
					t.Errorf("%s (%d, %q): %s: %s, want %s", s.ask, s.status, s.fields, Field, field, s.field)
				}
				if plan.Do != ByRFC9111 && len(got.Header["Set-Cookie"]) > 0 {
					t.Errorf("%s: a cookie is kept", s.ask)
				}
			}
		})
	}
}

func TestEachRuleHasAReasonAndACase(t *testing.T) {
	shared := map[string]bool{}
	for _, r := range neverShared() {
		shared[r.Name] = false
	}
	for _, name := range Names() {
		p := made(t, name, Adjust{})
		hit := map[string]bool{}
		for _, r := range tables[name].asked {
			hit[p.Request(r.ask).Name] = true
		}
		seen := map[string]bool{}
		for _, r := range p.rules {
			if seen[r.Name] {
				t.Errorf("%s: two rules are called %s", name, r.Name)
			}
			seen[r.Name] = true
			if r.Name == "" || strings.ContainsAny(r.Name, " \",;=") || len(r.Why) < 20 || !strings.HasSuffix(r.Why, ".") {
				t.Errorf("%s: rule %q with the reason %q", name, r.Name, r.Why)
			}
			if _, everybodys := shared[r.Name]; everybodys {
				shared[r.Name] = shared[r.Name] || hit[r.Name]
			} else if !hit[r.Name] {
				t.Errorf("%s: no case for rule %s", name, r.Name)
			}
		}
	}
	for name, hit := range shared {
		if !hit {
			t.Errorf("no case for rule %s", name)
		}
	}
}

// header reads "Name: value" lines.
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h.Add(strings.TrimSpace(name), value)
		}
	}
	return h
}
