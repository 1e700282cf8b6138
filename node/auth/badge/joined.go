package badge

import (
	"fmt"
	"slices"
	"time"
)

// MaxJoined is how many joined badges are remembered; beyond it the oldest is
// forgotten. It is what a school makes in some twenty years.
const MaxJoined = 2000

// Joined is a badge whose owner has shown to have an account, too.
type Joined struct {
	Badge  string // its id
	Person string // what the account's provider calls them, for ever
}

// Join says whose a badge is, once and for all. Errors: ErrUnknown for a badge that
// has ended, ErrOwned if it is somebody else's, the disk's.
func (r *Register) Join(id, person string, now time.Time) (b Badge, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.floor(now).Round(0)
	i := slices.IndexFunc(r.now.Badges, func(h held) bool { return h.ID == id && h.Live(now) })
	if i < 0 || person == "" {
		return b, ErrUnknown
	}
	b = r.now.Badges[i].Badge
	switch r.person(id) {
	case person:
		return b, nil
	case "":
	default:
		return b, ErrOwned
	}
	err = r.change(now, func(rec *record) error {
		rec.Joined = append(rec.Joined, Joined{id, person})
		rec.Joined = rec.Joined[max(0, len(rec.Joined)-MaxJoined):]
		return nil
	})
	if err != nil {
		return b, fmt.Errorf("join a badge: %w", err)
	}
	return b, nil
}

// Person is whose account the badge with an id was joined to; empty: nobody's.
func (r *Register) Person(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.person(id)
}

func (r *Register) person(id string) string {
	for _, j := range r.now.Joined {
		if j.Badge == id {
			return j.Person
		}
	}
	return ""
}

// Joined is all that were joined, the oldest first.
func (r *Register) Joined() []Joined {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.now.Joined)
}
