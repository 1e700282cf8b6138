package region

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/identity"
)

const (
	// returnsFor is how long it is remembered that a box has asked for its place
	// back: it asks every minute or so for as long as it is there.
	returnsFor = 10 * time.Minute
	// returnsOfOne bounds those who ask in the name of one box. Whoever has read
	// the note on its boot partition can. They must not keep the box itself out, so
	// who comes is let in, in the place of one of them at random.
	returnsOfOne = 4
	// returnsMost bounds them all.
	returnsMost = 512
	// returnLife is how long a box that was taken back has to enrol: it asks every
	// minute or so, and what it does not use must not lie about.
	returnLife = time.Hour
)

// asked is a box that asks, as servers tell one another.
type asked struct {
	enrol.Return

	Since, Seen time.Time
}

// returns is who asks this server for a place back. It lies in memory only: who is
// there goes on asking.
type returns struct {
	mu sync.Mutex
	of map[identity.Name][]asked
}

// note takes down that a box asks, and reports whether that is news. Who comes in
// another's place is none: they could fill the log by turns.
func (s *returns) note(r enrol.Return, now time.Time) (news bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	list := s.of[r.Name]
	for i, a := range list {
		if a.New == r.New && a.Secret == r.Secret {
			list[i].Return, list[i].Seen = r, now
			return false, nil
		}
	}
	if len(list) >= returnsOfOne {
		list[rand.IntN(len(list))] = asked{Return: r, Since: now, Seen: now}
		return false, nil
	}
	if n := s.count(); n >= returnsMost {
		return false, fmt.Errorf("%w: %d do", enrol.ErrTooMany, n)
	}
	if s.of == nil {
		s.of = map[identity.Name][]asked{}
	}
	s.of[r.Name] = append(list, asked{Return: r, Since: now, Seen: now})
	return true, nil
}

// forget drops who has stopped asking. The lock is held.
func (s *returns) forget(now time.Time) {
	for name, list := range s.of {
		list = slices.DeleteFunc(list, func(a asked) bool { return now.Sub(a.Seen) > returnsFor })
		if s.of[name] = list; len(list) == 0 {
			delete(s.of, name)
		}
	}
}

func (s *returns) count() (n int) {
	for _, list := range s.of {
		n += len(list)
	}
	return n
}

// all is who asks.
func (s *returns) all(now time.Time) []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	out := []asked{}
	for _, list := range s.of {
		out = append(out, list...)
	}
	return out
}

// openReturns has the metrics tell of those who ask.
func (g *Region) openReturns() error {
	err := g.reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_region_boxes_asking_back",
		Help: "Boxes whose disk does not open, and that ask this server for their place back.",
	}, func() float64 {
		names := map[identity.Name]bool{}
		for _, a := range g.waitingReturns(g.returns.all(time.Now())) {
			names[a.Name] = true
		}
		return float64(len(names))
	}))
	if err != nil {
		return fmt.Errorf("register metrics of boxes that ask: %w", err)
	}
	return nil
}

// TakeBack implements enrol.Registry. Everything is read from what this server has:
// nothing that anybody can send reaches the log.
func (reg registry) TakeBack(ctx context.Context, r enrol.Return) (bool, error) {
	g := reg.g
	// What it has is old, and no operator asks it: it must not be believed.
	if g.removed.Load() {
		return false, fmt.Errorf("%w: this server was removed from the region", enrol.ErrUnavailable)
	}
	if _, err := g.standingOf(r); err != nil {
		return false, err
	}
	state, err := g.stateOfReturn(r, time.Now())
	if err != nil || state == returnAccepted {
		return err == nil, err
	}
	news, err := g.returns.note(r, time.Now())
	if news {
		g.log.WarnContext(ctx, "a box can't open its disk and asks for its place back: call the school at the number that you have on file, compare the code with the one that the box shows, and take it back (preau readmit NAME --code CODE)",
			"box", string(r.Name), "why", r.Why, "code", r.Code())
	}
	return false, err
}

// standingOf is the box that asks, if the token that it names has made it what it
// is. Strangers are not told whether there is such a box.
func (g *Region) standingOf(r enrol.Return) (catalogue.Box, error) {
	unavailable := func(err error) (catalogue.Box, error) {
		return catalogue.Box{}, fmt.Errorf("%w: %w", enrol.ErrUnavailable, err)
	}
	token, ok, err := get[catalogue.Token](g, catalogue.KindToken, r.Token.String())
	if err != nil {
		return unavailable(err)
	}
	if !ok || token.Role != identity.Box || token.UsedBy != string(r.Name) {
		return catalogue.Box{}, enrol.ErrTokenUnknown
	}
	box, ok, err := get[catalogue.Box](g, catalogue.KindBox, token.UsedBy)
	if err != nil {
		return unavailable(err)
	}
	// A box of that name that was enrolled anew since is another one.
	if !ok || box.SPKI != token.UsedSPKI {
		return catalogue.Box{}, enrol.ErrTokenUnknown
	}
	if g.revoked.named(identity.Box, box.Name) {
		return catalogue.Box{}, enrol.ErrRevoked
	}
	return box, nil
}

type returnState int

const (
	returnWaits returnState = iota
	returnAccepted
)

