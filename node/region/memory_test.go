package region

import "testing"

func TestMemoryIsGivenBackWhenThereIsTimeForIt(t *testing.T) {
	const miB = 1 << 20
	type step struct {
		name        string
		collections uint32
		bytes       uint64 // from the system
		want        bool
		after       uint64 // bytes, where it is done
	}
	var tidy tidier
	for _, s := range []step{
		{"at first", 2, 100 * miB, true, 90 * miB},
		{"since that helped", 3, 90 * miB, true, 89 * miB},
		{"no more", 4, 89 * miB, false, 0},
		{"nothing has changed", 4, 89*miB + miB, false, 0},
		{"much was taken", 5, 120 * miB, true, 120 * miB},
		{"it was of no use", 6, 120 * miB, false, 0},
		{"busy", 40, 200 * miB, false, 0},
		{"quiet again", 41, 200 * miB, true, 100 * miB},
	} {
		got := tidy.due(s.collections, s.bytes)
		if got != s.want {
			t.Errorf("%s: due = %v, want %v", s.name, got, s.want)
		}
		if got {
			tidy.done(s.collections+1, s.after)
		}
	}
}

func TestLessGarbageWaitsWhileManyBoxesFollow(t *testing.T) {
	percent := gcPercent
	for _, s := range []struct {
		boxes, want int
	}{
		{0, gcPercent}, {crowd - 1, gcPercent}, {crowd, gcCrowded}, {3000, gcCrowded},
		{crowd - 1, gcCrowded}, {crowd / 2, gcCrowded}, {crowd/2 - 1, gcPercent}, {crowd / 2, gcPercent},
	} {
		if percent = percentFor(s.boxes, percent); percent != s.want {
			t.Errorf("%d boxes: %d %%, want %d", s.boxes, percent, s.want)
		}
	}
}
