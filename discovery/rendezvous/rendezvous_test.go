package rendezvous_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"preau/discovery/rendezvous"
)

func names(nodes []rendezvous.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func some(t *rapid.T) []rendezvous.Node {
	var out []rendezvous.Node
	for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
		out = append(out, rendezvous.Node{Name: fmt.Sprint("n", i), Weight: rapid.Float64Range(0, 10).Draw(t, "weight")})
	}
	return out
}

func TestTheOrderDoesNotDependOnHowNodesAreListed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, key := some(t), rapid.String().Draw(t, "key")
		want := names(rendezvous.Order(key, nodes))
		if got := names(rendezvous.Order(key, rapid.Permutation(nodes).Draw(t, "shuffled"))); !slices.Equal(got, want) {
			t.Fatalf("%v, and %v shuffled", want, got)
		}
	})
}

func TestANodeThatGoesMovesOnlyItsOwnKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, key := some(t), rapid.String().Draw(t, "key")
		before := names(rendezvous.Order(key, nodes))
		i := rapid.IntRange(0, len(nodes)-1).Draw(t, "gone")
		gone := nodes[i].Name
		after := names(rendezvous.Order(key, slices.Delete(slices.Clone(nodes), i, i+1)))
		if want := slices.DeleteFunc(before, func(n string) bool { return n == gone }); !slices.Equal(after, want) {
			t.Fatalf("without %s: %v, want %v", gone, after, want)
		}
	})
}

func TestSharesFollowWeights(t *testing.T) {
	nodes := []rendezvous.Node{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}, {Name: "c", Weight: 5}, {Name: "none"}}
	const n = 40_000
	share := map[string]float64{}
	for i := range n {
		order := rendezvous.Order(fmt.Sprint("object ", i), nodes)
		share[order[0].Name] += 1.0 / n
		if last := order[len(order)-1].Name; last != "none" {
			t.Fatalf("%s is last, want the node without weight", last)
		}
	}
	for _, node := range nodes {
		if want := node.Weight / 8; math.Abs(share[node.Name]-want) > 0.01 {
			t.Errorf("%s has %.3f of the keys, want %.3f", node.Name, share[node.Name], want)
		}
	}
}

// The order is part of what nodes of different versions must agree on.
func TestTheOrderIsForEver(t *testing.T) {
	nodes := []rendezvous.Node{{Name: "s1", Weight: 1}, {Name: "s2", Weight: 1}, {Name: "s3", Weight: 1}}
	for key, want := range map[string][]string{
		"a": {"s3", "s1", "s2"}, "film.mp4": {"s2", "s1", "s3"}, "": {"s3", "s1", "s2"},
	} {
		if got := names(rendezvous.Order(key, nodes)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", key, got, want)
		}
	}
}

func ExampleOrder() {
	for _, n := range rendezvous.Order("film.mp4", []rendezvous.Node{{Name: "s1", Weight: 1}, {Name: "s2", Weight: 1}, {Name: "s3", Weight: 1}}) {
		fmt.Print(n.Name, " ")
	}
	// Output: s2 s1 s3
}