// stateOfReturn is how far a box has come that asks. It is ErrTokenUnknown if the
// id that it has made up is that of somebody else's token: nothing may take an
// invitation's place.
func (g *Region) stateOfReturn(r enrol.Return, now time.Time) (returnState, error) {
	made, ok, err := get[catalogue.Token](g, catalogue.KindToken, r.New.String())
	switch {
	case err != nil:
		return returnWaits, fmt.Errorf("%w: %w", enrol.ErrUnavailable, err)
	case !ok:
		return returnWaits, nil
	case made.SecretHash != [32]byte(r.Secret) || made.Role != identity.Box:
		return returnWaits, enrol.ErrTokenUnknown
	case made.UsedBy == "" && !now.Before(made.NotAfter):
		return returnWaits, nil // it came too late, and asks again
	}
	return returnAccepted, nil
}

// waitingReturns are those of all that wait for an operator.
func (g *Region) waitingReturns(all []asked) []asked {
	return slices.DeleteFunc(all, func(a asked) bool {
		if _, err := g.standingOf(a.Return); err != nil {
			return true
		}
		state, err := g.stateOfReturn(a.Return, time.Now())
		return err != nil || state != returnWaits
	})
}

// gathered is who asks, at whatever servers: each once.
func gathered(all map[string]presence) []asked {
	type key struct {
		id   enrol.TokenID
		hash enrol.SecretHash
	}
	found := map[key]asked{}
	for _, p := range all {
		for _, a := range p.Returns {
			k := key{a.New, a.Secret}
			if old, ok := found[k]; ok {
				if old.Since.Before(a.Since) {
					a.Since = old.Since
				}
				if old.Seen.After(a.Seen) {
					a.Seen = old.Seen
				}
			}
			found[k] = a
		}
	}
	return slices.SortedFunc(maps.Values(found), func(x, y asked) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Code(), y.Code()))
	})
}

// returnsBy is who waits for an operator, by the box that they ask as.
func (g *Region) returnsBy(all map[string]presence) map[string][]control.Return {
	out := map[string][]control.Return{}
	for _, a := range g.waitingReturns(gathered(all)) {
		name := string(a.Name)
		out[name] = append(out[name], control.Return{Code: a.Code(), Name: string(a.NewName()), Why: a.Why, Since: a.Since.UTC(), Seen: a.Seen.UTC()})
	}
	return out
}

// chosen is who asks as a box with a code.
func chosen(all map[string]presence, box, code string) (asked, error) {
	list := slices.DeleteFunc(gathered(all), func(a asked) bool { return string(a.Name) != box })
	i := slices.IndexFunc(list, func(a asked) bool { return a.Code() == code })
	switch {
	case len(list) == 0:
		return asked{}, failure{http.StatusNotFound, "not_found", fmt.Errorf("no box asks for its place back as %.40q, or it has stopped asking: preau boxes lists those that do", box)}
	case i < 0:
		return asked{}, failure{http.StatusConflict, "code", fmt.Errorf("who asks for a place back as %s has another code: if %s is what the box itself shows, somebody else asks in its name; wait until the box has asked too, and try again", box, code)}
	// Its disk is open, so it is not the one that asks.
	case merge(all)[box].Connected:
		return asked{}, failure{http.StatusConflict, "connected", fmt.Errorf("%s is connected, and somebody else asks in its name; wait a minute if it was just restarted, and try again", box)}
	}
	return list[i], nil
}

// takeBack makes the token that a box has made up an invitation of the region.
func (g *Region) takeBack(r *http.Request) (any, error) {
	q, err := decode[control.ReturnRequest](r)
	if err != nil {
		return nil, err
	}
	code := enrol.ParseCode(q.Code)
	if code == "" {
		return nil, invalid("%.40q is no code of a box: it has twelve characters, such as ABCD-EFGH-JKLM", q.Code)
	}
	// What is behind here could take the place of an invitation.
	if err := g.catchUp(r.Context()); err != nil {
		return nil, err
	}
	all, _ := g.others(r.Context())
	a, err := chosen(all, q.Box, code)
	if err != nil {
		return nil, err
	}
	box, err := g.standingOf(a.Return)
	if err != nil {
		return nil, failure{http.StatusConflict, "returns", fmt.Errorf("%s can't be taken back: %w", q.Box, err)}
	}
	state, err := g.stateOfReturn(a.Return, time.Now())
	if err != nil {
		return nil, failure{http.StatusConflict, "returns", fmt.Errorf("%s can't be taken back under this code: %w", q.Box, err)}
	}
	out := control.Returned{Box: box.Name, Name: string(a.NewName()), School: string(box.School)}
	if state == returnAccepted {
		// The same command again, as its answer may have been lost.
		made, _, err := get[catalogue.Token](g, catalogue.KindToken, a.New.String())
		out.Expires = made.NotAfter
		out.Index, _ = g.machine.Applied()
		return out, err
	}
	rec := catalogue.Token{
		ID: a.New.String(), SecretHash: [32]byte(a.Secret), Role: identity.Box, School: box.School,
		NotAfter: time.Now().Add(returnLife).UTC().Truncate(time.Second),
	}
	done, err := g.put(r, rec)
	if err != nil {
		return nil, err
	}
	out.Expires, out.Index = rec.NotAfter, done.Index
	return out, nil
}
