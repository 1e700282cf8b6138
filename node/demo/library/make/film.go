//go:build ignore

// Command make draws the sample library's film about the water cycle, picture by
// picture, with its music, and lets ffmpeg (Debian's package is enough) make
// one small MP4 of it:
//
//	cd node/demo/library && go generate
//
// It is run by hand when the film changes, never by the build: the film is in the
// repository. It makes nothing else of the library. Captions are beside it
// as WebVTT, in French and English.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	width, height = 640, 360
	fps           = 12
	seconds       = 160
	hertz         = 22050
)

type rgb struct{ r, g, b float64 }

func (a rgb) mix(b rgb, t float64) rgb {
	t = clamp(t)
	return rgb{a.r + (b.r-a.r)*t, a.g + (b.g-a.g)*t, a.b + (b.b-a.b)*t}
}

func clamp(t float64) float64 { return max(0, min(1, t)) }

// smooth goes from 0 to 1 between a and b.
func smooth(a, b, x float64) float64 {
	t := clamp((x - a) / (b - a))
	return t * t * (3 - 2*t)
}

// during is 1 between from and to, with soft ends.
func during(from, to, t float64) float64 { return smooth(from, from+4, t) * (1 - smooth(to-4, to, t)) }

// dot is the softness of a round spot of radius r whose middle is d away.
func dot(d, r float64) float64 { return 1 - smooth(r-0.0025, r+0.0025, d) }

// hash gives a fixed number between 0 and 1 for every n.
func hash(n float64) float64 {
	_, f := math.Modf(math.Abs(math.Sin(n*12.9898+4.1414) * 43758.5453))
	return f
}

// ground is the land's height at x: the sea's floor on the left, a beach, hills, mountains on the right.
func ground(x float64) float64 {
	h := 0.09 + 0.20*smooth(0.20, 0.62, x)
	h += 0.36 * smooth(0.62, 0.88, x) * (1 - 0.35*smooth(0.9, 1.05, x))
	h += 0.018*math.Sin(x*31) + 0.012*math.Sin(x*57+1)*smooth(0.5, 0.7, x)
	return h
}

const sea = 0.24

