//go:build !linux

// Package ministry brings up a whole ministry on one machine: a real Ceph, the
// gateway, a region and schools' boxes. It is for Linux only.
package ministry
