package central

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

// MaxDelivered is the length of the longest file that comes with its announcement,
// in one request. A longer one is worth asking first whether it is there.
const MaxDelivered = block.Size

// deliverAgain is how long a gateway that knows no delivery is taken at its word.
const deliverAgain = 10 * time.Minute

// errNoDelivery is a gateway of an earlier version, which takes parts only.
var errNoDelivery = errors.New("the centre takes no whole deposits")

// appendDelivery writes how a deposit stands before its bytes: its length in four
// bytes, and then itself, as Encode writes it.
func appendDelivery(d Deposit, p []byte) ([]byte, error) {
	head, err := Encode(d)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(p)), uint32(len(head))) //nolint:gosec // an announcement is short
	return append(append(out, head...), p...), nil
}

// readDelivery reads the announcement that a body of so many bytes begins with.
// What follows in body is the file.
func readDelivery(body io.Reader, length int64) (Deposit, error) {
	var size [4]byte
	if _, err := io.ReadFull(body, size[:]); err != nil {
		return Deposit{}, fmt.Errorf("%w: read deposit: %w", ErrInvalid, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxDeposit {
		return Deposit{}, fmt.Errorf("%w: a deposit announced in %d bytes, at most %d", ErrInvalid, n, maxDeposit)
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(body, head); err != nil {
		return Deposit{}, fmt.Errorf("%w: read deposit: %w", ErrInvalid, err)
	}
	d, err := DecodeDeposit(head)
	switch {
	case err != nil:
		return Deposit{}, err
	case d.Length > MaxDelivered:
		return Deposit{}, fmt.Errorf("%w: a file of %d bytes comes in parts", ErrInvalid, d.Length)
	case length != 4+int64(n)+d.Length:
		return Deposit{}, fmt.Errorf("%w: %d bytes come, and a deposit of %d was announced", ErrInvalid, length, d.Length)
	}
	return d, nil
}

// deliver announces a short deposit and brings it, in one request.
func (c *Client) deliver(ctx context.Context, d Deposit, p []byte) (DepositState, error) {
	if none := c.noDelivery.Load(); none != nil && time.Since(*none) < deliverAgain {
		return DepositState{}, errNoDelivery
	}
	body, err := appendDelivery(d, p)
	if err != nil {
		return DepositState{}, err
	}
	var s DepositState
	err = c.json(ctx, partAnswerTime, http.MethodPut, "/deposits/"+url.PathEscape(d.ID), http.Header{"Content-Type": {deliveryType}}, body, &s)
	if status, ok := errors.AsType[unknownAnswer](err); ok && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		now := time.Now()
		c.noDelivery.Store(&now)
		err = fmt.Errorf("%w: %w", errNoDelivery, err)
	}
	return s, err
}

const deliveryType = "application/vnd.preau.delivery"

// unknownAnswer is the status of an answer that is none of a gateway's refusals.
type unknownAnswer int

// Error implements error.
func (a unknownAnswer) Error() string { return http.StatusText(int(a)) }

func (s *Server) serveDelivery(w http.ResponseWriter, r *http.Request, id identity.Identity) error {
	const most = 4 + maxDeposit + MaxDelivered
	if r.ContentLength < 0 || r.ContentLength > most {
		return fmt.Errorf("%w: want a field Content-Length of at most %d", ErrInvalid, most)
	}
	ctx, body, leave, err := s.receive(w, r, most)
	if err != nil {
		return err
	}
	defer leave()
	d, err := readDelivery(body, r.ContentLength)
	switch {
	case err != nil:
		return err
	case d.ID != r.PathValue("id"):
		return fmt.Errorf("%w: the deposit %s comes under the name %q", ErrInvalid, d.ID, r.PathValue("id"))
	case d.Region != id.Region:
		return foreign(d, id)
	}
	state, err := s.deps.Deliver(ctx, d, body)
	if err != nil {
		return err
	}
	s.json(w, http.StatusOK, state)
	return nil
}

func foreign(d Deposit, id identity.Identity) error {
	return fmt.Errorf("%w: the deposit is of region %s, this certificate of %s", ErrInvalid, d.Region, id.Region)
}

// receive takes one of the places for bytes that come in, at most so many and
// within partTime.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, most int64) (_ context.Context, body io.Reader, leave func(), err error) {
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, nil, nil, fmt.Errorf("%w: %d parts are coming in already", ErrWaiting, uploading)
	}
	ctx, cancel := context.WithTimeout(r.Context(), partTime)
	return ctx, http.MaxBytesReader(w, r.Body, most), func() {
		cancel()
		<-s.slots
	}, nil
}

// pushWhole is Push for a file that is short enough to come with its announcement.
// It is errNoDelivery where Push must go the long way: the gateway knows no other,
// or the file can't be read any more, and may be there already.
func (c *Client) pushWhole(ctx context.Context, d Deposit, read func(context.Context, int64, int) ([]byte, error), progress func(int64)) (DepositState, error) {
	if d.Length > MaxDelivered {
		return DepositState{}, errNoDelivery
	}
	var p []byte
	if d.Length > 0 {
		var err error
		if p, err = read(ctx, 0, int(d.Length)); err != nil {
			return DepositState{}, fmt.Errorf("%w: %w", errNoDelivery, err)
		}
	}
	state, err := c.deliver(ctx, d, p)
	if err == nil && progress != nil {
		progress(int64(len(p)))
	}
	return state, err
}
