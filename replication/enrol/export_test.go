package enrol

import "crypto"

// Key is an authority's, for tests that sign with it what it never would.
func (a *Authority) Key() crypto.Signer { return a.key }

// WeakPassphrase seals like a Passphrase with few iterations, so that a test of
// opening takes no seconds.
type WeakPassphrase string

func (WeakPassphrase) derivation() (byte, uint32) { return byPBKDF2, 1000 }

func (p WeakPassphrase) derive(salt []byte, iterations uint32) ([]byte, error) {
	return Passphrase(p).derive(salt, iterations)
}
