package region

import (
	"context"
	"errors"
	"math"
	"net/http"

	"preau/node/control"
	"preau/replication/catalogue"
)

// get reads one record of this server's catalogue, if it is there.
func get[T catalogue.Fact](g *Region, kind catalogue.Kind, id string) (T, bool, error) {
	var zero T
	view, err := g.state.View()
	if err != nil {
		return zero, false, err
	}
	rec, err := view.Get(kind, id)
	if err := errors.Join(view.Close(), ignore(err, catalogue.ErrNotFound)); err != nil {
		return zero, false, err
	}
	if err != nil || rec.Deleted {
		return zero, false, nil
	}
	v, err := catalogue.Body[T](rec)
	return v, err == nil, err
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// each reads all records of a kind until fn returns false.
func each[T catalogue.Fact](g *Region, kind catalogue.Kind, fn func(catalogue.Record, T) bool) error {
	view, err := g.state.View()
	if err != nil {
		return err
	}
	var bad error
	err = view.List(kind, "", func(rec catalogue.Record) bool {
		if rec.Deleted {
			return true
		}
		v, err := catalogue.Body[T](rec)
		if err != nil {
			bad = err
			return false
		}
		return fn(rec, v)
	})
	return errors.Join(err, bad, view.Close())
}

// resources reads all that is published, in the order of its latest changes,
// until fn returns false or ctx ends. That order is the one in which records lie
// on the disk: with a million of them, going by their ids takes twice the time.
func (g *Region) resources(ctx context.Context, fn func(catalogue.Resource) bool) error {
	view, err := g.state.View()
	if err != nil {
		return err
	}
	var bad error
	err = view.Changes(0, math.MaxUint64, func(rec catalogue.Record) bool {
		if rec.Kind != catalogue.KindResource || rec.Deleted {
			return true
		}
		res, err := catalogue.Body[catalogue.Resource](rec)
		if err != nil {
			bad = err
			return false
		}
		return fn(res) && ctx.Err() == nil
	})
	return errors.Join(err, bad, view.Close(), ctx.Err())
}

// servers are the region's, as the catalogue knows them.
func (g *Region) servers() []catalogue.Server {
	var out []catalogue.Server
	err := each(g, catalogue.KindServer, func(_ catalogue.Record, s catalogue.Server) bool {
		out = append(out, s)
		return true
	})
	if err != nil {
		g.log.Error("the list of servers can't be read", "err", err)
	}
	return out
}

// count counts the records of each kind that operators ask about.
func (g *Region) count(into map[string]int64) error {
	view, err := g.state.View()
	if err != nil {
		return err
	}
	counts := view.Counts()
	for name, kind := range kinds {
		into[name] = int64(counts[kind])
	}
	return view.Close()
}

// kinds are what operators can list, by the names they use.
var kinds = map[string]catalogue.Kind{
	"servers": catalogue.KindServer, "schools": catalogue.KindSchool, "boxes": catalogue.KindBox,
	"revocations": catalogue.KindRevocation, "policies": catalogue.KindPolicy, "collections": catalogue.KindCollection,
	"resources": catalogue.KindResource, "subscriptions": catalogue.KindSubscription, "pins": catalogue.KindPin,
	"purges": catalogue.KindPurge, "popularity": catalogue.KindPopularity, "deposits": catalogue.KindDeposit,
}

// maxListed bounds one answer; after=ID asks for more.
const maxListed = 1000

// records lists the catalogue's records of a kind.
func (g *Region) records(r *http.Request) (any, error) {
	name := r.PathValue("kind")
	kind, ok := kinds[name]
	if !ok {
		return nil, invalid("there are no %q: ask for servers, schools, boxes, revocations, policies, collections, resources, subscriptions, pins, purges, deposits or popularity", name)
	}
	view, err := g.state.View()
	if err != nil {
		return nil, err
	}
	out := []control.Record{}
	var bad error
	err = view.List(kind, r.URL.Query().Get("after"), func(rec catalogue.Record) bool {
		if rec.Deleted {
			return true
		}
		value, err := readable(rec)
		if err != nil {
			bad = err
			return false
		}
		out = append(out, control.Record{Kind: kind.String(), ID: rec.ID, Index: rec.Index, At: rec.At, Value: value})
		return len(out) < maxListed
	})
	return out, errors.Join(err, bad, view.Close())
}

// readable is a record as its type, for JSON.
func readable(rec catalogue.Record) (any, error) {
	switch rec.Kind {
	case catalogue.KindServer:
		return catalogue.Body[catalogue.Server](rec)
	case catalogue.KindSchool:
		return catalogue.Body[catalogue.SchoolEntry](rec)
	case catalogue.KindBox:
		return catalogue.Body[catalogue.Box](rec)
	case catalogue.KindRevocation:
		return catalogue.Body[catalogue.Revocation](rec)
	case catalogue.KindPolicy:
		return catalogue.Body[catalogue.Policy](rec)
	case catalogue.KindCollection:
		return catalogue.Body[catalogue.Collection](rec)
	case catalogue.KindResource:
		return catalogue.Body[catalogue.Resource](rec)
	case catalogue.KindSubscription:
		return catalogue.Body[catalogue.Subscription](rec)
	case catalogue.KindPin:
		return catalogue.Body[catalogue.Pin](rec)
	case catalogue.KindPopularity:
		return catalogue.Body[catalogue.Popularity](rec)
	case catalogue.KindDeposit:
		return catalogue.Body[catalogue.Deposit](rec)
	default:
		return catalogue.Body[catalogue.Purge](rec)
	}
}
