//go:build race

package fill

// raceDivides divides the runs of what takes five times as long with the race
// detector.
const raceDivides = 5
