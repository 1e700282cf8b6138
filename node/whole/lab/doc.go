// Package lab holds the tests of a small country on one machine: schools with
// boxes and forty devices each, behind routers that translate addresses and slow
// lines that lose packets; a region of three servers; and a centre with a real
// Ceph. Every machine is a network namespace and every box, server and gateway a
// process of the built command in it. It is for Linux and root only, takes what
// it made away again, and has no code of its own.
//
// `make lab` runs it and prints its report: what happened when, how long it
// took, and what crossed each line.
package lab
