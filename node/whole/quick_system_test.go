//go:build system

package whole_test

const system = true
