package follow

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/shelf"
)

func TestNothingIsFetchedAheadWhilePeopleTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var talking atomic.Bool
		q := quiet{talking: talking.Load, next: shelf.NewRate(0)}
		if err := q.WaitN(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		talking.Store(true)
		began := time.Now()
		time.AfterFunc(10*time.Minute, func() { talking.Store(false) })
		if err := q.WaitN(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 10*time.Minute || waited > 10*time.Minute+lookTalking {
			t.Errorf("waited %v", waited)
		}
		talking.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.WaitN(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the hours ended meanwhile: %v", err)
		}
		if err := (quiet{}).WaitN(t.Context(), 1); err != nil {
			t.Errorf("nobody tells who talks: %v", err)
		}
	})
}
