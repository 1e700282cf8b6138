// Package wiretest is a line for tests and benchmarks: two network namespaces
// with a slow, lossy path between them, that can be cut, and two programs to run
// at its ends.
//
// The kernels that we meet have no netem, so the path is in user space: a TUN
// device in each namespace, and packets that are held back for as long as the
// line would have taken. It needs Linux and root; Open says so where they are
// missing. It emulates no jitter, no reordering and no loss in bursts, and its
// clock is the machine's, so a busy machine makes the line a little slower and
// never faster.
package wiretest
