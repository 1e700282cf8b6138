package profile

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"preau/cache/rfc9111"
)

// rule is one line of a platform's table.
type rule struct {
	Rule
	// plan says what is done with a request that the rule is about; false for
	// the others.
	plan func(q *ask) (Plan, bool)
	// terms say what an answer to it means; zero for what passes.
	terms terms
	// special is asked before the terms are.
	special func(on *rule, plan Plan, r Response) (Ruling, bool)
}

// pass makes a rule for what goes to the site untouched.
func pass(name, why string, when func(q *ask) bool) rule {
	return rule{Rule: Rule{name, why}, plan: func(q *ask) (Plan, bool) { return Plan{}, when(q) }}
}

// share makes a rule for what is for everybody.
func share(name, why string, when func(q *ask) bool, on terms) rule {
	return rule{
		Rule: Rule{name, why},
		plan: func(q *ask) (Plan, bool) {
			return Plan{Do: Share, Targets: []Target{q.itself()}, Anonymous: true, Listed: on.listed, Dated: on.dates}, when(q)
		},
		terms: on,
	}
}

func everything(*ask) bool { return true }

// Request says what is done with a request.
func (p *Profile) Request(r Request) Plan {
	plan, _ := p.walk(r, nil)
	return plan
}

// Explain says the same and which rules were looked at.
func (p *Profile) Explain(r Request) (Plan, []Step) {
	var steps []Step
	plan, _ := p.walk(r, func(s Step) { steps = append(steps, s) })
	return plan, steps
}

// walk goes through the rules to the first that applies; the last one always
// does.
func (p *Profile) walk(r Request, seen func(Step)) (Plan, *ask) {
	q := read(r)
	for i := range p.rules {
		on := &p.rules[i]
		plan, applies := on.plan(q)
		if seen != nil {
			seen(Step{on.Rule, applies})
		}
		if applies {
			plan.Rule = on.Rule
			p.mark(&plan, q)
			return plan, q
		}
	}
	return Plan{Do: Pass, Rule: Rule{p.name + "-unknown", "No rule speaks of it."}}, q
}

// mark adds what holds of a request whatever is done with it.
func (p *Profile) mark(plan *Plan, q *ask) {
	if p.marks == nil {
		return
	}
	plan.Capability, plan.Live = p.marks(q)
	if plan.Capability != "" {
		plan.Listed = false
	}
}

// Secret reports whether the request's URL holds something that opens a
// resource to whoever knows it, so that it may not be written down anywhere.
func (p *Profile) Secret(r Request) bool {
	plan, q := p.walk(r, nil)
	return plan.Capability != "" || !q.clear || q.bearsToken()
}

// Reads says how many bytes of a response's body Response wants to see.
func (p *Profile) Reads(status int, h http.Header) int {
	if p.reads == nil {
		return 0
	}
	return p.reads(status, h)
}

// Response says what an answer to a request with that plan means. A rewritten
// answer is answered in the same way as the one that it was made of.
func (p *Profile) Response(req Request, plan Plan, r Response) Ruling {
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Del(Field)
	on := p.named[plan.Name]
	if on == nil {
		return Ruling{Effect: Own, Rule: Rule{p.name + "-unknown", "The plan is none of this profile's."}}
	}
	if plan.Do == Share || plan.Do == Archive {
		on.terms.clean(r.Header)
	}
	if on.special != nil {
		if ruling, ok := on.special(on, plan, r); ok {
			return ruling
		}
	}
	switch plan.Do {
	case Pass:
		if p.dead != nil && plan.Capability != "" {
			if ruling, ok := p.dead(read(req), plan, r); ok {
				return ruling
			}
		}
		return Ruling{Effect: Own, Rule: on.Rule}
	case ByRFC9111:
		return on.terms.standard(on.Rule, r)
	}
	return on.terms.settle(on.Rule, plan, r)
}

// Probed says what the answer to a plan's probe means for its capability: Keep
// that it may be shared; Own that requests are the asker's own, and what is
// stored below Groups is not served any more; Gone as everywhere; Next that the
// answer said nothing. Whichever it is holds for Ruling.For.
func (p *Profile) Probed(plan Plan, status int, header http.Header, body []byte) Ruling {
	if p.asked == nil || plan.Probe == nil {
		return Ruling{Effect: Keep, Rule: plan.Rule, For: hour}
	}
	return p.asked(plan, status, header, body)
}

// Rules returns what rfc9111 may settle for a response that is stored with that
// header: Field comes before everything else that speaks of caching, and what
// the operator allows for a site that is down ends with the lease.
func (p *Profile) Rules(base rfc9111.Rules, stored http.Header) rfc9111.Rules {
	rules := base
	if p.bound > 0 { // nor is anything fresh by guesswork for longer
		rules.HeuristicMax = min(rules.HeuristicMax, p.bound)
	}
	said := stored[Field]
	if len(said) == 0 {
		return rules
	}
	rules.Targeted = append([]string{Field}, slices.DeleteFunc(slices.Clone(base.Targeted), func(name string) bool {
		return http.CanonicalHeaderKey(name) == Field
	})...)
	if lease, ok := leaseOf(said[len(said)-1]); ok {
		rules.StaleWhenDown = min(rules.StaleWhenDown, lease)
		rules.StaleOnError = min(rules.StaleOnError, lease)
	}
	return rules
}

func leaseOf(field string) (time.Duration, bool) {
	for member := range strings.SplitSeq(field, ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(member), "lease="); ok {
			n, err := strconv.ParseInt(v, 10, 32)
			return time.Duration(n) * time.Second, err == nil && n >= 0
		}
	}
	return 0, false
}

// Anonymise removes from a request's header what says who asks.
func Anonymise(h http.Header) {
	for name := range h {
		if credentialField(name) {
			delete(h, name)
		}
	}
}
