package box

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"preau/cache/page"
	"preau/cache/page/pagetest"
	"preau/replication/outbox"
)

// refusals are all that may be said of a deposit.
var refusals = []trouble{
	badRequest, badName, badForm, badEncoding, badMethod, notAllowed, turnedOff, noDeposit, givenUp,
	cameShort, tooLarge, noRoom, makingRoom, tooBusy, notOpen, depositFailed,
}

func TestBothLanguagesAreComplete(t *testing.T) {
	pagetest.Complete(t, depositTongues)
	for _, say := range []depositWords{depositTongues.French, depositTongues.English} {
		for _, state := range []outbox.State{outbox.OnBox, outbox.InRegion, outbox.InCentral} {
			if say.where[state] == "" || say.said[state] == "" {
				t.Errorf("%s: nothing is said of %s", say.Title, state)
			}
		}
	}
	for _, no := range refusals {
		pagetest.Complete(t, page.Both[string]{French: no.fr, English: no.en})
	}
	for en, fr := range waitingFrench {
		pagetest.Complete(t, page.Both[string]{French: fr, English: en})
	}
}

// The words that wait for a translation are those that the box says.
func TestWhyADepositWaitsIsSaidInFrench(t *testing.T) {
	if why := new(membership).lineless(); waitingFrench[why] == "" {
		t.Errorf("%q is not in French", why)
	}
}

func TestRefusalsAreForEverybody(t *testing.T) {
	for _, no := range refusals {
		for lang, text := range map[page.Lang]string{page.French: no.fr, page.English: no.en} {
			r := httptest.NewRequest(http.MethodGet, "/d/x", http.NoBody)
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Accept-Language", string(lang))
			w := httptest.NewRecorder()
			refuseDeposit(w, r, no)
			pagetest.Check(t, w.Body.String(), lang)
			if w.Code != no.status || w.Header().Get("Cache-Control") != "no-store" || (w.Header().Get("Retry-After") != "") != (no.after > 0) {
				t.Errorf("%s: %d %v", no.code, w.Code, w.Header())
			}
			sentence, _, _ := strings.Cut(text, "’") // and the like are written in another way
			if !strings.Contains(w.Body.String(), sentence) || !strings.Contains(w.Body.String(), `<a href="/d/">`) {
				t.Errorf("%s in %s:\n%s", no.code, lang, w.Body)
			}
		}
	}
}

func TestTheListOfDepositsIsForEverybody(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 5, 0, 0, time.Local)
	known := new(membership).lineless()
	view := func(o outbox.Deposit) listedDeposit {
		o.At = at
		return listedDeposit{Deposit: o, Path: depositPrefix + o.ID + "/f"}
	}
	list := depositList{Next: "/d/?after=d-4", Deposits: []listedDeposit{
		view(outbox.Deposit{ID: "d-1", Title: "<L’été>", Description: "Des mots", State: outbox.OnBox, Here: true, Length: 1000, Sent: 400, Waiting: known}),
		view(outbox.Deposit{ID: "d-2", Filename: "a.pdf", State: outbox.InRegion, Here: true, Length: 2_500_000, Waiting: "a reason of another version"}),
		view(outbox.Deposit{ID: "d-3", Filename: "b.pdf", State: outbox.InCentral, Here: true, Length: 1, Sent: 1}),
		view(outbox.Deposit{ID: "d-4", Filename: "c.pdf", State: outbox.InCentral, Length: 12}),
	}}
	for lang, want := range map[page.Lang][]string{
		page.French: {
			`href="/d/d-1/f" aria-describedby="about-d-1">&lt;L’été&gt;</a>`, "1,0 Ko", "22/11/2026 08:05</time> · sur cette boîte (40 %)",
			`<span lang="fr">la région n’est pas joignable pour le moment`, `<span lang="en">a reason of another version</span>`,
			"2,5 Mo", "dans la région", "<li>c.pdf<small", "au centre · plus sur cette boîte", "La suite de la liste",
		},
		page.English: {
			"1.0 KB", "2026-11-22 08:05</time> · on this box (40%)", `<span lang="en">the region can&#39;t be reached now`,
			"2.5 MB", "in the region", "in the centre · not on this box any more", "More of the list",
		},
	} {
		r := httptest.NewRequest(http.MethodGet, "/d/", http.NoBody)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Accept-Language", string(lang))
		w := httptest.NewRecorder()
		writeDepositPage(w, r, list)
		text := w.Body.String()
		pagetest.Check(t, text, lang)
		for _, s := range want {
			if !strings.Contains(text, s) {
				t.Errorf("in %s the list lacks %q:\n%s", lang, s, text)
			}
		}
		if strings.Count(text, " any more")+strings.Count(text, "plus sur cette boîte") != 1 {
			t.Errorf("what is here is said to be gone:\n%s", text)
		}
	}
}
