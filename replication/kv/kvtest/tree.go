package kvtest

import (
	"bytes"
	"hash/fnv"
)

// node is a node of a treap that is never changed once others can see it: a
// write copies the path from the root. A key's rank depends on the key alone,
// so that the same content always makes the same tree.
type node struct {
	key, value  []byte
	rank        uint64
	left, right *node
}

func rankOf(key []byte) uint64 {
	h := fnv.New64a()
	// Write of a hash never fails.
	_, _ = h.Write(key)
	x := h.Sum64()
	x ^= x >> 33 // FNV's low bits are poor for keys that differ in their last byte
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

func (n *node) get(key []byte) *node {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c == 0:
			return n
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// split parts n into what is less than key and what is greater.
func (n *node) split(key []byte) (less, greater *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	switch d := bytes.Compare(n.key, key); {
	case d < 0:
		c.right, greater = n.right.split(key)
		return &c, greater
	case d > 0:
		less, c.left = n.left.split(key)
		return less, &c
	default:
		return n.left, n.right
	}
}

// join is the inverse of split.
func join(less, greater *node) *node {
	switch {
	case less == nil:
		return greater
	case greater == nil:
		return less
	case less.rank > greater.rank:
		c := *less
		c.right = join(less.right, greater)
		return &c
	default:
		c := *greater
		c.left = join(less, greater.left)
		return &c
	}
}

func (n *node) insert(x *node) *node {
	if n == nil {
		return x
	}
	c := *n
	switch d := bytes.Compare(x.key, n.key); {
	case d == 0:
		c.value = x.value
	case x.rank > n.rank:
		x.left, x.right = n.split(x.key)
		return x
	case d < 0:
		c.left = n.left.insert(x)
	default:
		c.right = n.right.insert(x)
	}
	return &c
}

func (n *node) remove(key []byte) *node {
	if n == nil {
		return nil
	}
	c := *n
	switch d := bytes.Compare(key, n.key); {
	case d == 0:
		return join(n.left, n.right)
	case d < 0:
		c.left = n.left.remove(key)
	default:
		c.right = n.right.remove(key)
	}
	return &c
}

// ascend calls fn for keys with prefix after after and reports whether to go on.
func (n *node) ascend(prefix, after []byte, fn func(key, value []byte) bool) bool {
	if n == nil {
		return true
	}
	late := (after == nil || bytes.Compare(n.key, after) > 0) && bytes.Compare(n.key, prefix) >= 0
	if late {
		if !n.left.ascend(prefix, after, fn) {
			return false
		}
		if !bytes.HasPrefix(n.key, prefix) {
			return false // beyond the prefix: nothing to the right either
		}
		if !fn(n.key, n.value) {
			return false
		}
	}
	return n.right.ascend(prefix, after, fn)
}
