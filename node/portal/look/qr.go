package look

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// quiet is the white around a code, in modules (ISO/IEC 18004, 5.3.8).
const quiet = 4

// QR draws a text as a QR code, black on white whatever the theme: not every
// reader takes the opposite. It has no words: they stand beside it. The error is
// that of a text that is too long.
func QR(text string) (template.HTML, error) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	return template.HTML(SVG(c)), nil //nolint:gosec // numbers, and words of our own
}

// SVG draws a code, row by row.
func SVG(c *qr.Code) string {
	var b strings.Builder
	side := c.Size + 2*quiet
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, side, side, side, side)
	for y := range c.Size {
		for x := 0; x < c.Size; {
			n := 0
			for c.Black(x+n, y) {
				n++
			}
			if n > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, n, n)
			}
			x += n + 1
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String()
}
