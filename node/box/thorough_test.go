//go:build !system

package box

// thorough is whether every kind of file gets a box of its own.
const thorough = false
