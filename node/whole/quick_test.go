//go:build !system

package whole_test

// system is whether these are the tests that need more than Go.
const system = false
