package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/hold"
)

// answering is a server that gives its answers in turn, the last for ever.
type answering struct {
	answers []http.Response
	asked   []string
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r.URL.RequestURI())
	out := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return &out, nil
}

func answer(status int, body []byte, fields ...string) http.Response {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
}

func asking(servers map[string]*answering) *parents {
	p := &parents{open: map[string]*way{}}
	for name, a := range servers {
		p.servers = append(p.servers, catalogue.Server{Name: name})
		p.open[name] = &way{blocks: a}
	}
	return p
}

func TestAServerThatIsGettingABlockIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := []byte("a block")
		d := block.Sum(data)
		busy := &answering{answers: []http.Response{answer(503, nil, "Retry-After", "2"), answer(200, data)}}
		none := &answering{answers: []http.Response{answer(404, nil)}}
		p := asking(map[string]*answering{"busy": busy, "none": none})
		began := time.Now()
		got, err := p.block(withOf(t.Context(), "film & co"), d)
		if err != nil || !bytes.Equal(got, data) || time.Since(began) != 2*time.Second {
			t.Errorf("%q after %s, %v", got, time.Since(began), err)
		}
		if want := "/blocks/" + d.String() + "?of=film+%26+co"; busy.asked[0] != want {
			t.Errorf("asked for %s, want %s", busy.asked[0], want)
		}
		if len(none.asked) == 0 {
			t.Error("the other server was not asked")
		}
	})
}

func TestABlockThatNobodyGives(t *testing.T) {
	data := []byte("a block")
	d := block.Sum(data)
	for name, tt := range map[string]struct {
		answer http.Response
		rounds int
		want   error
	}{
		"none has it":     {answer(404, nil), 1, block.ErrNotFound},
		"another one":     {answer(200, []byte("a blocK")), 1, hold.ErrWrongBytes},
		"cut off":         {answer(200, data[:3]), 1, hold.ErrWrongBytes},
		"a longer one":    {answer(200, make([]byte, block.Size+1)), 1, hold.ErrWrongBytes},
		"a broken server": {answer(500, nil), 1, nil},
		"busy for ever":   {answer(503, nil, "Retry-After", "x"), busyRounds, nil},
		"busy for long":   {answer(503, nil, "Retry-After", "9999"), busyRounds, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answering{answers: []http.Response{tt.answer}}
				began := time.Now()
				_, err := asking(map[string]*answering{"a": a}).block(t.Context(), d)
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) || len(a.asked) != tt.rounds || time.Since(began) > busyRounds*mostBusy {
					t.Errorf("%v after %d requests and %s", err, len(a.asked), time.Since(began))
				}
			})
		})
	}
	if _, err := asking(nil).block(t.Context(), d); !errors.Is(err, errNoServers) {
		t.Errorf("no servers: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	busy := &answering{answers: []http.Response{answer(503, nil)}}
	if _, err := asking(map[string]*answering{"a": busy}).block(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
