package profile

import "testing"

func BenchmarkRequest(b *testing.B) {
	for name, r := range map[string]Request{
		"nextcloud": get("/public.php/dav/files/" + tk + "/sub/caf%C3%A9.txt"),
		"wordpress": get("/2026/10/titre/", "Cookie", "_ga=1"),
		"peertube":  get("/static/streaming-playlists/hls/" + vid + "/" + file + "-720-fragmented.mp4"),
	} {
		p, err := New(name, Adjust{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Request(r)
			}
		})
	}
}
