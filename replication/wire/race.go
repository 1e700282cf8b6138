package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// finish is what a race brought: one of the two connections.
type finish struct {
	quic *quicConn
	tcp  *tls.Conn
}

func (f finish) way() Way {
	if f.quic != nil {
		return OverQUIC
	}
	return OverTCP
}

// race dials over both, the second one when the first has had its head start or
// has failed. The first handshake that is done wins, the other is given up, and
// nothing of it is left when race returns.
func (d *Dialer) race(ctx context.Context, target Target, first Way, tcp func(context.Context) (*tls.Conn, error)) (finish, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	type result struct {
		finish
		err error
	}
	results := make(chan result, 2)
	begin := func(way Way) {
		running.Go(func() {
			var r result
			if way == OverQUIC {
				r.quic, r.err = d.dialQUIC(ctx, target)
			} else {
				r.tcp, r.err = tcp(ctx)
			}
			results <- r
		})
	}
	second := OverTCP
	if first == OverTCP {
		second = OverQUIC
	}
	begin(first)
	waiting := 1
	timer := time.NewTimer(d.cfg.HeadStart)
	defer timer.Stop()
	late := timer.C
	var errs []error
	for {
		select {
		case <-late:
			late = nil
			begin(second)
			waiting++
		case r := <-results:
			waiting--
			if r.err == nil {
				cancel()
				for ; waiting > 0; waiting-- {
					if loser := <-results; loser.err == nil {
						loser.give()
					}
				}
				return r.finish, nil
			}
			errs = append(errs, r.err)
			if late != nil {
				late = nil
				begin(second)
				waiting++
			}
			if waiting == 0 {
				return finish{}, &dialError{errors.Join(errs...)}
			}
		}
	}
}

// give gives up a connection that nobody needs.
func (f finish) give() {
	if f.quic != nil {
		f.quic.close()
		<-f.quic.ended
	}
	if f.tcp != nil {
		f.tcp.NetConn().Close()
	}
}

// whereTo is the place of a target: see network.
func (d *Dialer) whereTo(ctx context.Context, target Target) place {
	p := place{address: target.Address}
	remote, err := d.resolve(ctx, target.Address)
	if err != nil {
		return p // dialling will say
	}
	if p.network, err = networkTo(remote); err != nil {
		p.network = network{}
	}
	return p
}
