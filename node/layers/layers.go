// Package layers holds the test that keeps the folders of this repository
// apart: which may import which, and where each awkward library may be used.
// It has no code of its own. The same rules are in .golangci.yml for editors;
// the test is what counts.
package layers
