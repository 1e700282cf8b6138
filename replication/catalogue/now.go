//go:build !nextversion

package catalogue

// MaxVersion is the highest version of the encoding that this program reads.
const MaxVersion = 1

// grammars read the versions, without the byte that says which it is.
func grammars() map[byte]func([]byte) (Command, error) {
	return map[byte]func([]byte) (Command, error){1: decodeFirst}
}
