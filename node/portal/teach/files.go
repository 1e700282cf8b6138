package teach

import (
	"net/http"
	"time"

	"preau/node/portal/look"
	"preau/node/upload"
)

// sending is a file that is on its way from a device to the box.
type sending struct {
	upload.Status
	Percent int64
	Why     string
}

// added is a file of the school, and how far it has come.
type added struct {
	File
	Name        string
	Class, Icon string
	Steps       []step
	At          time.Time
}

// step is one of the three places that a file gets to.
type step struct {
	Name string
	Done bool
}

// addedBody is what comes and what is there.
type addedBody struct {
	Token   string
	Sending []sending
	Files   []added
}

func (t *Teach) addedBody(r *http.Request, who Person) (b addedBody) {
	say := wordsOf(r)
	b.Token = t.parts.Token(r)
	if t.parts.Uploads != nil {
		for _, st := range t.parts.Uploads.List(who.Subject) {
			if st.Deposit != "" {
				continue // it is among the files
			}
			s := sending{Status: st, Percent: 100}
			if st.Length > 0 {
				s.Percent = st.Offset * 100 / st.Length
			}
			switch {
			case st.Reason != "":
				s.Why = say.Reasons[st.Reason]
			case st.Whole:
				s.Why = say.Storing
			case !st.Sending:
				s.Why = say.GoOn
			}
			b.Sending = append(b.Sending, s)
		}
	}
	if t.parts.Files != nil {
		for _, f := range t.parts.Files.Files(mostFiles) {
			sort := look.Kind(f.ContentType)
			far := map[Stage]int{OnBox: 0, InRegion: 1, Safe: 2}[f.State]
			a := added{File: f, Name: named(f.Title, f.Filename), Class: sort.Class(), Icon: look.IconOf(f.ContentType), At: f.At}
			for i, name := range say.Steps {
				a.Steps = append(a.Steps, step{name, i <= far})
			}
			b.Files = append(b.Files, a)
		}
	}
	return b
}

// licence is one that a file may have.
type licence struct{ Value, Label string }

func (t *Teach) files(w http.ResponseWriter, r *http.Request, who Person) {
	say := wordsOf(r)
	body := struct {
		addedBody
		Endpoint string
		Can      bool
		Licences []licence
		Reasons  map[upload.Reason]string
	}{t.addedBody(r, who), UploadPrefix, t.parts.Uploads != nil, say.Licences, say.Reasons}
	t.write(w, r, filesPage, look.Page{
		Title: say.Files, Lead: say.FilesLead, Body: body,
		Scripts: []string{look.Asset("live.js"), Static.Asset("tus.min.js"), Static.Asset("files.js")},
	})
}

func (t *Teach) filesLive(w http.ResponseWriter, r *http.Request, who Person) {
	say := wordsOf(r)
	var watches []func() (<-chan struct{}, func())
	if t.parts.Uploads != nil {
		watches = append(watches, t.parts.Uploads.Watch)
	}
	if t.parts.Files != nil {
		watches = append(watches, t.parts.Files.Watch)
	}
	t.live(w, r, watches, func() ([]byte, error) {
		return filesPage.Part(r, "added.html", look.Page{Title: say.Files, Words: say, Body: t.addedBody(r, who)})
	})
}

// remove gives up a file that did not come in whole.
func (t *Teach) remove(w http.ResponseWriter, r *http.Request, who Person) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if t.parts.Uploads != nil {
		if err := t.parts.Uploads.Remove(r.Context(), who.Subject, r.PostFormValue("id")); err != nil {
			t.log.WarnContext(r.Context(), "an upload can't be removed", "err", err)
			look.Fail(w, r, http.StatusInternalServerError, wordsOf(r).NotRemoved)
			return
		}
	}
	http.Redirect(w, r, look.Path(r, Prefix+"files"), http.StatusSeeOther)
}
