package consensus

import (
	"sync"

	"github.com/hashicorp/raft"
)

const (
	// pendingBytes bounds what has been agreed on and waits for the machine;
	// raft waits above it.
	pendingBytes = 16 << 20
	// togetherEntries and togetherBytes bound what the machine gets at once.
	togetherEntries = 4096
	togetherBytes   = 4 << 20
)

// promise is what raft is answered for the entries of one call, before the
// machine has taken them.
type promise struct {
	logs  []*raft.Log
	bytes int
	kept  chan struct{} // closed when out is there
	out   []any
}

// promised is the answer for one entry.
type promised struct {
	*promise
	at int
}

// kept is what a promise comes to, for which it waits.
func kept(answer any) any {
	p, ok := answer.(promised)
	if !ok {
		return answer
	}
	<-p.kept
	return p.out[p.at]
}

// pending is what has been agreed on and waits for the machine. Raft hands over
// what was agreed on since the last time, often a few entries, and waits for the
// answer; but for the machine, whose disk has to take every batch, a large batch
// costs hardly more than a small one. So raft is answered with promises, and
// all that came while the machine was at work is its next batch.
type pending struct {
	mu      sync.Mutex
	changed sync.Cond // anything below; on mu
	list    []*promise
	bytes   int  // of the list and of what is being carried out
	busy    bool // something is being carried out
	closed  bool
}

// put adds a promise, and waits while there is too much.
func (q *pending) put(p *promise) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > 0 && q.bytes+p.bytes > pendingBytes {
		q.changed.Wait()
	}
	q.bytes += p.bytes
	q.list = append(q.list, p)
	q.changed.Broadcast()
}

// take waits for promises and takes as many as may go together, none once all
// is done and the queue closed.
func (q *pending) take() []*promise {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.changed.Wait()
	}
	n, entries, bytes := 0, 0, 0
	for _, p := range q.list {
		if entries, bytes = entries+len(p.logs), bytes+p.bytes; n > 0 && (entries > togetherEntries || bytes > togetherBytes) {
			break
		}
		n++
	}
	taken := q.list[:n:n]
	q.list = q.list[n:]
	q.busy = n > 0
	return taken
}

// finish says that what was taken has been carried out.
func (q *pending) finish(taken []*promise) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range taken {
		q.bytes -= p.bytes
	}
	q.busy = false
	q.changed.Broadcast()
}

// drain waits until there is nothing left.
func (q *pending) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.busy || len(q.list) > 0 {
		q.changed.Wait()
	}
}

// close has take return none once the rest is done.
func (q *pending) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}
