package hold

import (
	"time"

	"preau/cache/block"
)

// SplitUpTo is Split with a limit that a test can reach.
var SplitUpTo = split

// Claims are the claims of a shelf.
type Claims struct{ c *claims }

// NewClaims makes claims with a limit that a test can reach.
func NewClaims(grace time.Duration, limit int) Claims { return Claims{newClaims(grace, limit)} }

// Add claims digests.
func (c Claims) Add(digests ...block.Digest) { c.c.add(digests...) }

// Claimed says whether anybody claims d.
func (c Claims) Claimed(d block.Digest) bool { return c.c.claimed(d) }

// Polynomial is where content is cut by.
const Polynomial = polynomial
