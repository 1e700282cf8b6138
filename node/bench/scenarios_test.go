//go:build bench

package bench

import (
	"fmt"
	"slices"
	"testing"
)

// scenarios are the sections of the results, in their order.
func (b *bench) scenarios() []scenario {
	file := fmt.Sprintf("%d MiB", b.scale.file/miB)
	cut := fmt.Sprintf("%.1f s", b.scale.deathAt.Seconds())
	return append([]scenario{
		{
			key: "herd", title: "A class opens one file of " + file,
			notes: []string{fmt.Sprintf("%d devices within a second, nothing stored before; the line alone needs %s s. Then the same again from the store. CPU is that of the server for all %d bodies.",
				clients, secs(ideal(b.scale.file)), 2*clients)},
			head: []string{"", "WAN bytes / size", "first byte p50 / p99 s", "all done s (× the line)", "right bodies", "40 hits: all done s, right", "CPU s (s/GB)", "RSS / anonymous MiB"},
			each: b.benchHerd,
		},
		{
			key: "ranges", title: "Seeking: ranges before the whole",
			notes: []string{fmt.Sprintf("Each device asks for a random MiB of %s, then for all of it. Cold seek: one device asks for the MiB at %d MiB of a file that nobody has asked for; beside a fill: while another device downloads it from its start.",
				file, b.scale.seek/miB)},
			head: []string{"", "WAN bytes / size", "range first byte p50 / p99 s", "range complete p50 / p99 s", "all done s (× the line)", "right ranges; bodies", "cold seek: first byte / MiB s", "seek beside a fill: first byte / MiB s"},
			each: b.benchRanges,
		},
		{
			key: "aborts", title: "Devices that leave",
			notes: []string{fmt.Sprintf("One device leaves %s after %d MiB, nobody else is there; when the line is quiet again another one comes. Then: %d of %d devices leave one after the other, the first of all among them.",
				file, b.scale.leave/miB, clients/2, clients)},
			head: []string{"", "first byte s", "filled by then", "next device: WAN / size", "next device s", "right", "half leave: WAN / size", "those who stay: right"},
			each: b.benchAborts,
		},
		{
			key: "death", title: "The origin dies " + cut + " into the fill",
			notes: []string{fmt.Sprintf("Its connections are reset and new ones refused, until it is back. %d devices, none of which asks twice.", clients)},
			head:  []string{"", "away s", "whole", "cut short (device can tell)", "refused", "wrong or silently short", "all done s", "WAN / size", "next device", "WAN / size, total"},
			each: func(t *testing.T, p peer, out *table) {
				b.benchDeath(t, p, b.scale.outage, out)
				if p.ours {
					b.benchDeath(t, p, b.scale.longer, out)
				}
			},
		},
		{
			key: "revalidation", title: "A stored page has just expired",
			notes: []string{fmt.Sprintf("100 KiB, `max-age=2` and an `ETag`, origin 300 ms away; %d devices at once.", clients)},
			head:  []string{"", "conditional requests", "other requests", "answer p50 / p99 s", "right bodies"},
			each:  b.benchRevalidation,
		},
		{
			key: "offline", title: "The line is down and what is stored has expired",
			notes: []string{fmt.Sprintf("The first request; then, unless that was slow, the last of three later ones and the time of the slowest. A device waits %.0f s. ", b.scale.wait.Seconds()) +
				"A page with `max-age=2` may be served stale (RFC 9111, 4.2.4); one with `must-revalidate` or `no-cache` must not (504 is right, the sooner the better)."},
			head: []string{"", "origin", "`max-age=2`", "`max-age=2, must-revalidate`", "`no-cache`"},
			each: func(t *testing.T, p peer, out *table) {
				for _, fault := range []string{"503", "refused", "hangs"} {
					b.benchOffline(t, p, fault, out)
				}
			},
		},
		{
			key: "throughput", title: "Hits: one core each for server and client",
			notes: []string{fmt.Sprintf("HTTP/1.1, %d keep-alive connections, server pinned to cpu 0 and client to cpu 1, %d rounds with all peers in turn; medians, and the box against each peer round by round (above 1: the box is better). Loopback's MTU of 64 KiB flatters everybody. Read 0.9–1.1 as parity.",
				clients, b.scale.rounds)},
			head: []string{"bodies", "", "throughput", "server CPU", "box / peer, CPU efficiency min / med / max", "box / peer, throughput min / med / max", "broken"},
			all:  b.benchThroughput,
		},
		{
			key: "store", title: fmt.Sprintf("A large store: %d MiB of budget", b.scale.store/miB),
			notes: []string{fmt.Sprintf("Filled with 1.25 times its budget (bodies of %d MiB, 1 MiB and 4 KiB), then %d connections read the later half of each kind. Memory is the largest seen, in MiB; disk is as `du` counts it, against the budget. Then SIGKILL and start: until it listens, and until the first hit without the origin.", b.scale.large()/miB, clients)},
			head:  []string{"", "filling s", "largest disk / budget", "filling: anonymous", fmt.Sprintf("%d MiB: anonymous / RSS", b.scale.large()/miB), "1 MiB: anonymous / RSS", "4 KiB: anonymous / RSS", "disk / budget at rest", "open after SIGKILL s"},
			each: func(t *testing.T, p peer, out *table) {
				if p.name != sliced { // the same store as the other nginx
					b.benchStore(t, p, out)
				}
			},
		},
	}, slices.Concat(b.wireScenarios(), b.centreScenarios(), b.regionScenarios(), b.portalScenarios())...)
}
