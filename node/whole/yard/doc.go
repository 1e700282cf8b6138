// Package yard holds the tests of a school with several boxes: each box is a
// process of the built command in a network namespace of its own, all of them
// on one bridge with the school's devices, and behind a router that translates
// addresses and a slow line lie the region and a web site. It is for Linux and
// root only, takes what it made away again, and has no code of its own.
package yard
