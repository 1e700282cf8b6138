//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ticksPerSecond is USER_HZ, the unit of /proc/PID/stat, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuSeconds is what the process and everything under it has used so far, user and system.
func (p *process) cpuSeconds() float64 {
	var ticks int64
	for i, pid := range processTree(p.pid()) {
		f := stat(pid)
		if len(f) < 15 {
			continue
		}
		fields := f[11:13] // utime, stime
		if i == 0 {
			fields = f[11:15] // and those of its children that have ended
		}
		for _, s := range fields {
			n, _ := strconv.ParseInt(s, 10, 64)
			ticks += n
		}
	}
	return float64(ticks) / ticksPerSecond
}

// memory is a process tree's resident memory in bytes.
type memory struct {
	rss  int64 // all, mapped files included
	anon int64 // what the page cache could not take back
}

func (p *process) memory() memory {
	var m memory
	for _, pid := range processTree(p.pid()) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			name, rest, _ := strings.Cut(sc.Text(), ":")
			v, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				continue
			}
			switch name {
			case "Rss":
				m.rss += v << 10
			case "Anonymous":
				m.anon += v << 10
			}
		}
		f.Close()
	}
	return m
}

// diskUse sums the blocks that the files under dir occupy, as du does.
func diskUse(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // files come and go while a cache works
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum
}
