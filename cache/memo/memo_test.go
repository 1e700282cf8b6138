package memo_test

import (
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/memo"
)

func key(b byte) memo.Key { return memo.Key{b} }

func TestWhatIsRemembered(t *testing.T) {
	c, err := memo.New(memo.Options[string]{Most: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, ok := c.Get(key(1)); ok || v != "" || !c.Empty() {
		t.Errorf("an empty cache gave %q, %v", v, ok)
	}
	c.Set(key(1), "one")
	c.Set(key(1), "uno")
	c.Set(key(2), "two")
	if v, ok := c.Get(key(1)); !ok || v != "uno" || c.Empty() {
		t.Errorf("gave %q, %v; want uno", v, ok)
	}
	c.Forget(key(1))
	if _, ok := c.Get(key(1)); ok {
		t.Error("what was to be forgotten is there")
	}
	c.Clear()
	if _, ok := c.Get(key(2)); ok {
		t.Error("what was cleared is there")
	}
	if _, err := memo.New(memo.Options[string]{}); err == nil {
		t.Error("a cache without a bound was made")
	}
}

func TestAWeightIsKeptTo(t *testing.T) {
	c, err := memo.New(memo.Options[[]byte]{Most: 1000, Weigh: func(b []byte) uint32 { return uint32(len(b)) }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 100 {
		c.Set(key(byte(i)), make([]byte, 100))
	}
	// What has no more room goes a moment later.
	deadline := time.Now().Add(time.Minute)
	for {
		weight := 0
		for i := range 100 {
			if b, ok := c.Get(key(byte(i))); ok {
				weight += len(b)
			}
		}
		if weight > 0 && weight <= 1000 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are remembered, want 1 to 1000", weight)
		}
		<-time.After(time.Millisecond)
	}
}

func TestForgottenByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := memo.New(memo.Options[int]{Most: 10, For: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		c.Set(key(1), 1)
		c.SetFor(key(2), 2, time.Hour)
		c.SetFor(key(3), 3, 0)
		<-time.After(2 * time.Minute)
		for k, want := range map[byte]bool{1: false, 2: true, 3: false} {
			if _, ok := c.Get(key(k)); ok != want {
				t.Errorf("after two minutes %d is there: %v, want %v", k, ok, want)
			}
		}
		c.Close()
	})
}
