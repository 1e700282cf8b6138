//go:build !linux

// Command up brings up a whole ministry on this machine. It is for Linux only.
package main

import "fmt"

func main() { fmt.Println("ministry: Ceph runs on Linux only") }
