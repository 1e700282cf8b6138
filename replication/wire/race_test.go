//go:build race

package wire_test

// raceEnabled: the race detector's own memory is not what is measured.
const raceEnabled = true
