//go:build appliance && linux

package ansible_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// readEnv turns the test's own program into a class: devices that download one file
// after another from their school's box, from inside the hosts' network. It has the
// folder of the files that the site has, and the boxes' addresses.
const readEnv = "PREAU_TEST_READ"

// downloads is what came of it.
type downloads struct {
	Whole    int      `json:"whole"`
	Failures []string `json:"failures"` // a wrong answer, wrong bytes, or none for a minute
	WentOn   int      `json:"went_on"`  // whole all the same, after the box had broken off or was not there
	Slowest  float64  `json:"slowest"`  // seconds
	Bytes    int64    `json:"bytes"`
}

const (
	devices = 3 // at each box
	pause   = 300 * time.Millisecond
)

// download has devices at each box until stop is closed. arg is FOLDER=BOX,BOX.
func download(arg string, stop <-chan struct{}) (any, error) {
	folder, boxes, _ := strings.Cut(arg, "=")
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no files in %s: %w", folder, err)
	}
	slices.Sort(names)
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		out   downloads
	)
	// As a browser does: a connection that is lost is made anew.
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 30 * time.Second}}
	for _, box := range strings.Split(boxes, ",") {
		for device := range devices {
			group.Go(func() {
				// Devices of a class begin in different places, and meet.
				for i := device * len(names) / devices; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(pause):
					}
					file := names[i%len(names)]
					began := time.Now()
					n, tries, err := whole(client, "http://"+box+"/o/library/"+filepath.Base(file), file)
					mu.Lock()
					out.Slowest = max(out.Slowest, time.Since(began).Seconds())
					out.Bytes += n
					switch {
					case err != nil:
						out.Failures = append(out.Failures, fmt.Sprintf("%s of %s: %v", filepath.Base(file), box, err))
					case tries > 1:
						out.Whole++
						out.WentOn++
					default:
						out.Whole++
					}
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	return out, nil
}

// errAway is what a device answers by trying again: there is no box, or it broke off.
var errAway = errors.New("the box is away")

// whole downloads a URL as a browser does, which goes on where it was when it is
// broken off, and compares it with a file.
func whole(client *http.Client, url, file string) (n int64, tries int, err error) {
	want, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got []byte
	tag := ""
	for {
		tries++
		part, etag, err := some(ctx, client, url, len(got), tag)
		if tag == "" {
			tag = etag
		}
		got = append(got, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, errAway) || ctx.Err() != nil {
			return int64(len(got)), tries, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !bytes.Equal(got, want) {
		return int64(len(got)), tries, fmt.Errorf("%d bytes, and they are not the site's %d", len(got), len(want))
	}
	return int64(len(got)), tries, nil
}

// some is what comes of one request for what is missing.
func some(ctx context.Context, client *http.Client, url string, from int, tag string) (part []byte, etag string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	want := http.StatusOK
	if from > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		r.Header.Set("If-Range", tag)
		want = http.StatusPartialContent
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", errAway, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return nil, "", fmt.Errorf("the answer is %s", resp.Status)
	}
	if part, err = io.ReadAll(resp.Body); err != nil {
		err = fmt.Errorf("%w: %w", errAway, err)
	}
	return part, resp.Header.Get("ETag"), err
}
