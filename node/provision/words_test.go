package provision

import (
	"testing"

	"preau/cache/page"
)

func TestEveryStepIsSaidInBothLanguages(t *testing.T) {
	for _, lang := range []page.Lang{page.French, page.English} {
		say := wordsIn(lang)
		for _, step := range []Step{Waiting, Mistake, Asking, Unreached, Refused, Done, Returning, Untold, Outdated, Rejected} {
			if say.titles[step] == "" || say.advice[step] == "" {
				t.Errorf("%s: nothing is said of %q", lang, step)
			}
		}
		for name, text := range map[string]string{"used": say.used, "back": say.back, "tpm": say.degraded["tpm"], "disk": say.degraded["disk"]} {
			if text == "" {
				t.Errorf("%s: nothing is said of %s", lang, name)
			}
		}
	}
}
