//go:build !linux

// Package cephtest brings up a real Ceph on loopback for tests. It is for Linux
// only.
package cephtest
