package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return storetest.NewMemory() })
}

func TestFaultyWithoutFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite takes seconds, and has run once")
	}
	storetest.Run(t, func(*testing.T) store.Store { return storetest.NewFaulty(storetest.NewMemory(), 1) })
}

const bucket = "books"

func faulty(t *testing.T) (*storetest.Faulty, *storetest.Memory) {
	t.Helper()
	m := storetest.NewMemory()
	if err := m.MakeBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	return storetest.NewFaulty(m, 1), m
}

func put(ctx context.Context, s store.Store, key, text string) error {
	_, err := s.Put(ctx, bucket, key, strings.NewReader(text), int64(len(text)), store.Options{}, store.Condition{})
	return err
}

func TestFaultsFitTheirCalls(t *testing.T) {
	f, m := faulty(t)
	f.Add(storetest.Fault{Ops: []storetest.Op{storetest.Put}, Prefix: "a/", Skip: 1, Times: 2, Err: store.ErrFull})
	var got []bool
	for range 5 {
		got = append(got, errors.Is(put(t.Context(), f, "a/k", "x"), store.ErrFull))
		if err := put(t.Context(), f, "b/k", "x"); err != nil {
			t.Errorf("a key that the fault is not for: %v", err)
		}
	}
	if want := [5]bool{false, true, true, false, false}; [5]bool(got) != want {
		t.Errorf("calls that went wrong: %v, want %v", got, want)
	}
	if n := f.Calls(storetest.Put); n != 10 {
		t.Errorf("%d Puts counted, want 10", n)
	}
	remove := f.Add(storetest.Fault{Bucket: bucket})
	if err := f.Ready(t.Context(), bucket); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready: %v, want ErrUnavailable", err)
	}
	remove()
	if err := f.Ready(t.Context(), bucket); err != nil {
		t.Errorf("Ready after the fault was removed: %v", err)
	}
	if err := m.Ready(t.Context(), bucket); err != nil {
		t.Error(err)
	}
}

func TestLostAnswers(t *testing.T) {
	f, m := faulty(t)
	f.Add(storetest.Fault{Lost: true, Times: 1})
	if err := put(t.Context(), f, "k", "x"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Put: %v, want ErrUnavailable", err)
	}
	if _, err := m.Head(t.Context(), bucket, "k"); err != nil {
		t.Errorf("the answer was lost, and the object with it: %v", err)
	}
}

func TestCutBodies(t *testing.T) {
	f, m := faulty(t)
	cut := int64(3)
	f.Add(storetest.Fault{Ops: []storetest.Op{storetest.Put, storetest.Get}, Cut: &cut, Times: 2})
	if err := put(t.Context(), f, "k", "abcdef"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Put: %v, want ErrUnavailable", err)
	}
	if _, err := m.Head(t.Context(), bucket, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after a cut Put: %v, want ErrNotFound", err)
	}
	if err := put(t.Context(), m, "k", "abcdef"); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []bool{false, true} {
		body, _, err := f.Get(t.Context(), bucket, "k", 0, -1, "")
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(body)
		switch {
		case whole && (err != nil || string(p) != "abcdef"):
			t.Errorf("the next Get: %q, %v", p, err)
		case !whole && (!errors.Is(err, store.ErrUnavailable) || !bytes.Equal(p, []byte("abc"))):
			t.Errorf("a cut Get: %q, %v", p, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSlowAndHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := faulty(t)
		f.Add(storetest.Fault{Delay: time.Minute, Slow: true, Times: 1})
		f.Add(storetest.Fault{Hang: true})
		began := time.Now()
		if err := put(t.Context(), f, "k", "x"); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a slow Put: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := put(ctx, f, "k", "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hanging Put: %v", err)
		}
	})
}

func TestRateIsAShare(t *testing.T) {
	f, _ := faulty(t)
	f.Add(storetest.Fault{Ops: []storetest.Op{storetest.Put}, Rate: 0.25})
	wrong := 0
	for range 1000 {
		if put(t.Context(), f, "k", "x") != nil {
			wrong++
		}
	}
	if wrong < 200 || wrong > 300 {
		t.Errorf("%d of 1000 calls went wrong, want about 250", wrong)
	}
}
