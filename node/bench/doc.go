// Package bench measures the box from outside, the way a school sees it: the
// built binary is started on loopback ports, in front of an origin that the
// test owns and behind a simulated slow line, and Debian's nginx and Varnish
// are put in the same place in the same run.
//
// It holds tests only, behind two build tags. With `bench` it is the driver of
// `make bench`, which writes RESULTS.md; with `system` it runs the public HTTP
// cache suite against the box. It asserts nothing about how the box is built,
// and it never measures over anything but loopback: what a real network card
// or a real line adds is not seen here.
package bench