// pixel is the colour at x, y (y upwards, 0 to 1) and time t.
func pixel(x, y, t float64) rgb {
	dusk := during(128, 158, t)
	rain := during(70, 108, t)
	c := rgb{0.90, 0.95, 0.97}.mix(rgb{0.36, 0.65, 0.86}, y*1.1)
	c = c.mix(rgb{0.62, 0.68, 0.75}, 0.55*rain)
	c = c.mix(rgb{0.98, 0.72, 0.48}.mix(rgb{0.28, 0.30, 0.52}, y*1.3), dusk)

	// The sun goes over the sky once.
	sx, sy := 0.10+0.62*t/seconds, 0.36+0.50*math.Sin(math.Pi*(0.08+0.92*t/seconds))
	ds := math.Hypot((x-sx)*1.7778, y-sy)
	warm := rgb{1, 0.86, 0.36}
	c = c.mix(warm, (0.35+0.1*math.Sin(t*1.3))*math.Exp(-ds*7))
	c = c.mix(warm, dot(ds, 0.062))

	// Far hills, then the land, with snow where it is high.
	far := 0.33 + 0.05*math.Sin(x*9+2) + 0.03*math.Sin(x*17)
	c = c.mix(rgb{0.55, 0.68, 0.72}.mix(rgb{0.40, 0.36, 0.50}, dusk), (1-smooth(far-0.003, far+0.003, y))*0.8)
	g := ground(x)
	land := rgb{0.47, 0.62, 0.36}.mix(rgb{0.45, 0.42, 0.40}, smooth(0.40, 0.52, y))
	land = land.mix(rgb{0.97, 0.98, 1}, smooth(0.53, 0.56, y+0.012*math.Sin(x*90)))
	land = land.mix(rgb{0.86, 0.78, 0.58}, smooth(0.30, 0.27, y)*smooth(0.60, 0.50, x))
	land = land.mix(rgb{0.60, 0.47, 0.34}, smooth(g-0.04, g-0.055, y))
	land = land.mix(rgb{0.30, 0.30, 0.38}, 0.4*dusk)
	inLand := 1 - smooth(g-0.003, g+0.003, y)

	// Water that soaks in and creeps back to the sea below the ground.
	soak := during(96, 150, t)
	if y < g-0.06 && x > 0.42 {
		_, f := math.Modf(x*9 + t*0.22 + 0.15*math.Sin(y*60))
		band := smooth(0.10, 0.13, y) * (1 - smooth(0.17, 0.20, y))
		land = land.mix(rgb{0.30, 0.56, 0.80}, soak*band*(0.35+0.4*smooth(0.3, 0.5, f)*(1-smooth(0.5, 0.7, f))))
	}
	c = c.mix(land, inLand)

	// The river, once it has rained: a thread along the surface that runs to the sea.
	river := smooth(88, 100, t)
	if x > 0.44 && x < 0.86 && river > 0 {
		d := math.Abs(y - (g - 0.012 - 0.006*math.Sin(x*40)))
		w := 0.011 * (1.4 - x)
		if x > 0.86-0.42*smooth(86, 100, t) {
			_, f := math.Modf(x*22 + t*0.9)
			c = c.mix(rgb{0.33, 0.62, 0.86}.mix(rgb{0.80, 0.91, 0.97}, 0.5*smooth(0.7, 0.9, f)), river*(1-smooth(w-0.003, w+0.003, d)))
		}
	}

	// The sea and its waves.
	level := sea + 0.006*math.Sin(x*38+t*1.4) + 0.004*math.Sin(x*61-t*1.1)
	if g < level {
		water := rgb{0.10, 0.36, 0.58}.mix(rgb{0.24, 0.60, 0.78}, y/sea)
		water = water.mix(rgb{0.92, 0.97, 1}, smooth(level-0.008, level-0.002, y)*0.7)
		water = water.mix(rgb{0.80, 0.50, 0.42}, 0.35*dusk*y/sea)
		c = c.mix(water, (1-smooth(level-0.002, level+0.002, y))*smooth(g-0.002, g+0.004, y))
	}

	// Vapour: drops that rise from the sea and thin out.
	if vapour := during(12, 66, t); vapour > 0 && y > sea && x < 0.5 {
		col := math.Floor(x * 26)
		cx := (col + 0.5) / 26
		speed := 0.07 + 0.05*hash(col)
		for k := range 3 {
			_, up := math.Modf(t*speed + hash(col*7+float64(k)*13))
			py := sea + up*0.46
			px := cx + 0.010*math.Sin(t*1.2+col*2+up*8)
			d := math.Hypot((x-px)*1.7778, y-py)
			c = c.mix(rgb{0.86, 0.95, 1}, vapour*0.8*(1-up)*dot(d, 0.0085))
		}
	}

	// Clouds gather over the sea, then drift to the mountains.
	gather := smooth(34, 60, t) * (1 - 0.9*smooth(110, 140, t))
	drift := 0.46 * smooth(50, 78, t)
	cover := 0.0
	for i := range 11 {
		n := float64(i)
		px := 0.16 + 0.28*hash(n+3) + drift + 0.02*math.Sin(t*0.15+n)
		py := 0.76 + 0.075*hash(n*5+1) + 0.006*math.Sin(t*0.4+n*2)
		r := (0.045 + 0.055*hash(n*3+2)) * (0.4 + 0.6*gather)
		d := math.Hypot((x-px)*1.35, y-py)
		cover = max(cover, 1-smooth(r*0.82, r*1.04, d))
	}
	grey := 0.30*rain + 0.06*smooth(0.84, 0.68, y)
	c = c.mix(rgb{1 - grey, 1 - grey, 1 - grey*0.85}.mix(rgb{0.98, 0.80, 0.72}, 0.5*dusk), gather*cover*0.96)

	// Rain, and snow on the heights.
	if rain > 0 && x > 0.58 && y > g && y < 0.75 {
		col := math.Floor(x * 80)
		_, fall := math.Modf(t*(0.75+0.2*hash(col)) + hash(col*3))
		cx := (col + 0.5) / 80
		for k := range 2 {
			_, f := math.Modf(fall + 0.5*float64(k))
			py := 0.75 - f*0.6
			if y > 0.52 { // snow falls slower and wanders
				py = 0.75 - math.Mod(f*0.5+hash(col)*0.3, 0.3)
				d := math.Hypot((x-cx-0.004*math.Sin(t*2+col))*1.7778, y-py)
				c = c.mix(rgb{1, 1, 1}, rain*0.9*dot(d, 0.005))
				continue
			}
			if dx := math.Abs(x - cx); dx < 0.0016 && math.Abs(y-py) < 0.016 {
				c = c.mix(rgb{0.42, 0.62, 0.84}, rain*0.8)
			}
		}
	}
	return c
}

