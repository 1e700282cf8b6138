package outbox

import "fmt"

// InRegionAs returns the deposit of this box that the region calls id.
func (o *Outbox) InRegionAs(id string) (Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.regional(id); d != nil {
		return *d, nil
	}
	return Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
}

// regional finds a deposit by its name in the region. o.mu is held.
func (o *Outbox) regional(id string) *Deposit {
	if own, ok := o.renamed[id]; ok {
		return o.deposits[own]
	}
	if d := o.deposits[id]; d != nil && d.As == "" {
		return d
	}
	return nil
}

// rename gives a deposit another name in the region.
func (o *Outbox) rename(id string) (Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.deposits[id]
	if !ok {
		return Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	now := *d
	now.As = randomID()
	if err := o.write(now); err != nil {
		return now, err
	}
	delete(o.renamed, d.As)
	o.renamed[now.As] = id
	*d = now
	o.tell()
	return now, nil
}

// Learn tells what the region's catalogue says of the deposit that it calls id:
// it is agreed on, or kept by the centre. One that is not here is none of ours.
func (o *Outbox) Learn(id string, state State, bucket, key, etag, waiting string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.regional(id)
	if d == nil || rank(state) < rank(d.State) {
		return nil
	}
	if d.Waiting != waiting {
		d.Waiting = waiting
		o.tell()
	}
	if state == d.State && d.Key == key && d.Bucket == bucket {
		return nil
	}
	now := *d
	now.State, now.Bucket, now.Key, now.ETag, now.Waiting, now.Sent = state, bucket, key, etag, waiting, d.Length
	now.Held = nil // others drop their copies when they hear of it
	if err := o.write(now); err != nil {
		return err
	}
	*d = now
	o.tell()
	return nil
}

// Forgotten tells that the region does not know the deposit that it called id and
// had agreed on, as when its servers had to be set back: it is brought again. One that the
// centre keeps stays what it is.
func (o *Outbox) Forgotten(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.regional(id)
	if d == nil || d.State != InRegion {
		return nil
	}
	now := *d
	now.State, now.Waiting, now.Sent = OnBox, "the region has lost it", 0
	if err := o.write(now); err != nil {
		return err
	}
	*d = now
	o.tell()
	o.Poke()
	return nil
}
