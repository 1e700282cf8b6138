package mdns

import (
	"context"
	"errors"
	"slices"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// watch tells the loop when the interfaces may have changed.
func (r *run) watch(ctx context.Context) {
	err := links.Watch(ctx, func() {
		select {
		case r.changed <- struct{}{}:
		default: // it knows already
		}
	})
	if err == nil {
		return
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		r.log.WarnContext(ctx, "changes of interfaces are found by looking every few seconds only", "err", err)
	}
	close(r.unheard)
}

// look does what the interfaces ask for.
func (r *run) look(ctx context.Context, now time.Time) {
	var errs []error
	all, err := links.List(r.cfg.Interfaces)
	if err != nil {
		all, errs = r.links, append(errs, err)
	}
	r.apply(now, all)
	for i := range r.sockets {
		if r.sockets[i] == nil {
			// A system without one of the families has no address of it either.
			needed := slices.ContainsFunc(all, func(l links.Link) bool { return l.Has(i == 1) })
			if r.sockets[i], err = r.open(ctx, i == 1); err != nil && needed {
				errs = append(errs, err)
			}
		}
		if s := r.sockets[i]; s != nil {
			errs = append(errs, s.join(all))
		}
	}
	errs = append(errs, r.announcer.sync(all, r.joined))
	r.lookAt = now.Add(lookSeldom)
	if !r.watched {
		r.lookAt = now.Add(lookOften)
	}
	if r.complain(ctx, errors.Join(errs...)) {
		r.lookAt = now.Add(r.retry)
	}
}

// joined says by which families a link can be heard.
func (r *run) joined(index int) [2]bool {
	var out [2]bool
	for i, s := range r.sockets {
		if s != nil {
			_, out[i] = s.joined[index]
		}
	}
	return out
}

// apply takes in which links there are now.
func (r *run) apply(now time.Time, all []links.Link) {
	if !links.Diff(r.links, all).None() || r.turns.next().IsZero() {
		r.turns.hurry(now)
		r.whole = true
	}
	r.links, r.lookedAt = all, now
	r.responder.SetLinks(now, all)
	r.mu.Lock()
	news := r.table.keep(all)
	r.mu.Unlock()
	if news {
		r.tell()
	}
}

// complain says what is wrong, once for each trouble, and whether something is.
// What stays wrong is tried again less and less often.
func (r *run) complain(ctx context.Context, err error) bool {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	r.retry = min(2*r.retry, lookSeldom)
	if trouble != r.trouble && err != nil {
		r.retry = lookSoon
		r.log.WarnContext(ctx, "not all of the network hears of this box; trying again", "err", err)
	}
	r.trouble = trouble
	return err != nil
}

// open opens the socket of a family and reads it.
func (r *run) open(ctx context.Context, v6 bool) (*socket, error) {
	s, err := openSocket(ctx, v6)
	if err != nil {
		return nil, err
	}
	r.wg.Go(func() {
		buf := make([]byte, message.MaxSize+1)
		for {
			p, err := s.read(buf)
			if err != nil {
				select {
				case r.broken <- s:
				case <-ctx.Done():
				}
				return
			}
			if !concerns(p.data, r.words) {
				r.count(p.data)
				continue
			}
			select {
			case r.packets <- p:
			case <-ctx.Done():
				return
			}
		}
	})
	return s, nil
}

func (r *run) close(s *socket) {
	_ = s.conn.Close() //nolint:errcheck // nothing is left to lose
	if i := slices.Index(r.sockets[:], s); i >= 0 {
		r.sockets[i] = nil
	}
}

// refresh looks the addresses up before they are answered with. What else a
// change asks for is done right after.
func (r *run) refresh(now time.Time) {
	all, err := links.List(r.cfg.Interfaces)
	if err != nil {
		return // what is known is answered with
	}
	if !links.Diff(r.links, all).None() {
		r.lookAt = now
	}
	r.apply(now, all)
}
