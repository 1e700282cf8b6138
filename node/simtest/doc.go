// Package simtest holds the tests of a region as a whole: its servers, dozens of
// boxes and all that can happen to them, in one process and in simulated time.
//
// The parts are the real ones (consensus, catalogue, feed); what is simulated is
// what lies under them: the network, the disks, the clocks and kill -9. How
// node/region and node/follow glue the parts together is repeated here in a few
// lines, so these tests say nothing about certificates, ports and files.
//
// A seed decides what happens and when. It does not decide how goroutines take
// turns, so a seed that failed once may have to run several times:
//
//	PREAU_SIM_SEED=17 PREAU_SIM_RUNS=20 go test ./node/simtest
//
// runs the seed 17 twenty times; without PREAU_SIM_SEED, PREAU_SIM_RUNS is how
// many seeds there are, from 1. PREAU_TEST_LOG=1 shows what the parts log.
package simtest
