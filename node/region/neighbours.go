package region

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// schoolBoxes is how many boxes of a school are remembered.
	schoolBoxes = 64
	// heardFor is how long it is remembered where a box was.
	heardFor = 30 * 24 * time.Hour
)

// whereabouts remember where each school's boxes have said that they are on their
// LAN, for those that can't find one another by multicast. It lies in memory
// alone: boxes say it again every few minutes, those of one school to the same
// server as long as that is there.
type whereabouts struct {
	mu sync.Mutex
	of map[identity.School]map[identity.Name]heard
}

type heard struct {
	addresses []string
	at        time.Time
}

// note remembers what a box says and returns what the others of its school have
// said.
func (s *whereabouts) note(box identity.Identity, addresses []string, now time.Time) []control.NeighbourBox {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[identity.School]map[identity.Name]heard{}
	}
	boxes := s.of[box.School]
	if boxes == nil {
		boxes = map[identity.Name]heard{}
		s.of[box.School] = boxes
	}
	maps.DeleteFunc(boxes, func(_ identity.Name, h heard) bool { return now.Sub(h.at) > heardFor })
	if _, known := boxes[box.Name]; known || len(boxes) < schoolBoxes {
		boxes[box.Name] = heard{addresses, now}
	}
	out := []control.NeighbourBox{}
	for _, name := range slices.Sorted(maps.Keys(boxes)) {
		if name != box.Name {
			out = append(out, control.NeighbourBox{Name: string(name), Addresses: boxes[name].addresses})
		}
	}
	return out
}

// serveNeighbours tells a box its school's key and where the school's other
// boxes are.
func (g *Region) serveNeighbours(r *http.Request) (any, error) {
	q, err := decode[control.NeighboursRequest](r)
	if err != nil {
		return nil, err
	}
	if len(q.Addresses) > control.MaxNeighbourAddresses {
		return nil, invalid("%d addresses are too many, the most is %d", len(q.Addresses), control.MaxNeighbourAddresses)
	}
	for _, text := range q.Addresses {
		a, err := netip.ParseAddrPort(text)
		if err != nil || !a.IsValid() || a.Addr().IsMulticast() || a.Addr().IsUnspecified() || a.Addr().IsLoopback() {
			return nil, invalid("%.60q is no address of a box on its LAN, like 10.1.2.3:7946", text)
		}
	}
	box, ok := wire.IdentityOf(r)
	if !ok || box.School == "" {
		return nil, invalid("only boxes of a school have neighbours")
	}
	key, err := g.schoolKey(box.School)
	if err != nil {
		return nil, err
	}
	answer := control.NeighboursAnswer{Key: key, Boxes: g.boxesAt.note(box, q.Addresses, time.Now())}
	answer.Boxes = slices.DeleteFunc(answer.Boxes, func(b control.NeighbourBox) bool {
		return g.revoked.has(wire.Peer{Identity: identity.Identity{Role: identity.Box, Name: identity.Name(b.Name)}})
	})
	return answer, nil
}

// schoolKey is what a school's boxes gossip under. Every server comes to the
// same one, and to another after a box of the school was revoked: that box knows
// the key, though it would not pass for a neighbour with it.
func (g *Region) schoolKey(school identity.School) ([]byte, error) {
	var gone []string
	err := each(g, catalogue.KindRevocation, func(r catalogue.Record, revoked catalogue.Revocation) bool {
		if revoked.Role == identity.Box && revoked.School == school {
			gone = append(gone, r.ID)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(gone)
	salt := sha256.Sum256([]byte(strings.Join(gone, "\n")))
	key, err := hkdf.Key(sha256.New, g.me.Secret(), salt[:], "preau school gossip key 1 "+string(school), 32)
	if err != nil {
		return nil, fmt.Errorf("make the school's key: %w", err)
	}
	return key, nil
}
