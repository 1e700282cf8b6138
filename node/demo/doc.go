// Package demo shows a school in one process: a small library behind a slow
// line, a box in front of it, a class that downloads, and a page that shows
// all of it live. With Config.Beyond the box belongs to a region, and that to a
// centre with its buckets in a folder: documents come down to the box and what a
// teacher adds goes up, line or no line. It needs no network, no root and nothing
// installed, and leaves nothing behind.
//
// It knows no box by name: Config.NewBox makes one, and anything that forwards
// HTTP will do, if it is to belong to no region. What fails of the region and the
// centre is said, and the rest goes on. It listens on loopback addresses only and
// is no way to run a box for a school.
package demo
