package publish

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/central/store"
)

// job is an object to be looked at.
type job struct {
	b   *bucket
	key string
	// listed is what a listing said of it; nil: look for yourself.
	listed *store.Info
	hinted bool // its metadata may have changed even if the listing is as it was
	tries  int

	again bool // somebody asked for it while it was in hand
}

type jobName struct {
	b   *bucket
	key string
}

// queue holds the jobs in hand: each key once at most, from when it is put in to
// when it is finished, so that no key is worked on twice at a time. It owns no
// goroutine but timers, which close stops.
type queue struct {
	mu     sync.Mutex
	change *sync.Cond
	inHand map[jobName]*job
	small  []*job
	large  []*job
	larges int // in hand
	timers map[*job]*time.Timer
	closed bool
	gauge  prometheus.Gauge
}

func newQueue(gauge prometheus.Gauge) *queue {
	q := &queue{inHand: map[jobName]*job{}, timers: map[*job]*time.Timer{}, gauge: gauge}
	q.change = sync.NewCond(&q.mu)
	return q
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for j, t := range q.timers {
		t.Stop()
		delete(q.timers, j)
	}
	q.change.Broadcast()
}

// wake has everybody who waits look whether it is in vain.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.change.Broadcast()
}

func (j *job) large() bool { return j.listed != nil && j.listed.Size >= large }

// put puts j in hand, and waits while there are too many. A large one does not
// wait, and is left for the next pass if there are too many of its kind: it must
// not keep the small ones waiting. False: ctx or the queue has ended.
func (q *queue) put(ctx context.Context, j *job) bool {
	defer context.AfterFunc(ctx, q.wake)()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed || ctx.Err() != nil {
			return false
		}
		if there := q.inHand[jobName{j.b, j.key}]; there != nil {
			there.again = there.again || j.hinted
			return true
		}
		if j.large() && q.larges >= maxInHand/2 {
			return true
		}
		if len(q.inHand) < maxInHand {
			break
		}
		q.change.Wait()
	}
	q.inHand[jobName{j.b, j.key}] = j
	q.gauge.Set(float64(len(q.inHand)))
	q.push(j)
	return true
}

func (q *queue) push(j *job) {
	if j.large() {
		q.large = append(q.large, j)
		q.larges++
	} else {
		q.small = append(q.small, j)
	}
	q.change.Broadcast()
}

// next waits for a job. A worker for large ones takes those first. Nil: the
// queue has ended.
func (q *queue) next(forLarge bool) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed:
			return nil
		case forLarge && len(q.large) > 0:
			j := q.large[0]
			q.large = q.large[1:]
			return j
		case len(q.small) > 0:
			j := q.small[0]
			q.small = q.small[1:]
			return j
		}
		q.change.Wait()
	}
}

// finish takes j out of hand, unless somebody has asked for it again.
func (q *queue) finish(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.large() {
		q.larges--
	}
	if j.again && !q.closed {
		j.again, j.listed, j.hinted, j.tries = false, nil, true, 0
		q.push(j)
		return
	}
	delete(q.inHand, jobName{j.b, j.key})
	q.gauge.Set(float64(len(q.inHand)))
	q.change.Broadcast()
}

// later has j looked at once more after d, by whoever is free then. What it
// was told is forgotten.
func (q *queue) later(j *job, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.large() {
		q.larges--
	}
	j.listed = nil
	if q.closed {
		return
	}
	q.timers[j] = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.timers, j)
		if !q.closed {
			q.push(j)
		}
	})
}

// asLarge moves j, which turned out to be large, to those who take such ones.
func (q *queue) asLarge(j *job, listed store.Info) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.listed = &listed
	q.push(j)
}
