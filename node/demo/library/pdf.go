package library

import (
	"bytes"
	"fmt"
	"strings"
)

// sheet is a page to print: a title, some text and questions with room for answers.
type sheet struct {
	title, name, lead string
	text              []string
	questions         []string
}

// pdf sets the sheet on A4 as PDF 1.4 with the standard fonts: plain objects,
// no compression, a cross-reference table whose offsets are right.
func (s sheet) pdf() []byte {
	var c bytes.Buffer // the page's content stream; the origin is bottom left, in points
	y := 770.0
	text := func(font string, size, x float64, v string) {
		fmt.Fprintf(&c, "BT /%s %.1f Tf %.1f %.1f Td (%s) Tj ET\n", font, size, x, y, pdfString(v))
	}
	para := func(font string, size, x float64, v string) {
		for _, l := range wrap(v, int((540-x)/(size*0.49))) {
			text(font, size, x, l)
			y -= size * 1.4
		}
	}
	fmt.Fprint(&c, "0.66 0.27 0.16 rg 40 800 515 8 re f 0.11 0.17 0.16 rg\n")
	text("F2", 24, 56, s.title)
	y -= 34
	text("F1", 11, 56, s.name)
	y -= 30
	para("F1", 13, 56, s.lead)
	y -= 10
	for _, t := range s.text {
		para("F1", 12, 56, t)
		y -= 8
	}
	y -= 8
	for i, q := range s.questions {
		para("F2", 12, 56, fmt.Sprintf("%d. %s", i+1, q))
		for range 3 {
			y -= 14
			fmt.Fprintf(&c, "0.6 G 0.5 w [1 3] 0 d 56 %.1f m 540 %.1f l S\n", y, y)
			y -= 6
		}
		y -= 22
	}
	y = 40
	text("F1", 9, 56, "Préau")

	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", c.Len(), c.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
		// Outside of pages text has the PDF's own encoding, which differs in this one sign.
		fmt.Sprintf("<< /Title (%s) /Producer (Pr\\351au) >>", strings.ReplaceAll(pdfString(s.title), `\222`, `\220`)),
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R /Info 7 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, xref)
	return b.Bytes()
}

// pdfString writes v as WinAnsi inside a literal string.
func pdfString(v string) string {
	var b strings.Builder
	for _, r := range v {
		switch {
		case strings.ContainsRune(`()\`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '’':
			b.WriteString(`\222`)
		case r == '…':
			b.WriteString(`\205`)
		case r == 'œ':
			b.WriteString(`\234`)
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\%03o`, r)
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

func wrap(v string, width int) []string {
	var lines []string
	line, n := "", 0
	for w := range strings.FieldsSeq(v) {
		k := len([]rune(w))
		if n > 0 && n+1+k > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if n > 0 {
			line += " "
			n++
		}
		line += w
		n += k
	}
	return append(lines, line)
}
