package lesson

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Merge returns the one of two versions of a lesson that counts, whichever of them
// is met first: the one that was written later. Two that claim to be the same and
// are not, as after a disk was put back, are told apart by their bytes, so that all
// boxes choose the same.
func Merge(a, b Lesson) Lesson {
	switch {
	case a.Version.After(b.Version):
		return a
	case b.Version.After(a.Version):
		return b
	}
	x, errA := json.Marshal(a.plain())
	y, errB := json.Marshal(b.plain())
	if errA == nil && errB == nil && bytes.Compare(x, y) < 0 {
		return b
	}
	return a
}

// plain is the lesson with its time as all boxes write it.
func (l Lesson) plain() Lesson {
	l.Date = l.Date.UTC().Round(0).Truncate(time.Second)
	return l
}

// Stamp is which version of a lesson a box has.
type Stamp struct {
	ID      string  `json:"id"`
	Version Version `json:"version"`
}

// Newer returns those of lessons that are newer than what somebody says to have.
func Newer(lessons []Lesson, have []Stamp) []Lesson {
	had := make(map[string]Version, len(have))
	for _, st := range have {
		if v, twice := had[st.ID]; !twice || st.Version.After(v) {
			had[st.ID] = st.Version
		}
	}
	return slices.DeleteFunc(slices.Clone(lessons), func(l Lesson) bool {
		v, known := had[l.ID]
		return known && !l.Version.After(v)
	})
}
