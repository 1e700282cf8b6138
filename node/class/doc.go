// Package class plays a school class: so many devices download one URL, each
// over its own connections, and every byte they got is checked. It works on
// any URL behind any cache, and is how one cache is measured against another.
//
// It keeps no body: bytes are hashed as they pass, so a class of hundreds
// reading gigabytes needs no more memory than its buffers. It is no load
// generator: it asks for one object, once for each device, and stops.
package class
