package feed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"

	"preau/replication/catalogue"
)

// Goodbye is the error of a stream that its server ended in an orderly way.
type Goodbye struct{ Reason Reason }

func (g Goodbye) Error() string { return "the server said goodbye: " + string(g.Reason) }

// StatusError is the error of a server that answered with a status.
type StatusError struct {
	Code int
	Text string
}

func (e StatusError) Error() string { return fmt.Sprintf("the server answered %d: %s", e.Code, e.Text) }

// Stream is the feed as it comes from one server. It checks that what comes is
// well formed and in bounds, and nothing else: see Follower for what a box must
// check besides.
type Stream struct {
	hello Hello
	body  io.ReadCloser
	in    frameReader
	dec   *zstd.Decoder
	buf   []byte
}

// Batch is one step of the feed. Its records can be read until the next one is
// taken from the stream.
type Batch struct {
	After, Upto uint64 // the cursor before, and after the last part
	Part        uint16
	More        bool // another part follows; the cursor stays for now
	Count       int  // of records

	header  batchHeader
	payload []byte
	expand  func([]byte) ([]byte, error)
}

// Open asks the server at base, "https://host:port", for what comes after req's
// cursor. The stream ends with ctx.
func Open(ctx context.Context, rt http.RoundTripper, base string, req Request) (*Stream, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+Path+"?"+req.query(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the feed: %w", err)
	}
	res, err := rt.RoundTrip(r) //nolint:bodyclose // Stream.Close closes it
	if err != nil {
		return nil, fmt.Errorf("ask for the feed: %w", err)
	}
	s := &Stream{body: res.Body, in: frameReader{r: res.Body}}
	if err := s.begin(res); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Stream) begin(res *http.Response) error {
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != ContentType {
		text, err := io.ReadAll(io.LimitReader(res.Body, 256))
		if err != nil {
			return fmt.Errorf("ask for the feed: %w", err)
		}
		return StatusError{Code: res.StatusCode, Text: strings.TrimSpace(string(text))}
	}
	kind, header, _, err := s.in.next()
	if err != nil {
		return fmt.Errorf("begin the feed: %w", err)
	}
	if kind == frameGoodbye {
		return goodbye(header)
	}
	if kind != frameHello {
		return fmt.Errorf("%w: the feed does not begin with a hello", ErrRefused)
	}
	if err := unmarshal(header, &s.hello); err != nil {
		return fmt.Errorf("%w: hello: %w", ErrRefused, err)
	}
	return s.hello.check()
}

func goodbye(header []byte) error {
	var g goodbyeHeader
	if err := unmarshal(header, &g); err != nil {
		return fmt.Errorf("%w: goodbye: %w", ErrRefused, err)
	}
	switch g.Reason {
	case ReasonRevoked, ReasonMoved, ReasonDraining, ReasonBehind, ReasonAgain:
		return Goodbye(g)
	}
	return fmt.Errorf("%w: goodbye for an unknown reason", ErrRefused)
}

// Hello is how the stream began.
func (s *Stream) Hello() Hello { return s.hello }

// Next waits for the next batch. Errors: Goodbye, io.EOF, ErrRefused, the
// connection's. After an error there is nothing more.
func (s *Stream) Next() (*Batch, error) {
	kind, header, payload, err := s.in.next()
	if err != nil {
		return nil, err
	}
	if kind == frameGoodbye {
		return nil, goodbye(header)
	}
	if kind != frameBatch {
		return nil, fmt.Errorf("%w: a second hello", ErrRefused)
	}
	b := &Batch{payload: payload, expand: s.expand}
	if err := unmarshal(header, &b.header); err != nil {
		return nil, fmt.Errorf("%w: batch: %w", ErrRefused, err)
	}
	if err := b.header.check(len(payload)); err != nil {
		return nil, err
	}
	h := &b.header
	b.After, b.Upto, b.Part, b.More, b.Count = h.After, h.Upto, h.Part, h.More, int(h.Count)
	return b, nil
}

// Close ends the stream.
func (s *Stream) Close() {
	s.body.Close()
	if s.dec != nil {
		s.dec.Close()
	}
}

// expand decompresses a payload. A stream without one needs no decoder.
func (s *Stream) expand(payload []byte) ([]byte, error) {
	if s.dec == nil {
		dec, err := newDecoder()
		if err != nil {
			return nil, err
		}
		s.dec = dec
	}
	var err error
	if s.buf, err = s.dec.DecodeAll(payload, s.buf[:0]); err != nil {
		return nil, fmt.Errorf("%w: a payload of %d bytes: %w", ErrRefused, len(payload), err)
	}
	return s.buf, nil
}

func (b *Batch) raw() ([]raw, error) {
	if b.Count == 0 {
		return nil, nil
	}
	expanded, err := b.expand(b.payload)
	if err != nil {
		return nil, err
	}
	if len(expanded) > MaxExpanded {
		return nil, fmt.Errorf("%w: a payload of %d bytes when expanded", ErrRefused, len(expanded))
	}
	return decodeRecords(expanded, b.Count, b.After, b.Upto)
}

// Records reads the batch's records. Those marked Deleted are gone, or must not
// be seen by the school any more.
func (b *Batch) Records() ([]catalogue.Record, error) {
	raws, err := b.raw()
	if err != nil {
		return nil, err
	}
	records := make([]catalogue.Record, len(raws))
	for i := range raws {
		records[i] = raws[i].record()
	}
	return records, nil
}

// Follow calls hello once and batch for every batch until the stream or ctx ends
// or one of them returns an error, and returns what ended it.
func Follow(ctx context.Context, rt http.RoundTripper, base string, req Request, hello func(Hello) error, batch func(*Batch) error) error {
	s, err := Open(ctx, rt, base, req)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := hello(s.Hello()); err != nil {
		return err
	}
	for {
		b, err := s.Next()
		if err != nil {
			return err
		}
		if err := batch(b); err != nil {
			return err
		}
	}
}
