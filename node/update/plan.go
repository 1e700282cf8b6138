package update

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"preau/node/config"
)

const (
	// PlanID is the id under which a region publishes its plan.
	PlanID = "preau-updates"
	// mostPlan is how long a signed plan may be, mostRings how many rings it may have,
	// and mostPackage how large a package may be.
	mostPlan, mostRings, mostPackage = 1 << 20, 1000, 1 << 30
)

// Plan says which version each of a region's boxes should have, and what it sets for
// them; one of the two will do. It counts only as the text below a signature.
type Plan struct {
	Serial   int64      `toml:"serial" doc:"A plan with a smaller number than one that a box has seen is not taken."`
	Region   string     `toml:"region" doc:"The region that it is for; empty for any."`
	Settings []Settings `toml:"settings" doc:"What it sets for boxes; all entries count that a box is in."`
	Ring     []Ring     `toml:"ring" doc:"Which boxes should have which version; the first ring that a box is in counts."`
	Package  []Package  `toml:"package" doc:"The packages of these versions, and of those that boxes have now."`
}

// Ring is some of the boxes, and the version that they should have. A ring that
// names neither schools nor boxes nor a share is everybody. In a plan of settings
// alone it has no version, and says when they may be taken.
type Ring struct {
	Version string   `toml:"version" doc:"The version; none in a plan without packages."`
	Schools []string `toml:"schools" doc:"Codes of schools."`
	Boxes   []string `toml:"boxes" doc:"Names of boxes."`
	Percent *float64 `toml:"percent" doc:"The share of the boxes, chosen by a hash of version and name."`
	Back    bool     `toml:"back" doc:"Whether boxes that have a later version go back to this one."`
	Hours   []string `toml:"hours" doc:"When they may, by their own clocks, such as 01:00-05:00; any is at any time."`
}

// Package is a version for one architecture.
type Package struct {
	Version string `toml:"version" doc:"The version."`
	Arch    string `toml:"arch" doc:"amd64 or arm64."`
	ID      string `toml:"id" doc:"The id under which it is published."`
	SHA256  string `toml:"sha256" doc:"Of the file."`
	Size    int64  `toml:"size" doc:"Of the file."`
}

// ParsePlan reads the text of a plan whose signature was found good. All mistakes
// are told.
func ParsePlan(text []byte) (Plan, error) {
	var p Plan
	if len(text) > mostPlan {
		return Plan{}, fmt.Errorf("the plan has %d bytes, more than %d", len(text), mostPlan)
	}
	if err := config.Parse("updates", text, &p, p.check); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// check is called once p is read.
func (p *Plan) check() error {
	var w config.Problems
	if p.Serial <= 0 {
		w.Addf("serial", "is missing: write a number that grows with each plan")
	}
	if len(p.Ring) == 0 && len(p.Settings) == 0 || len(p.Ring) > mostRings {
		w.Addf("ring", "there are %d: write at least one [[ring]] with a version, or [[settings]]", len(p.Ring))
	}
	have := map[string]bool{}
	for i, k := range p.Package {
		key := config.Item("package", i)
		if err := k.fault(); err != nil {
			w.Addf(key, "%v", err)
		}
		if named := k.Version + " " + k.Arch; have[named] {
			w.Addf(key, "%s is there twice", named)
		} else {
			have[named] = true
		}
	}
	for i, r := range p.Ring {
		key := config.Item("ring", i)
		none := r.Version == "" && len(p.Package) == 0 && len(p.Settings) > 0
		if !none && !slices.ContainsFunc(p.Package, func(k Package) bool { return k.Version == r.Version }) {
			w.Addf(key+".version", "there is no [[package]] of version %q", r.Version)
		}
		if r.Percent != nil && !(*r.Percent >= 0 && *r.Percent <= 100) {
			w.Addf(key+".percent", "is no share: write 0 to 100")
		}
		if _, err := ParseHours(r.Hours); err != nil {
			w.Addf(key+".hours", "%v", err)
		}
	}
	return w.Err()
}

// fault is what is wrong with a package.
func (k Package) fault() error {
	sum, err := hex.DecodeString(k.SHA256)
	switch {
	case !versions.MatchString(k.Version):
		return fmt.Errorf("%q is no version", k.Version)
	case k.Arch != "amd64" && k.Arch != "arm64":
		return fmt.Errorf("arch %q: write amd64 or arm64", k.Arch)
	case !validID(k.ID):
		return fmt.Errorf("id %q can't be one: letters, digits, . _ and -", k.ID)
	case err != nil || len(sum) != sha256.Size || strings.ToLower(k.SHA256) != k.SHA256:
		return fmt.Errorf("sha256 %q: write 64 digits 0-9 and a-f", k.SHA256)
	case k.Size <= 0 || k.Size > mostPackage:
		return fmt.Errorf("size %d: write that of the file, at most %d", k.Size, mostPackage)
	}
	return nil
}

func validID(s string) bool {
	return s != "" && len(s) <= 200 && s != "." && s != ".." && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// Who is the box that asks what the plan has for it.
type Who struct{ Region, School, Box, Arch string }

// ring is the first that a box is in.
func (p Plan) ring(w Who) (Ring, bool) {
	for _, r := range p.Ring {
		if r.holds(w) {
			return r, true
		}
	}
	return Ring{}, false
}

// holds reports whether a box is in the ring. Whoever is named is in it; of all
// others, or of all if nobody is named, the share is.
func (r Ring) holds(w Who) bool {
	named := slices.ContainsFunc(r.Schools, func(s string) bool { return strings.EqualFold(s, w.School) }) || slices.Contains(r.Boxes, w.Box)
	if r.Percent != nil {
		return named || share(r.Version, w) < *r.Percent
	}
	return named || len(r.Schools) == 0 && len(r.Boxes) == 0
}

// share is where a box stands between 0 and 100 for a version. It stays, so that a
// share that grows keeps those that it had; each version begins with others.
func share(version string, w Who) float64 {
	sum := sha256.Sum256([]byte(version + "\x00" + w.Region + "\x00" + w.Box))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53) * 100
}

// find is a version's package for an architecture.
func (p Plan) find(version, arch string) (Package, bool) {
	for _, k := range p.Package {
		if k.Version == version && k.Arch == arch {
			return k, true
		}
	}
	return Package{}, false
}
