package region

import (
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
)

// Another box of the school may bring a deposit word for word, and nobody else.
func TestADepositIsTheSameFromTwoBoxesOfItsSchool(t *testing.T) {
	at := time.Date(2026, 3, 2, 8, 0, 0, int(7*time.Millisecond), time.UTC)
	agreed := catalogue.Deposit{
		ID: "d-1", School: "0690001A", Box: "a", Filename: "f.pdf", ContentType: "application/pdf", Title: "T", Description: "D",
		Collection: "C", At: at, Length: 3, SHA256: block.Sum([]byte("abc")),
	}
	for name, tt := range map[string]struct {
		change func(d *catalogue.Deposit)
		want   bool
	}{
		"an answer was lost":       {func(*catalogue.Deposit) {}, true},
		"its own box, other words": {func(d *catalogue.Deposit) { d.Title = "U" }, true},
		"its own box, other file":  {func(d *catalogue.Deposit) { d.SHA256[0]++ }, false},
		"its own box, other name":  {func(d *catalogue.Deposit) { d.Filename = "g" }, false},
		"another box":              {func(d *catalogue.Deposit) { d.Box = "b" }, true},
		"another box, its zone":    {func(d *catalogue.Deposit) { d.Box, d.At = "b", d.At.In(time.FixedZone("x", 3600)) }, true},
		"another box, title":       {func(d *catalogue.Deposit) { d.Box, d.Title = "b", "U" }, false},
		"another box, description": {func(d *catalogue.Deposit) { d.Box, d.Description = "b", "U" }, false},
		"another box, collection":  {func(d *catalogue.Deposit) { d.Box, d.Collection = "b", "U" }, false},
		"another box, type":        {func(d *catalogue.Deposit) { d.Box, d.ContentType = "b", "text/html" }, false},
		"another box, later":       {func(d *catalogue.Deposit) { d.Box, d.At = "b", d.At.Add(time.Millisecond) }, false},
		"another box, file":        {func(d *catalogue.Deposit) { d.Box, d.Length = "b", 4 }, false},
		"another school":           {func(d *catalogue.Deposit) { d.Box, d.School = "b", "0690002B" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := agreed
			tt.change(&d)
			if got := sameDeposit(agreed, d); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
