package update

import (
	"fmt"
	"time"
)

// Refused is a package that did not come back well, and is not tried again.
type Refused struct {
	Version string    `json:"version"`
	SHA256  string    `json:"sha256"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
}

// Choice is what a plan means for a box now.
type Choice struct {
	Wanted string // the version that the region wants here, if it says one
	Take   bool   // To is installed, and From is the way back
	To     Package
	From   Package
	Hours  []string // of the ring; none: it says nothing
	Why    string   // in words, for whatever was chosen
}

// Choose says what a box that has a version does of a plan. It takes nothing
// without a way back, nothing twice that went wrong, and nothing older unless the
// plan says so.
func Choose(p Plan, w Who, installed string, refused []Refused) Choice {
	if err := p.stranger(w); err != nil {
		return Choice{Why: err.Error()}
	}
	r, in := p.ring(w)
	switch {
	case r.Version == "" && len(p.Package) == 0:
		return Choice{Hours: r.Hours, Why: "the plan has settings alone: this box keeps its version"}
	case !in:
		return Choice{Why: "the plan has nothing for this box yet"}
	}
	c := Choice{Wanted: r.Version, Hours: r.Hours}
	order := Compare(r.Version, installed)
	switch {
	case order == 0:
		c.Why = "this box has the version that the region wants"
		return c
	case order < 0 && !r.Back:
		c.Why = fmt.Sprintf("the region wants %s, which is older than %s, and does not say that boxes go back", r.Version, installed)
		return c
	}
	var ok bool
	if c.To, ok = p.find(r.Version, w.Arch); !ok {
		c.Why = fmt.Sprintf("the plan has no package of %s for %s", r.Version, w.Arch)
		return c
	}
	for _, old := range refused {
		if old.SHA256 == c.To.SHA256 {
			c.Why = fmt.Sprintf("%s was tried here and given up: %s", r.Version, old.Why)
			return c
		}
	}
	if c.From, ok = p.find(installed, w.Arch); !ok {
		c.From = Package{Version: installed, Arch: w.Arch}
	}
	c.Take, c.Why = true, fmt.Sprintf("the region wants %s here", r.Version)
	return c
}
