package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"preau/node/follow"
	"preau/node/listen"
	"preau/node/locate"
	"preau/node/names"
	"preau/node/names/records"
)

const (
	// lineWithin is how long a record waits for the region to be followed: a box
	// asks for a certificate as soon as it is started.
	lineWithin = 3 * time.Minute
	lineLook   = time.Second
)

// public is the box's part under its public name. Without one it is empty.
type public struct {
	keeper    *names.Keeper    // nil: certificates are in files, or there are none
	announcer *names.Announcer // nil: there is nobody to tell
}

// PublicName is how it stands with the box's public name.
type PublicName struct {
	Name  string    `json:"name"`
	Until time.Time `json:"certificate_until,omitzero"` // zero: there is none
	// Announced: devices are sent here.
	Announced bool   `json:"announced"`
	Why       string `json:"why,omitempty"`     // not
	Problem   string `json:"problem,omitempty"` // with getting the certificate
}

// openPublic reads the certificate that is here. Nothing waits for another.
func (b *Box) openPublic() error {
	cfg := b.cfg.Public
	if cfg.ACME.Enabled() {
		hosts := []string{cfg.Name}
		for _, s := range b.cfg.Site {
			hosts = append(hosts, names.Hosts(cfg.Name, s.Hosts)...)
		}
		var err error
		b.public.keeper, err = names.New(cfg.ACME, filepath.Join(b.cfg.Data, "certificates"), hosts, scribe{b.region}, b.log, b.reg)
		if err != nil {
			return fmt.Errorf("public name: %w", err)
		}
	}
	if cfg.Name != "" && !b.region.alone {
		b.public.announcer = names.NewAnnouncer(b.announcement, b.log)
	}
	return nil
}

// addPublic has the certificate renewed and the name announced.
func (b *Box) addPublic() {
	if k := b.public.keeper; k != nil {
		b.group.Add("public name's certificate", 15*time.Second, k.Run)
	}
	if a := b.public.announcer; a != nil {
		b.group.Add("public name", 5*time.Second, func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-b.region.opened:
			}
			return a.Run(ctx, regionLine{b.region.follower.Load()})
		})
	}
}

// listeners are the doors under the public name.
func (p *public) listeners(cfg names.Config) []listen.Config {
	if p.keeper == nil {
		return nil
	}
	return []listen.Config{{Address: cfg.ACME.Listen, Own: p.keeper.Certificate}}
}

func (p *public) challenges(next http.Handler) http.Handler {
	if p.keeper == nil {
		return next
	}
	return p.keeper.Challenges(next)
}

// door is where devices connect under the public name, and until when the
// certificate that they are shown is good.
func (b *Box) door() (door *listen.Server, until time.Time) {
	for _, d := range b.doors {
		if leaf, ok := d.Leaf(b.cfg.Public.Name); ok && leaf.NotAfter.After(until) {
			door, until = d, leaf.NotAfter
		}
	}
	return door, until
}

// announcement is what the region is told: nothing while devices had better go
// elsewhere.
func (b *Box) announcement() (locate.Announcement, string) {
	if boxes := b.near.boxes.Load(); boxes != nil && boxes.Draining() {
		return locate.Announcement{}, "the box is draining"
	}
	door, until := b.door()
	if door == nil {
		return locate.Announcement{}, "no listener has a certificate for that name"
	}
	tcp, ok := door.Addr().(*net.TCPAddr)
	if !ok {
		return locate.Announcement{}, "devices can't connect over TCP"
	}
	a := locate.Announcement{Host: b.cfg.Public.Name, Port: tcp.Port, Until: until.UTC(), Hosts: map[string]string{}}
	for _, s := range b.cfg.Site {
		a.Sites = append(a.Sites, s.Name)
		for _, host := range names.Hosts(a.Host, s.Hosts) {
			if _, covered := door.Leaf(host); covered {
				a.Hosts[s.Name] = host
				break
			}
		}
	}
	return a, ""
}

// publicName tells operators how it stands.
func (b *Box) publicName() *PublicName {
	if b.cfg.Public.Name == "" {
		return nil
	}
	_, until := b.door()
	p := &PublicName{Name: b.cfg.Public.Name, Until: until.UTC(), Why: "the box belongs to no region, which would send devices here"}
	if until.IsZero() {
		p.Until = time.Time{}
	}
	if a := b.public.announcer; a != nil {
		p.Announced, p.Why = a.Taken()
	}
	if k := b.public.keeper; k != nil {
		p.Problem = k.State().Problem
	}
	return p
}

// regionLine is the follower as names needs it.
type regionLine struct{ *follow.Follower }

// Tell implements names.Line.
func (l regionLine) Tell(ctx context.Context, path string, body []byte) ([]byte, error) {
	text, err := l.Follower.Tell(ctx, path, body)
	if errors.Is(err, follow.ErrUnknownThere) {
		err = fmt.Errorf("%w: %w", names.ErrUnknown, err)
	}
	return text, err
}

// scribe has the region write records. It implements names.Region.
type scribe struct{ m *membership }

// Record implements names.Region.
func (s scribe) Record(ctx context.Context, r records.Record) (time.Duration, error) {
	if s.m.alone {
		return 0, errors.New("this box belongs to no region that could write a record: set public.acme.challenge to http-01, or enrol the box (preau enrol)")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lineWithin, errors.New("the region could not be reached"))
	defer cancel()
	look := time.NewTicker(lineLook)
	defer look.Stop()
	for s.m.lineless() != "" {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-look.C:
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode record: %w", err)
	}
	text, err := s.m.follower.Load().Tell(ctx, records.Path, body)
	if err != nil {
		return 0, fmt.Errorf("have the region write a record: %w", err)
	}
	var w records.Written
	if err := json.Unmarshal(text, &w); err != nil || w.Settle < 0 || w.Settle > 3600 {
		return 0, errors.New("what the region says of the record makes no sense")
	}
	return time.Duration(w.Settle) * time.Second, nil
}
