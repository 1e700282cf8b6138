// Package pebbletest runs Pebble, the certificate authority that Let's Encrypt
// offers for tests, on loopback. It is for tests with the tag system only: it
// builds the authority through the Go module proxy, and fails a test where that
// can't be reached.
package pebbletest
