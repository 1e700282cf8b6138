// Package tube holds the tests of a class that watches a film of a PeerTube, or a
// live stream, through a box: what crosses the school's line, whether players
// stall, that a whole class is one viewer to the site, and that what opens a
// private video is nowhere kept. Most of them have a clock of their own, so that
// ten minutes of film take a moment and no machine is too slow; one plays in a real
// browser. It has no code of its own. The platform is emulated
// (cache/profile/platformtest).
package tube
