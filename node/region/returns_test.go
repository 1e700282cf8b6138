package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

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
	// Whoever knows its note can ask too, and pushes nobody out.
	for id := byte(1); id < returnsOfOne; id++ {
		note(ask("library-1", id), now, true, nil)
	}
	note(ask("library-1", 200), now, false, enrol.ErrUnavailable)
	note(box, now.Add(2*time.Minute), false, nil)
	if n := len(s.all(now.Add(2 * time.Minute))); n != returnsOfOne {
		t.Errorf("%d are remembered", n)
	}
	// Who asks no more is forgotten.
	later := now.Add(returnsFor + time.Minute)
	all := s.all(later)
	if len(all) != 1 || all[0].Return != box || !all[0].Since.Equal(now) || !all[0].Seen.Equal(now.Add(2*time.Minute)) {
		t.Errorf("after a while: %+v", all)
	}
	for i := range returnsMost - 1 {
		note(ask(fmt.Sprintf("box-%d", i), 1), later, true, nil)
	}
	note(ask("one-more", 1), later, false, enrol.ErrUnavailable)
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
