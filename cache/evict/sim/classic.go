package sim

// recency is FIFO, or LRU if hits move to the front.
type recency struct {
	queue    *queue
	capacity int64
	lru      bool
}

func (c *recency) Request(object int, size int64) bool {
	if l, ok := c.queue.links[object]; ok {
		if c.lru {
			c.queue.remove(l)
			c.queue.push(object, size)
		}
		return true
	}
	if size > c.capacity {
		return false
	}
	for c.queue.bytes+size > c.capacity {
		c.queue.remove(c.queue.oldest())
	}
	c.queue.push(object, size)
	return false
}

// sieve is SIEVE (Zhang et al., NSDI 2024): a FIFO queue and a hand that moves
// from old to new, spares what was visited and evicts the first that was not.
type sieve struct {
	queue    *queue
	capacity int64
	hand     *link
}

func (c *sieve) Request(object int, size int64) bool {
	if l, ok := c.queue.links[object]; ok {
		l.freq = 1
		return true
	}
	if size > c.capacity {
		return false
	}
	for c.queue.bytes+size > c.capacity {
		l := c.hand
		if l == nil {
			l = c.queue.oldest()
		}
		for l.freq > 0 {
			l.freq = 0
			if l = l.prev; l == &c.queue.root {
				l = c.queue.oldest()
			}
		}
		if c.hand = l.prev; c.hand == &c.queue.root {
			c.hand = nil
		}
		c.queue.remove(l)
	}
	c.queue.push(object, size)
	return false
}

// s3fifo is S3-FIFO (Yang et al., SOSP 2023) with exact queues, weighted by
// bytes: small queue 10 %, frequency up to 3, two touches to leave the small
// queue, a ghost of as many bytes as the main queue.
type s3fifo struct {
	small, main, ghost *queue
	capacity           int64
}

const (
	s3Small   = 0.10
	s3Promote = 2
	s3Top     = 3
)

func (c *s3fifo) Request(object int, size int64) bool {
	for _, q := range []*queue{c.small, c.main} {
		if l, ok := q.links[object]; ok {
			l.freq = min(l.freq+1, s3Top)
			return true
		}
	}
	if size > c.capacity {
		return false
	}
	into := c.small
	if l, ok := c.ghost.links[object]; ok {
		c.ghost.remove(l)
		into = c.main
	}
	for c.small.bytes+c.main.bytes+size > c.capacity {
		c.evict()
	}
	into.push(object, size)
	return false
}

// evict drops one object, or moves one on.
func (c *s3fifo) evict() {
	if l := c.small.oldest(); l != nil && (float64(c.small.bytes) > s3Small*float64(c.capacity) || c.main.bytes == 0) {
		c.small.remove(l)
		if l.freq >= s3Promote {
			c.main.push(l.object, l.size)
			return
		}
		c.ghost.push(l.object, l.size)
		for float64(c.ghost.bytes) > (1-s3Small)*float64(c.capacity) {
			c.ghost.remove(c.ghost.oldest())
		}
		return
	}
	l := c.main.oldest()
	c.main.remove(l)
	if l.freq > 0 {
		c.main.push(l.object, l.size).freq = l.freq - 1
	}
}
