// Package demo shows a school in one process: a small library behind a slow
// line, a box in front of it, a class that downloads, and a page that shows
// all of it live. It needs no network, no root and nothing installed, and
// leaves nothing behind.
//
// It knows no box by name: Config.NewBox makes one, and anything that forwards
// HTTP will do. It listens on loopback addresses only and is no way to run a
// box for a school.
package demo
