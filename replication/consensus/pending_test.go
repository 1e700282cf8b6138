package consensus

import (
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

func promiseOf(entries, size int) *promise {
	p := &promise{kept: make(chan struct{}), bytes: entries * size}
	for range entries {
		p.logs = append(p.logs, &raft.Log{Data: make([]byte, size)})
	}
	return p
}

func queue() *pending {
	q := &pending{}
	q.changed.L = &q.mu
	return q
}

func TestWhatWaitedGoesTogether(t *testing.T) {
	tests := map[string]struct {
		entries []int
		size    int
		want    []int // promises in each batch
	}{
		"few":           {[]int{3, 1, 500}, 10, []int{3}},
		"many":          {[]int{togetherEntries - 1, 1, 1}, 10, []int{2, 1}},
		"one too many":  {[]int{togetherEntries + 1, 1}, 1, []int{1, 1}},
		"large":         {[]int{1, 1, 1}, togetherBytes/2 + 1, []int{1, 1, 1}},
		"small by two":  {[]int{1, 1, 1}, togetherBytes / 2, []int{2, 1}},
		"of no content": {[]int{1, 1}, 0, []int{2}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := queue()
			for _, n := range tt.entries {
				q.put(promiseOf(n, tt.size))
			}
			for i, want := range tt.want {
				taken := q.take()
				if len(taken) != want {
					t.Fatalf("batch %d has %d promises, want %d", i, len(taken), want)
				}
				q.finish(taken)
			}
			q.drain()
			q.close()
			if rest := q.take(); len(rest) != 0 || q.bytes != 0 {
				t.Errorf("%d promises and %d bytes are left", len(rest), q.bytes)
			}
		})
	}
}

func TestRaftWaitsWhenTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue()
		q.put(promiseOf(1, pendingBytes)) // one goes in whatever its size
		in, drained := false, false
		go func() {
			q.put(promiseOf(1, 1))
			in = true
			q.drain()
			drained = true
		}()
		synctest.Wait()
		if in {
			t.Fatal("more than the bound went in")
		}
		taken := q.take()
		synctest.Wait()
		if in {
			t.Fatal("more went in while the rest was being carried out")
		}
		q.finish(taken)
		synctest.Wait()
		if !in || drained {
			t.Fatalf("in %v, drained %v; want it in, and something left", in, drained)
		}
		taken = q.take()
		synctest.Wait()
		if drained {
			t.Fatal("drained while the last was being carried out")
		}
		q.finish(taken)
		synctest.Wait()
		if !drained {
			t.Error("not drained")
		}
	})
}
