package feed

import (
	"sync"
	"sync/atomic"

	"preau/replication/catalogue"
)

// maxPending bounds what waits for the next flush. Beyond it the records are
// let go of, and streams read them from the source.
const maxPending = 8 << 20

// maxNodes bounds how many flushes are remembered.
const maxNodes = 1024

// node is one flush. Streams hang on to the node they have written and look for
// the next when they are woken; there is no queue for a box.
type node struct {
	after, upto uint64
	blk         atomic.Pointer[block] // nil: read it from the source
	next        atomic.Pointer[node]
}

// chain is what happened lately, as streams pass it on. Between two nodes
// nothing happened that a box may see.
type chain struct {
	enc    *compressor
	budget int64

	mu       sync.Mutex
	head     uint64 // of what was published
	quiet    uint64 // nothing to see after tail.upto up to here
	tail     *node
	nodes    []*node // the latest, oldest first; what precedes the first is not kept
	bytes    int64
	pending  map[recordKey]catalogue.Record
	weight   int
	overflow bool
	due      bool // somebody was told to flush
}

type recordKey struct {
	kind catalogue.Kind
	id   string
}

func newChain(enc *compressor, budget int64, head uint64) *chain {
	n := &node{upto: head}
	return &chain{
		enc: enc, budget: budget, head: head, quiet: head, tail: n, nodes: []*node{n},
		pending: make(map[recordKey]catalogue.Record),
	}
}

// publish adds what an entry of the log changed. It reports whether a flush is
// due that was not before.
func (c *chain) publish(index uint64, changed []catalogue.Record) (due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if index <= c.head {
		return false // was there when the chain began
	}
	due, c.due = !c.due, true
	c.head = index
	for i := range changed {
		r := &changed[i]
		if r.Kind.Private() {
			continue
		}
		if c.overflow {
			break
		}
		k := recordKey{r.Kind, r.ID}
		if old, ok := c.pending[k]; ok {
			c.weight -= weight(&old)
		}
		c.pending[k] = *r
		if c.weight += weight(r); c.weight > maxPending {
			c.overflow, c.weight = true, 0
			clear(c.pending)
		}
	}
	return due
}

// replaced tells that the state jumped to index without telling what changed.
func (c *chain) replaced(index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.overflow, c.weight, c.due = max(c.head, index), true, 0, true
	clear(c.pending)
}

// flush lets streams have what was published. It is called by one goroutine.
func (c *chain) flush() error {
	c.mu.Lock()
	records := make([]catalogue.Record, 0, len(c.pending))
	for _, r := range c.pending {
		records = append(records, r)
	}
	after, upto, overflow := c.quiet, c.head, c.overflow
	clear(c.pending)
	c.weight, c.overflow, c.due = 0, false, false
	if len(records) == 0 && !overflow {
		c.quiet = upto
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	if overflow {
		c.link(&node{after: after, upto: upto})
		return nil
	}

	sorted(records)
	for after < upto {
		b, err := makeBlock(c.enc, after, upto, upto, true, func(fn func(catalogue.Record) bool) error {
			for i := range records {
				if !fn(records[i]) {
					records = records[i:]
					return nil
				}
			}
			return nil
		})
		if err != nil {
			c.link(&node{after: after, upto: upto})
			return err
		}
		n := &node{after: after, upto: b.upto}
		n.blk.Store(b)
		c.link(n)
		after = b.upto
	}
	return nil
}

// link makes n the chain's last node. Who waits for it must be woken.
func (c *chain) link(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := n.blk.Load(); b != nil {
		c.bytes += b.size
	}
	c.nodes = append(c.nodes, n)
	for len(c.nodes) > 1 && (c.bytes > c.budget || len(c.nodes) > maxNodes) {
		// The first node's block is of no use to anybody but those who wait for it.
		c.nodes[0] = nil
		c.nodes = c.nodes[1:]
		if b := c.nodes[0].blk.Swap(nil); b != nil {
			c.bytes -= b.size
		}
	}
	c.tail.next.Store(n)
	c.tail, c.quiet = n, n.upto
}

// locate finds the node after which a stream at pos goes on. Where what follows
// must be read from the source, it returns nil and how far.
func (c *chain) locate(pos uint64) (n *node, limit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pos >= c.tail.upto {
		return c.tail, 0
	}
	for _, n := range c.nodes {
		if next := n.next.Load(); next != nil && n.upto <= pos && pos <= next.after && next.blk.Load() != nil {
			return n, 0
		}
	}
	return nil, c.tail.upto
}

// idle says up to where nothing was missed by a stream that waits after n at
// pos.
func (c *chain) idle(n *node, pos uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == c.tail {
		return max(pos, c.quiet)
	}
	return pos
}

// applied is what was published and may have been passed on.
func (c *chain) applied() (head, quiet uint64, tail *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head, c.quiet, c.tail
}
