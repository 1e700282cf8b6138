// Package lab holds the tests of a small country on one machine: schools with
// boxes and forty devices each, behind routers that translate addresses and slow
// lines that lose packets; a region of three servers; and a centre with a real
// Ceph. Every machine is a network namespace. Boxes, servers and the gateway are
// processes of the built command there, or, with PREAU_LAB=hosts, Debians with
// systemd that really boot and are deployed by Ansible from nothing. What people
// do is the same in both. It is for Linux and root only, takes what it made away
// again, also what a killed run has left, and has no code of its own.
//
// `make lab` runs it on hosts, and `make test-system` with processes. Its report
// says what happened when, how long it took, and what crossed each line.
package lab
