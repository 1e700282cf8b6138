package follow

import (
	"cmp"
	"slices"
	"time"

	"preau/node/control"
	"preau/replication/wire"
)

// Standing is how it stands with a box and its region, as the box sees it.
type Standing struct {
	Region string `json:"region"`
	Box    string `json:"box"`
	School string `json:"school"`
	// Server is the one that is followed, empty if none is.
	Server      string         `json:"server,omitempty"`
	Since       time.Time      `json:"since,omitzero"`
	Certificate time.Time      `json:"certificate_until"`
	Paths       []control.Path `json:"paths"` // to the region's servers
	// Wanted is how many of the region's files are to be here by pins,
	// subscriptions and hints; Present are those that are, whole.
	Wanted  uint64 `json:"wanted"`
	Present uint64 `json:"present"`
	Bytes   uint64 `json:"present_bytes"`
	// PinsFull: there is no room to keep all that is pinned.
	PinsFull bool `json:"pins_full"`
}

// Standing tells how it stands. It may be called at any time.
func (f *Follower) Standing() Standing {
	held := region{f}.Held()
	s := Standing{
		Region: string(f.id.Region), Box: string(f.id.Name), School: string(f.id.School), Certificate: f.notAfter().UTC(),
		Paths: pathsOf(f.dialer.Paths(), f.feeder.Paths()), Wanted: held.Wanted, Present: held.Present, Bytes: held.Bytes, PinsFull: f.pinsFull.Load(),
	}
	if s.Server, s.Since = f.Connected(); s.Server != "" {
		s.Since = s.Since.UTC()
	} else {
		s.Since = time.Time{}
	}
	return s
}

// pathsOf puts the paths of the feed and of all else together. Each way that a
// server is reached is one.
func pathsOf(bulk, feeds []wire.PathState) []control.Path {
	out := []control.Path{}
	for _, s := range slices.Concat(bulk, feeds) {
		if s.Used.IsZero() && s.Failed.IsZero() {
			continue
		}
		out = append(out, control.PathOf(s))
	}
	slices.SortStableFunc(out, func(a, b control.Path) int { return cmp.Compare(a.To, b.To) })
	return out
}
