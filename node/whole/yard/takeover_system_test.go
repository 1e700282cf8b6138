//go:build system && linux

package yard_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// takesOver has a device that knows preau.local only, and kills
// the box that it is led to in the middle of a download.
func takesOver(t *testing.T, y *yard) {
	const size = 12 * mib
	file := path(t, "film", size)
	body, want, err := y.site.file(file)
	if err != nil {
		t.Fatal(err)
	}

	all, err := y.resolve(t.Context(), "preau", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range y.boxes {
		if !slices.Contains(all, b.host.Addr) {
			t.Errorf("%s at %v does not answer for preau.local: %v", b.name, b.host.Addr, all)
		}
	}
	for _, a := range all {
		if !slices.ContainsFunc(y.boxes, func(b *box) bool { return b.host.Addr == a }) {
			t.Errorf("preau.local is also %v", a)
		}
	}

	d := y.device(0)
	defer d.close()
	sum := sha256.New()
	victim := y.boxes[slices.IndexFunc(y.boxes, func(b *box) bool { return b.host.Addr == all[0] })]
	killed := make(chan time.Time, 1)
	go func() {
		time.Sleep(2500 * time.Millisecond) // about half of it has come then
		victim.kill(t)
		killed <- time.Now()
	}()
	first, err := d.into(t.Context(), sum, victim.host.Addr.String(), file)
	if err == nil {
		t.Fatalf("the download was not cut off: %v for %d bytes", first.took, first.n)
	}
	if first.n == 0 || first.n >= size {
		t.Fatalf("cut off after %d bytes", first.n)
	}
	at := <-killed
	etag := first.header.Get("ETag")
	if etag == "" {
		t.Fatal("there is no entity tag to go on by")
	}

	// As a browser does: it asks for the name anew, and for the rest.
	var rest got
	var by netip.Addr
	resumed, err := took(20*time.Second, 0, func() error {
		found, err := y.resolve(t.Context(), "preau", 250*time.Millisecond)
		if err != nil {
			return err
		}
		by = found[0]
		if by == victim.host.Addr {
			return fmt.Errorf("preau.local is still %v", by)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if rest, err = d.into(ctx, sum, by.String(), file, "Range", fmt.Sprintf("bytes=%d-", first.n), "If-Range", etag); err != nil {
			t.Fatalf("the rest broke off too: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rest.status != http.StatusPartialContent || rest.header.Get("ETag") != etag {
		t.Errorf("the rest came as %d with %s, want 206 with %s", rest.status, rest.header.Get("ETag"), etag)
	}
	if wanted := fmt.Sprintf("bytes %d-%d/%d", first.n, size-1, size); rest.header.Get("Content-Range") != wanted {
		t.Errorf("Content-Range %q, want %q", rest.header.Get("Content-Range"), wanted)
	}
	if rest.sum != want || first.n+rest.n != int64(len(body)) {
		t.Errorf("together they are %d bytes and not the file", first.n+rest.n)
	}
	// When the device was served again: the survivor's answer began.
	served := time.Since(at) - (rest.took - rest.first)
	figure(t, "take-over of a download", "killed after %.1f MiB; another box goes on with it %v after the kill; whole after %v (%v)",
		float64(first.n)/mib, round(served), round(resumed), rest.from())
	if served > bound(8*time.Second) {
		t.Errorf("the device was served again %v after the kill", served)
	}

	// A device that asks at any moment is led to a box that lives.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		found, err := y.resolve(t.Context(), "preau", 200*time.Millisecond)
		if err != nil || slices.Contains(found, victim.host.Addr) {
			t.Errorf("preau.local is %v, %v", found, err)
		}
	}
	victim.run(t)
	back, err := took(30*time.Second, 0, func() error {
		found, err := y.resolve(t.Context(), "preau", 250*time.Millisecond)
		if err == nil && !slices.Contains(found, victim.host.Addr) {
			err = errors.New("the box that is back does not answer for preau.local")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	figure(t, "a box that is back answers for preau.local", "%v after its start", round(back))
}
