package main

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

// modules reads a drawing back: true is black.
func modules(t *testing.T, drawing string) [][]bool {
	t.Helper()
	var out [][]bool
	for line := range strings.Lines(drawing) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, ownColours+"\n"), blackOnWhite)
		if !ok {
			t.Fatalf("line %q does not set both colours", line)
		}
		var upper, lower []bool
		for _, r := range line {
			if !strings.ContainsRune(" █▀▄", r) {
				t.Fatalf("%q in the drawing", r)
			}
			upper = append(upper, r == '█' || r == '▀')
			lower = append(lower, r == '█' || r == '▄')
		}
		out = append(out, upper, lower)
	}
	return out
}

func TestCodeIsDrawnAsItIs(t *testing.T) {
	for _, text := range []string{"A", "PREAU1-ABANA6LSKFISO2ZPU57SYQRR5ZEPEGO2OAHLKDCB7CQ6OLF7WEXHXHPU6BIVMVJYKH2QWG7EDR3NUNGVAEHDCMRXFYYC4MBOGE5DONBQGHOTLDIN"} {
		drawing, err := qrCode(text)
		if err != nil {
			t.Fatal(err)
		}
		code, err := qr.Encode(text, qr.L)
		if err != nil {
			t.Fatal(err)
		}
		got := modules(t, drawing)
		if len(got) < code.Size+2*quietZone {
			t.Fatalf("%d rows for %d modules", len(got), code.Size)
		}
		black := 0
		for y, row := range got {
			if len(row) != code.Size+2*quietZone {
				t.Fatalf("row %d has %d modules", y, len(row))
			}
			for x, is := range row {
				if want := code.Black(x-quietZone, y-quietZone); is != want {
					t.Fatalf("module %d, %d is %v, want %v", x, y, is, want)
				}
				if is {
					black++
				}
			}
		}
		// A finder's corner, and white around all of it.
		if black == 0 || !got[quietZone][quietZone] || got[quietZone-1][quietZone] || got[quietZone][quietZone-1] {
			t.Error("no code stands in the quiet zone")
		}
	}
	if _, err := qrCode(strings.Repeat("x", 5000)); err == nil {
		t.Error("5,000 letters were drawn")
	}
}
