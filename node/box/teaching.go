package box

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"preau/cache/page"
	"preau/node/auth"
	"preau/node/config"
	"preau/node/lesson"
	"preau/node/portal"
	schoolpages "preau/node/portal/school"
	"preau/node/portal/teach"
	"preau/node/upload"
	"preau/replication/outbox"
)

const (
	// lessonsPath is where the school's other boxes ask for lessons.
	lessonsPath = "/n/lessons"
	// uploadsReserve is left free on the disk by files that come in piece by piece.
	uploadsReserve = int64(config.GiB)
)

// teaching is the box's part in what teachers prepare and add.
type teaching struct {
	staff   *staff
	store   *lesson.Store
	lights  *lesson.Preparer
	uploads *upload.Server
	pages   *teach.Teach
}

// openTeaching reads the lessons and what was uploaded in part. Nothing of it
// asks the network for anything.
func (s *staff) openTeaching() (t *teaching, err error) {
	b := s.box
	t = &teaching{staff: s}
	if t.store, err = lesson.Open(filepath.Join(b.cfg.Data, "lessons"), b.nameInSchool(), b.log); err != nil {
		return nil, err
	}
	sites, err := lesson.NewSites(b.cfg.Site)
	if err != nil {
		return nil, err
	}
	parts := lesson.Parts{
		Lessons: t.store, Sites: sites, Box: b.front.Handler(), Line: lessonLine{s.lines, b}, Pins: lessonPins{b},
	}
	if !b.region.alone {
		parts.Shelf = lessonShelf{b.region}
	}
	pages := teach.Parts{
		Lessons: t.store, Library: lessonLibrary{b}, Live: s.live, Token: s.auth.Token, Join: s.auth.JoinPath,
		Who: func(r *http.Request) (teach.Person, bool) {
			p, ok := s.auth.Who(r)
			return teach.Person{Subject: p.Subject, Name: p.Name, Admin: p.Has(auth.School)}, ok
		},
		Log: func(ctx context.Context, who teach.Person, action, what string) {
			s.auth.Log(ctx, auth.Person{Subject: who.Subject, Name: who.Name, Roles: []auth.Role{auth.Teacher}}, action, what)
		},
	}
	if b.deposits.wanted {
		parts.Deposits = lessonDeposits{b.deposits}
		pages.Files = teachFiles{b.deposits}
	}
	if b.deposits.cfg.Enabled {
		cfg := upload.DefaultConfig(filepath.Join(b.cfg.Data, "uploads"), teach.UploadPrefix)
		cfg.MaxSize, cfg.Budget, cfg.Reserve = outbox.MaxSize, int64(b.cfg.Deposits.Budget), uploadsReserve
		if t.uploads, err = upload.New(cfg, uploadTo{b.deposits}, b.log, b.reg); err != nil {
			return nil, err
		}
		pages.Uploads = t.uploads
	}
	if t.lights, err = lesson.NewPreparer(lesson.DefaultConfig(), parts, b.log, b.reg); err != nil {
		return nil, err
	}
	pages.Lights = t.lights
	if t.pages, err = teach.New(pages, b.log); err != nil {
		return nil, err
	}
	for from, to := range s.auth.Joined() {
		t.adopt(from, to)
	}
	return t, nil
}

// adoptWithin bounds how long somebody waits for their uploads to follow them.
const adoptWithin = 10 * time.Second

// adopt has what somebody prepared and sends by a badge follow them to their
// account. What could not be written now is tried again at the next start.
func (t *teaching) adopt(from, to string) {
	ctx, cancel := context.WithTimeout(context.Background(), adoptWithin)
	defer cancel()
	err := t.store.Adopt(from, to)
	if t.uploads != nil {
		err = errors.Join(err, t.uploads.Adopt(ctx, from, to))
	}
	if err != nil {
		t.staff.box.log.WarnContext(ctx, "what was prepared by a badge does not follow to its account yet: make room on the disk", "err", err)
	}
}

// add has the parts run.
func (t *teaching) add() {
	group := t.staff.box.group
	group.Add("lessons", 10*time.Second, t.lights.Run)
	if t.uploads != nil {
		group.Add("uploads", 10*time.Second, t.uploads.Run)
	}
	if t.staff.box.wantsNeighbours() {
		group.Add("lessons of other boxes", 5*time.Second, func(ctx context.Context) error {
			return t.store.Exchange(ctx, lessonOthers{&t.staff.box.near})
		})
	}
}

// nameInSchool is the box's own name among those of its school, by which its
// writing is told from theirs.
func (b *Box) nameInSchool() string {
	if f := b.region.follower.Load(); f != nil {
		return string(f.Identity().Name)
	}
	return "box" // it has no others
}

// Today implements portal.Lessons.
func (t *teaching) Today(now time.Time) (out []portal.Lesson) {
	for _, l := range t.store.Today(now) {
		out = append(out, t.shown(l))
	}
	return out
}

// ByCode implements portal.Lessons.
func (t *teaching) ByCode(code string) (portal.Lesson, bool) {
	l, err := t.store.ByCode(code)
	if err != nil {
		return portal.Lesson{}, false
	}
	return t.shown(l), true
}

// mostComing is how many lessons to come the school's admin sees.
const mostComing = 20

// coming are the lessons of today and later, soonest first.
func (t *teaching) coming(now time.Time) (out []schoolpages.Lesson) {
	now = now.Local()
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.Local)
	for _, l := range slices.Backward(t.store.List()) {
		if l.Date.Before(today) {
			continue
		}
		one := schoolpages.Lesson{Title: l.Title, Class: l.Class, Path: "/l/" + l.Code, At: l.Date}
		for _, st := range t.lights.States(l) {
			switch st.Light {
			case lesson.Ready:
				one.Ready++
			case lesson.Cannot:
				one.Cannot++
			default:
				one.Coming++
			}
		}
		if out = append(out, one); len(out) == mostComing {
			break
		}
	}
	return out
}

// shown is a lesson as a class sees it.
func (t *teaching) shown(l lesson.Lesson) portal.Lesson {
	out := portal.Lesson{Code: l.Code, Title: l.Title, Class: l.Class, Date: l.Date}
	for i, st := range t.lights.States(l) {
		it := l.Items[i]
		shown := portal.LessonItem{
			Title: cmp.Or(it.Title, st.Title, it.URL, it.ID), To: cmp.Or(st.URL, it.URL), Type: st.Type, Bytes: max(0, st.Bytes),
			Light: portal.Light(st.Light), Why: page.Both[string]{French: st.Reason.Words(page.French), English: st.Reason.Words(page.English)},
		}
		switch {
		case it.Kind == lesson.Published:
			shown.Kind, shown.ID = portal.Published, it.ID
		case it.Kind == lesson.Deposit:
			shown.Kind, shown.ID = portal.Added, it.ID
		case st.Video:
			shown.Stream = st.URL
		}
		out.Items = append(out.Items, shown)
	}
	return out
}
