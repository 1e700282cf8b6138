package sim

// A queue is a doubly linked list of objects, by number, and knows its bytes.
// The zero queue is not usable. It serves the reference policies, which keep
// objects in one or several orders.
type queue struct {
	links map[int]*link
	root  link // root.next is the newest, root.prev the oldest
	bytes int64
}

type link struct {
	next, prev *link
	object     int
	size       int64
	freq       int
}

func newQueue() *queue {
	q := &queue{links: make(map[int]*link)}
	q.root.next, q.root.prev = &q.root, &q.root
	return q
}

func (q *queue) push(object int, size int64) *link {
	l := &link{object: object, size: size, next: q.root.next, prev: &q.root}
	l.next.prev, l.prev.next = l, l
	q.links[object] = l
	q.bytes += size
	return l
}

func (q *queue) remove(l *link) {
	l.prev.next, l.next.prev = l.next, l.prev
	delete(q.links, l.object)
	q.bytes -= l.size
}

// oldest returns nil when the queue is empty.
func (q *queue) oldest() *link {
	if q.root.prev == &q.root {
		return nil
	}
	return q.root.prev
}
