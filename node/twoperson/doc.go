// Package twoperson holds the test of two persons: whatever one of them does at
// a platform with a cookie, a password or a token, none of it gets to the other
// through the cache, by whatever path, fresh, stale or offline, in parts, as a
// zip file, by another face or after a restart; and what opens something to
// whoever has it is neither in the cache's files nor in what it logs, counts or
// tells. It also holds what a class finds when the line is cut.
//
// It has no code of its own. Every platform is emulated (cache/profile/platformtest),
// which is quick and can be told what to do; with the build tag system there are
// also real ones (node/platforms), which do what no emulator was told to.
package twoperson
