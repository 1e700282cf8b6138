package main

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// The colours are those of the fixed part of the palette, so that a code is
// black on white whatever the terminal's own colours are: readers take no
// other.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	ownColours   = "\x1b[0m"
	quietZone    = 4 // modules of white around a code (ISO/IEC 18004, 5.3.8)
)

// qrCode draws text as a QR code, two modules a character.
func qrCode(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("draw QR code: %w", err)
	}
	var b strings.Builder
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -quietZone; x < code.Size+quietZone; x++ {
			// Black is false outside of the code, and below its odd last line.
			switch upper, lower := code.Black(x, y), code.Black(x, y+1); {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(ownColours + "\n")
	}
	return b.String(), nil
}
