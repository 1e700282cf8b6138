//go:build system

package box

const thorough = true
