//go:build nextversion

package catalogue

// Built with this tag, the program is its own successor: it reads one version
// more, which says the same in the same words. Tests of upgrades run both side by
// side. It is never to be installed: what it has written it alone can read.

// MaxVersion is the highest version of the encoding that this program reads.
const MaxVersion = 2

// grammars read the versions, without the byte that says which it is.
func grammars() map[byte]func([]byte) (Command, error) {
	return map[byte]func([]byte) (Command, error){1: decodeFirst, 2: decodeFirst}
}
