package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/wire"
)

// keySchool is where it lies what the box knows of its school's other boxes.
var keySchool = []byte("node/school")

// School is what a box knows of its school's other boxes: enough to find them
// again after a power cut, with no line.
type School struct {
	// Key is what the school's boxes gossip under; Former the one before it, which
	// those use who have not heard of the new one.
	Key    []byte `json:"key"`
	Former []byte `json:"former,omitempty"`
	// Boxes are where the others were last, by name: addresses of their gossip.
	Boxes map[string][]netip.AddrPort `json:"boxes,omitempty"`
}

// mostSchool bounds what is kept of a school, in bytes.
const mostSchool = 64 << 10

// School returns what is known of the school's other boxes; the zero School if
// that is nothing yet.
func (f *Follower) School() (School, error) {
	b, err := f.store.Get(keySchool)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return School{}, nil
	case err != nil:
		return School{}, fmt.Errorf("read what is known of the school's boxes: %w", err)
	}
	var s School
	if err := json.Unmarshal(b, &s); err != nil || len(s.Key) != 32 {
		return School{}, nil // the region is asked again
	}
	return s, nil
}

// KeepSchool remembers what is known of the school's other boxes.
func (f *Follower) KeepSchool(s School) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode what is known of the school's boxes: %w", err)
	}
	if len(b) > mostSchool {
		return fmt.Errorf("what is known of the school's boxes takes %d bytes, the most is %d", len(b), mostSchool)
	}
	return f.store.write([]feed.Change{{Key: keySchool, Value: b}})
}

// SchoolChanged has something to receive when the region has enrolled a box of
// the school, or has taken one back.
func (f *Follower) SchoolChanged() <-chan struct{} { return f.boxes }

// AskSchool tells the region where this box is on its LAN, and returns the
// school's key and where the others have said that they are.
func (f *Follower) AskSchool(ctx context.Context, mine []netip.AddrPort) (key []byte, boxes map[string][]netip.AddrPort, err error) {
	q := control.NeighboursRequest{Addresses: []string{}}
	for _, a := range mine[:min(len(mine), control.MaxNeighbourAddresses)] {
		q.Addresses = append(q.Addresses, a.String())
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, nil, fmt.Errorf("encode where this box is: %w", err)
	}
	// The boxes of one school ask the same server, which so knows them all.
	raw, err := f.parents.ask(ctx, "boxes of "+string(f.id.School), control.NeighboursPath, body)
	if err != nil {
		return nil, nil, fmt.Errorf("ask the region for the school's boxes: %w", err)
	}
	var a control.NeighboursAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, nil, fmt.Errorf("what the region says of the school's boxes makes no sense: %w", err)
	}
	if len(a.Key) != 32 {
		return nil, nil, fmt.Errorf("the region gives a key of %d bytes for the school, want 32", len(a.Key))
	}
	boxes = map[string][]netip.AddrPort{}
	for _, b := range a.Boxes {
		for _, text := range b.Addresses[:min(len(b.Addresses), control.MaxNeighbourAddresses)] {
			if addr, err := netip.ParseAddrPort(text); err == nil {
				boxes[b.Name] = append(boxes[b.Name], addr)
			}
		}
	}
	return a.Key, boxes, nil
}

// Peer is what the region says of a box of this school: the key that it was
// enrolled with last. Its error says why the box is no neighbour. What the copy
// does not tell, as before the first contact, is left to the certificate.
func (f *Follower) Peer(name identity.Name) (identity.Key, error) {
	switch gone, err := f.revoked(identity.Box, string(name)); {
	case err != nil:
		return identity.Key{}, fmt.Errorf("look up box %s: %w", name, err)
	case gone:
		return identity.Key{}, fmt.Errorf("box %s: %w", name, wire.ErrRevoked)
	}
	rec, err := f.copy.Get(catalogue.KindBox, string(name))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return identity.Key{}, nil
	case err != nil:
		return identity.Key{}, fmt.Errorf("look up box %s: %w", name, err)
	case rec.Deleted:
		return identity.Key{}, fmt.Errorf("box %s is not in the region any more: %w", name, wire.ErrRevoked)
	}
	box, err := catalogue.Body[catalogue.Box](rec)
	if err != nil {
		return identity.Key{}, nil //nolint:nilerr // of a newer version: left to the certificate
	}
	if box.School != f.id.School {
		return identity.Key{}, fmt.Errorf("box %s is in school %s now: %w", name, box.School, wire.ErrForeign)
	}
	return identity.Key(box.SPKI), nil
}

// Admits says whether somebody who has connected is a box of this school that
// the region has not taken back.
func (f *Follower) Admits(p wire.Peer) bool {
	if p.Role != identity.Box || p.School != f.id.School || p.Region != f.id.Region || p.Name == f.id.Name {
		return false
	}
	key, err := f.Peer(p.Name)
	return err == nil && (key == identity.Key{} || key == p.Key)
}
