package watch_test

import (
	"testing"

	"preau/node/watch"
)

func heard(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhoWatchesIsToldOnceUntilTheyListen(t *testing.T) {
	t.Parallel()
	var b watch.Bell
	b.Tell() // to nobody
	one, stop := b.Watch()
	two, end := b.Watch()
	defer end()
	if heard(one) {
		t.Error("told of what was before")
	}
	b.Tell()
	b.Tell()
	if !heard(one) || heard(one) || !heard(two) {
		t.Error("not told, or more than once")
	}
	stop()
	stop() // again does nothing
	b.Tell()
	if heard(one) || !heard(two) {
		t.Error("who has stopped is told, or who has not is not")
	}
}