func frame(t float64, buf []byte) {
	done := make(chan struct{})
	const bands = 4
	for b := range bands {
		go func() {
			for py := b * height / bands; py < (b+1)*height/bands; py++ {
				for px := range width {
					c := pixel((float64(px)+0.5)/width, 1-(float64(py)+0.5)/height, t)
					i := (py*width + px) * 3
					buf[i], buf[i+1], buf[i+2] = byte(255*clamp(c.r)), byte(255*clamp(c.g)), byte(255*clamp(c.b))
				}
			}
			done <- struct{}{}
		}()
	}
	for range bands {
		<-done
	}
}

// music is a slow walk over five notes, with the rain's hiss while it rains.
func music(w io.Writer) error {
	scale := []float64{261.63, 293.66, 329.63, 392.00, 440.00, 523.25}
	const beat = hertz * 8 / 10
	samples := make([]float64, hertz*seconds)
	for n := 0; n*beat < len(samples); n++ {
		f := scale[int(hash(float64(n)*1.7)*float64(len(scale)))]
		if n%8 == 0 {
			f = scale[0] / 2
		}
		for i := range min(beat*4, len(samples)-n*beat) {
			s := float64(i) / hertz
			v := math.Sin(2*math.Pi*f*s) + 0.3*math.Sin(4*math.Pi*f*s) + 0.1*math.Sin(6*math.Pi*f*s)
			samples[n*beat+i] += 0.13 * v * math.Exp(-s*1.6) * smooth(0, 0.012, s)
		}
	}
	state, low := uint32(1), 0.0
	for i := range samples {
		t := float64(i) / hertz
		state = state*1664525 + 1013904223
		low += 0.15 * (float64(state>>8)/(1<<23) - 1 - low)
		samples[i] += 0.05 * low * during(70, 108, t)
		samples[i] *= smooth(0, 2, t) * (1 - smooth(seconds-4, seconds, t))
	}
	pcm := make([]int16, len(samples))
	for i, v := range samples {
		pcm[i] = int16(32000 * max(-1, min(1, v)))
	}
	return binary.Write(w, binary.LittleEndian, pcm)
}

func run(out string) error {
	dir, err := os.MkdirTemp("", "film")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sound, err := os.Create(filepath.Join(dir, "sound.s16"))
	if err != nil {
		return err
	}
	if err := music(sound); err != nil {
		return err
	}
	if err := sound.Close(); err != nil {
		return err
	}
	cmd := exec.Command("ffmpeg", "-y", "-loglevel", "error",
		"-f", "rawvideo", "-pix_fmt", "rgb24", "-s", fmt.Sprintf("%dx%d", width, height), "-r", fmt.Sprint(fps), "-i", "-",
		"-f", "s16le", "-ar", fmt.Sprint(hertz), "-ac", "1", "-i", sound.Name(),
		"-c:v", "libx264", "-profile:v", "main", "-pix_fmt", "yuv420p", "-preset", "slow", "-b:v", "135k", "-maxrate", "300k", "-bufsize", "900k", "-g", fmt.Sprint(fps*5),
		"-c:a", "aac", "-b:a", "32k", "-movflags", "+faststart", "-fflags", "+bitexact", "-map_metadata", "-1", out)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	buf := make([]byte, width*height*3)
	for n := range fps * seconds {
		frame(float64(n)/fps, buf)
		if _, err := pipe.Write(buf); err != nil {
			break // ffmpeg has said why
		}
	}
	pipe.Close()
	return cmd.Wait()
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "still" { // film.go still SECONDS FILE.ppm
		var t float64
		fmt.Sscan(os.Args[2], &t)
		buf := make([]byte, width*height*3)
		frame(t, buf)
		if err := os.WriteFile(os.Args[3], append(fmt.Appendf(nil, "P6 %d %d 255\n", width, height), buf...), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run film.go FILE.mp4")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "film:", err)
		os.Exit(1)
	}
}
