package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"preau/node/notify"
)

// ErrNotNow reports a file that may not be fetched now, or can't be.
var ErrNotNow = errors.New("it can't be had now")

// Standing is what a box says of itself.
type Standing struct {
	Version             string
	Region, Box, School string
}

// Box is a box of this machine, asked at its face for operators.
type Box struct {
	base   string
	admin  *notify.Admin
	client *http.Client
}

// NewBox makes one for the face at address.
func NewBox(address string) (*Box, error) {
	admin, err := notify.NewAdmin(address)
	if err != nil {
		return nil, err
	}
	return &Box{base: "http://" + address, admin: admin, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// Standing asks the box how it stands.
func (b *Box) Standing(ctx context.Context) (Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var said struct {
		Version string `json:"version"`
		Region  *struct {
			Region string `json:"region"`
			Box    string `json:"box"`
			School string `json:"school"`
		} `json:"region"`
	}
	resp, err := b.get(ctx, "/status")
	if err != nil {
		return Standing{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Standing{}, fmt.Errorf("the box answers %d", resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(&said); err != nil {
		return Standing{}, fmt.Errorf("read how the box stands: %w", err)
	}
	out := Standing{Version: said.Version}
	if said.Region != nil {
		out.Region, out.Box, out.School = said.Region.Region, said.Region.Box, said.Region.School
	}
	return out, nil
}

// Ready reports whether the box does all its work.
func (b *Box) Ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return b.admin.Ready(ctx) == nil
}

// Fetch writes what is published under an id to w, at most so many bytes of it.
// The box brings it over the line if it has not got it, when the region lets it
// and at its rate. Errors: ErrNotNow, or what went wrong.
func (b *Box) Fetch(ctx context.Context, id string, w io.Writer, most int64) error {
	resp, err := b.get(ctx, "/published/"+id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, err := io.ReadAll(io.LimitReader(resp.Body, 500))
		if err != nil || resp.StatusCode == http.StatusNotFound && !strings.Contains(string(why), "published") {
			why = []byte("the box that runs gives no published files to this program")
		}
		return fmt.Errorf("%w: %s", ErrNotNow, oneLine(string(why)))
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, most+1))
	if err != nil {
		return fmt.Errorf("%w: it broke off after %d bytes: %w", ErrNotNow, n, err)
	}
	if n > most {
		return fmt.Errorf("%s has more than %d bytes", id, most)
	}
	return nil
}

func (b *Box) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no box answers on this machine: %w", err)
	}
	return resp, nil
}
