// Package wanline is a slow line on a desk: a TCP proxy that has the rate, the
// delay and the bad days of a school's internet line, so that demonstrations,
// tests and benchmarks see one without leaving the loopback.
//
// It works on byte streams, not on packets: it does not lose, reorder or
// corrupt anything, and does not imitate slow start. Each direction has the
// whole rate to itself, as on a full-duplex line, and all connections share it
// chunk by chunk. At 20 Mbit/s and 20 ms at most 64 KiB of a connection are in
// flight, so a reader that walks away wastes no more than that; a longer or
// faster line holds its own bandwidth-delay product, as a real one does.
package wanline
