// Package rendezvous says whose turn it is: which of several nodes a key
// belongs to, so that all who know the same nodes agree without asking.
//
// It is weighted rendezvous hashing (highest random weight): each node has a
// score for each key, drawn from the hash of both, and the nodes are taken in
// the order of their scores. A node that comes or goes moves only its own share
// of the keys, and the second in the order is whoever would have been first
// without the first. A node of twice the weight has twice the keys (Schindelhauer
// and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).
//
// The package is pure: it knows nothing of who is alive.
package rendezvous

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Node is somebody that keys can belong to.
type Node struct {
	Name   string
	Weight float64 // relative to the others'; 0 or less: last of all
}

// Order returns the nodes in the order in which key belongs to them, best
// first. The order of nodes does not matter, and it is left as it is.
func Order(key string, nodes []Node) []Node {
	type scored struct {
		Node
		score float64
	}
	all := make([]scored, len(nodes))
	for i, n := range nodes {
		all[i] = scored{n, score(key, n)}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.Name, b.Name))
	})
	out := make([]Node, len(all))
	for i, s := range all {
		out[i] = s.Node
	}
	return out
}

// score is −weight / ln(u), u evenly spread in (0, 1) by the hash of node and
// key.
func score(key string, n Node) float64 {
	if !(n.Weight > 0) {
		return math.Inf(-1)
	}
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(n.Name) //nolint:errcheck // never fails
	_, _ = h.Write([]byte{0})    // never fails
	_, _ = h.WriteString(key)    //nolint:errcheck // never fails
	u := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
	return -n.Weight / math.Log(u)
}

// mix spreads what is left of likeness between hashes of like texts
// (Stafford's thirteenth variant of MurmurHash3's finaliser).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
