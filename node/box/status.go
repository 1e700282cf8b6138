package box

import (
	"context"
	"net/http"

	"preau/node/follow"
	"preau/node/near"
	"preau/node/obs"
	"preau/node/update"
	"preau/replication/outbox"
)

// statusDeposits is how many deposits that wait are told of one by one.
const statusDeposits = 50

// Status is how a box stands, for whoever looks after it.
type Status struct {
	Version string `json:"version"`
	// Region is nil if the box belongs to none, or can't take part in it: then
	// Problem says why.
	Region   *follow.Standing `json:"region"`
	Problem  string           `json:"problem,omitempty"`
	Deposits Waiting          `json:"deposits_waiting"` // for the centre
	// School is the other boxes of the school; nil if the box looks for none.
	School *near.Status `json:"neighbours"`
	// Update is how updates of the program stand; nil if nobody says.
	Update *update.Told `json:"update,omitempty"`
	// Public is nil if the box has no public name.
	Public *PublicName `json:"public,omitempty"`
	// Machine is nil if nothing is amiss with it.
	Machine *Machine `json:"machine,omitempty"`
}

// Waiting is what was added here and is not in the centre yet, oldest first.
type Waiting struct {
	Count int             `json:"count"`
	Bytes int64           `json:"bytes"`
	First []listedDeposit `json:"first"`
	// Closed: the folder of deposits can't be opened, or there is none.
	Closed bool `json:"closed"`
}

// Status tells how the box stands. It may be called at any time.
func (b *Box) Status(ctx context.Context) Status {
	s := Status{Version: obs.ReadBuild().Version, Deposits: b.deposits.waiting(ctx)}
	s.Region, s.Problem = b.region.standing()
	if boxes := b.near.boxes.Load(); boxes != nil {
		school := boxes.Status()
		s.School = &school
	}
	s.Public, s.Machine = b.publicName(), machine(b.cfg.Machine)
	s.Update = b.updates.told()
	return s
}

func (b *Box) status(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, r, http.StatusOK, b.Status(r.Context()))
}

// standing is the box's place in its region, or why it has none.
func (m *membership) standing() (*follow.Standing, string) {
	if f := m.follower.Load(); f != nil {
		s := f.Standing()
		return &s, ""
	}
	switch {
	case !Enrolled(m.cfg.Data):
		return nil, ""
	case m.alone:
		return nil, "the box can't take part in its region: enrol it anew (preau enrol --replace), its log says why"
	}
	return nil, "the disk has no room for what is known of the region: make room on it"
}

// waiting lists what is not in the centre.
func (d *deposits) waiting(ctx context.Context) Waiting {
	out := Waiting{First: []listedDeposit{}}
	_, box, leave, ok := d.use(ctx)
	if !ok {
		out.Closed = true
		return out
	}
	defer leave()
	all := box.List() // latest first
	for i := range all {
		o := all[len(all)-1-i]
		if o.State == outbox.InCentral {
			continue
		}
		out.Count++
		out.Bytes += o.Length
		if len(out.First) < statusDeposits {
			out.First = append(out.First, d.view(o))
		}
	}
	return out
}
