// Package library is the demonstration's school library: pages in French and
// English, sheets to print, pictures, a film and large packs, served as a
// well-behaved web site would. Everything in it was made for this project.
//
// Text, drawings and the film are embedded; PDFs, PNGs and the atlas are made
// when they are first asked for; packs are computed as they are sent and never
// held. It stores nothing and is no example of a platform with users.
package library

//go:generate go run make/film.go files/water-cycle.mp4
