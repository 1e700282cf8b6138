//go:build !linux

// Package netns makes networks out of Linux's network namespaces, for tests. It
// is for Linux only.
package netns
