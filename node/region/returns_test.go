package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"preau/node/control"
	"preau/replication/enrol"
	"preau/replication/identity"
)

func TestWhoAsksForAPlaceBackIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	ask := func(name string, id byte) enrol.Return {
		return enrol.Return{Name: identity.Name(name), New: enrol.TokenID{id}, Secret: enrol.SecretHash{id}, Why: "tpm"}
	}
	var s returns
	note := func(r enrol.Return, at time.Time, wantNews bool, wantErr error) {
		t.Helper()
		if news, err := s.note(r, at); news != wantNews || !errors.Is(err, wantErr) {
			t.Errorf("%s %x: %v, %v", r.Name, r.New, news, err)
		}
	}
	box := ask("library-1", 0)
	note(box, now, true, nil)
	note(box, now.Add(time.Minute), false, nil)
	// Whoever knows its note can ask too, and keeps the box itself out no better
	// than it keeps them out.
	has := func(r enrol.Return) bool {
		return slices.ContainsFunc(s.all(now), func(a asked) bool { return a.Return == r })
	}
	for id := byte(1); id < returnsOfOne; id++ {
		note(ask("library-1", id), now, true, nil)
	}
	gone := map[byte]bool{}
	for id := byte(returnsOfOne); id < 200; id++ {
		note(ask("library-1", id), now, false, nil)
		if !has(ask("library-1", id)) {
			t.Fatalf("newcomer %d is not let in", id)
		}
		for old := range byte(returnsOfOne) {
			if !has(ask("library-1", old)) {
				gone[old] = true
			}
		}
		if n := len(s.all(now)); n != returnsOfOne {
			t.Fatalf("%d are remembered", n)
		}
	}
	if len(gone) != returnsOfOne {
		t.Errorf("of the first, only %v ever make place", gone)
	}
	note(box, now, false, nil)
	note(box, now.Add(2*time.Minute), false, nil)
	// Who asks no more is forgotten.
	later := now.Add(returnsFor + time.Minute)
	all := s.all(later)
	if len(all) != 1 || all[0].Return != box || !all[0].Since.Equal(now) || !all[0].Seen.Equal(now.Add(2*time.Minute)) {
		t.Errorf("after a while: %+v", all)
	}
	for i := range returnsMost - 1 {
		note(ask(fmt.Sprintf("box-%d", i), 1), later, true, nil)
	}
	note(ask("one-more", 1), later, false, enrol.ErrTooMany)
	note(box, later, false, nil)
	s.all(later.Add(2 * returnsFor))
	if len(s.of) != 0 {
		t.Errorf("%d are never forgotten", len(s.of))
	}
}

func TestWhatServersHaveHeardIsPutTogether(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	one := enrol.Return{Name: "library-1", New: enrol.TokenID{1}, Secret: enrol.SecretHash{1}}
	two := enrol.Return{Name: "library-1", New: enrol.TokenID{1}, Secret: enrol.SecretHash{2}}
	sent, err := json.Marshal(presence{Returns: []asked{{Return: one, Since: now, Seen: now.Add(time.Minute)}, {Return: two, Since: now.Add(time.Hour), Seen: now.Add(time.Hour)}}})
	if err != nil {
		t.Fatal(err)
	}
	var s1 presence
	if err := json.Unmarshal(sent, &s1); err != nil {
		t.Fatal(err)
	}
	all := map[string]presence{
		"s1": s1,
		"s2": {Returns: []asked{{Return: one, Since: now.Add(-time.Minute), Seen: now}}},
		"s3": {}, // of an older version
	}
	got := gathered(all)
	if len(got) != 2 || got[0].Return != one || !got[0].Since.Equal(now.Add(-time.Minute)) || !got[0].Seen.Equal(now.Add(time.Minute)) || got[1].Return != two {
		t.Errorf("together they say %+v", got)
	}
}

func TestOnlyABoxThatIsAwayIsTakenBack(t *testing.T) {
	asks := enrol.Return{Name: "library-1", New: enrol.TokenID{1}, Secret: enrol.SecretHash{1}}
	at := func(connected bool) map[string]presence {
		return map[string]presence{
			"s1": {Returns: []asked{{Return: asks}}},
			"s2": {Boxes: map[string]control.Box{"library-1": {Name: "library-1", Connected: connected}, "library-2": {Name: "library-2", Connected: true}}},
		}
	}
	if a, err := chosen(at(false), "library-1", asks.Code()); err != nil || a.Return != asks {
		t.Errorf("one that is away: %+v, %v", a, err)
	}
	for name, tt := range map[string]struct {
		connected bool
		box, code string
		status    int
		is        string
	}{
		"connected":    {true, "library-1", asks.Code(), http.StatusConflict, "connected"},
		"another code": {true, "library-1", "AAAA-AAAA-AAAA", http.StatusConflict, "code"},
		"asks not":     {false, "library-2", asks.Code(), http.StatusNotFound, "not_found"},
	} {
		_, err := chosen(at(tt.connected), tt.box, tt.code)
		if f, ok := errors.AsType[failure](err); !ok || f.status != tt.status || f.code != tt.is {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAServerThatWasRemovedTakesNothingDown(t *testing.T) {
	g := &Region{}
	g.removed.Store(true)
	if ok, err := (registry{g}).TakeBack(t.Context(), enrol.Return{Name: "library-1"}); ok || !errors.Is(err, enrol.ErrUnavailable) {
		t.Errorf("it says %v, %v", ok, err)
	}
}
