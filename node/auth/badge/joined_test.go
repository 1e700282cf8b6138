package badge_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"preau/node/auth/badge"
)

func TestABadgeIsJoinedOnceAndForAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "badges")
	r := open(t, file)
	b, _ := made(t, r, "Anne", noon.Add(100*day))
	for _, tt := range []struct {
		id, person string
		at         int
		want       error
	}{
		{"none", "oidc:anne", 1, badge.ErrUnknown}, {b.ID, "", 1, badge.ErrUnknown}, {b.ID, "oidc:anne", 101, badge.ErrUnknown},
		{b.ID, "oidc:anne", 1, nil}, {b.ID, "oidc:anne", 2, nil}, {b.ID, "oidc:paul", 2, badge.ErrOwned},
	} {
		if _, err := r.Join(tt.id, tt.person, noon.Add(time.Duration(tt.at)*day)); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if got := open(t, file).Person(b.ID); got != "oidc:anne" {
		t.Errorf("after a restart it is %q's", got)
	}
	// It outlives the badge in the list.
	if err := r.Tick(noon.Add(99 * day)); err != nil {
		t.Fatal(err)
	}
	if err := r.Tick(noon.Add(190 * day)); err != nil {
		t.Fatal(err)
	}
	if r = open(t, file); len(r.List()) != 0 || r.Person(b.ID) != "oidc:anne" {
		t.Errorf("%d badges, it is %q's", len(r.List()), r.Person(b.ID))
	}
}
