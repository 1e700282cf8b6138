// Package plain is minio-go as it comes, with nothing of ours around it: what the
// benchmarks measure the gateway against. It has no code but with the build tag
// bench, and no program may use it: it repeats nothing, checks nothing and waits
// as long as the server likes.
package plain
