package library

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
)

// pictures are the PNGs, by path, each drawn by a function of a point.
func pictures() map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){
		"/pictures/island.png":  func() ([]byte, error) { return draw(480, 480, island) },
		"/pictures/fractal.png": func() ([]byte, error) { return draw(480, 360, fractal) },
		"/pictures/rosette.png": func() ([]byte, error) { return draw(400, 400, rosette) },
	}
}

func draw(w, h int, at func(x, y float64) color.RGBA) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for py := range h {
		for px := range w {
			img.SetRGBA(px, py, at((float64(px)+0.5)/float64(h), (float64(py)+0.5)/float64(h)))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("library: draw: %w", err)
	}
	return b.Bytes(), nil
}

// noise is smooth value noise; each octave is finer and weaker.
func noise(x, y float64) float64 {
	sum, amp := 0.0, 0.5
	for octave := range int64(5) {
		ix, iy := math.Floor(x), math.Floor(y)
		fx, fy := x-ix, y-iy
		fx, fy = fx*fx*(3-2*fx), fy*fy*(3-2*fy)
		corner := func(dx, dy int64) float64 {
			return float64(word(uint64(octave)+77, (int64(ix)+dx)*8191+int64(iy)+dy)>>11) / (1 << 53)
		}
		top := corner(0, 0) + fx*(corner(1, 0)-corner(0, 0))
		low := corner(0, 1) + fx*(corner(1, 1)-corner(0, 1))
		sum += amp * (top + fy*(low-top))
		x, y, amp = x*2+3, y*2+5, amp/2
	}
	return sum
}

func height(x, y float64) float64 {
	d := math.Hypot(x-0.5, y-0.5)
	return noise(x*4+1, y*4+9)*1.25 - d*d*3.1 - 0.05
}

func island(x, y float64) color.RGBA {
	h := height(x, y)
	light := 1 + 9*(height(x-0.004, y-0.004)-h)
	var c [3]float64
	switch {
	case h < 0.30:
		t := math.Max(0, h/0.30)
		c, light = [3]float64{40 + 90*t, 100 + 80*t, 150 + 50*t}, 1
	case h < 0.33:
		c = [3]float64{233, 214, 160}
	case h < 0.48:
		c = [3]float64{122, 160, 92}
	case h < 0.60:
		c = [3]float64{88, 122, 78}
	case h < 0.70:
		c = [3]float64{140, 128, 118}
	default:
		c = [3]float64{245, 246, 248}
	}
	if f := math.Mod(h, 0.05); h > 0.30 && f < 0.0022 { // a contour line
		light *= 0.72
	}
	part := func(v float64) uint8 { return uint8(math.Max(0, math.Min(255, v*light))) }
	return color.RGBA{part(c[0]), part(c[1]), part(c[2]), 255}
}

func fractal(x, y float64) color.RGBA {
	c := complex(x*2.5-2.35, y*2.4-1.2)
	// The two largest parts of the set are known without counting.
	q := (real(c)-0.25)*(real(c)-0.25) + imag(c)*imag(c)
	if q*(q+real(c)-0.25) <= imag(c)*imag(c)/4 || (real(c)+1)*(real(c)+1)+imag(c)*imag(c) <= 1.0/16 {
		return color.RGBA{14, 30, 40, 255}
	}
	z := c
	for n := range 120 {
		if a := real(z)*real(z) + imag(z)*imag(z); a > 64 {
			t := (float64(n) - math.Log2(math.Log(a)/2)) / 40
			t = math.Sqrt(math.Max(0, math.Min(1, t)))
			return color.RGBA{uint8(18 + 232*t), uint8(50 + 180*t), uint8(80 + 120*t), 255}
		}
		z = z*z + c
	}
	return color.RGBA{14, 30, 40, 255}
}

func rosette(x, y float64) color.RGBA {
	inside, edge := 0, 1.0
	for k := range 19 {
		var cx, cy float64
		switch {
		case k == 0:
		case k < 7:
			a := float64(k-1) * math.Pi / 3
			cx, cy = 0.155*math.Cos(a), 0.155*math.Sin(a)
		default:
			a := float64(k-7) * math.Pi / 6
			r := 0.31
			if k%2 == 0 {
				r = 0.31 * math.Cos(math.Pi/6)
			}
			cx, cy = r*math.Cos(a), r*math.Sin(a)
		}
		d := math.Hypot(x-0.5-cx, y-0.5-cy) - 0.155
		if d < 0 {
			inside++
		}
		edge = math.Min(edge, math.Abs(d))
	}
	if edge < 0.0022 {
		return color.RGBA{29, 43, 42, 255}
	}
	shades := []color.RGBA{{251, 246, 234, 255}, {246, 218, 176, 255}, {226, 160, 112, 255}, {190, 100, 72, 255}, {62, 122, 128, 255}, {45, 109, 117, 255}}
	return shades[min(inside, len(shades)-1)]
}
