// Package whole holds the tests of a region with its boxes: real servers and
// real boxes in one process, on real disks and real connections. It has no code
// of its own.
package whole
