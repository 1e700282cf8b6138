// Package beyond is what lies beyond the demonstration's slow line: a region of
// one server and the ministry's gateway, whose buckets are a folder. Both are the
// real ones with their usual settings, and speak to one another and to the box
// over TLS on this machine's loopback.
//
// It founds the region, enrols the gateway in it, and invites the box. One server
// survives nothing, so this is no way to run a region.
package beyond
