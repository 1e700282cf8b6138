package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"preau/node/demo/beyond"
)

const (
	lookWithin = 3 * time.Second
	maxList    = 4 << 20 // of what a box lists
)

// asker asks the present box as a device does.
type asker struct {
	stage  *stage
	client *http.Client
}

func newAsker(s *stage) *asker {
	return &asker{stage: s, client: &http.Client{Transport: new(http.Transport)}}
}

func (a *asker) do(ctx context.Context, method, path string, body io.Reader, fields map[string]string, want int, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.stage.keep.now().Addr()+path, body)
	if err != nil {
		return err
	}
	for k, v := range fields {
		req.Header.Set(k, v)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("the box answers %s: %.200s", resp.Status, raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	return err
}

// observe looks twice a second how far documents and deposits are, until ctx ends.
func (s *stage) observe(ctx context.Context) {
	box := newAsker(s)
	defer box.client.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, lookWithin)
		errs := errors.Join(s.lookDown(look, box), s.lookUp(look, box))
		cancel()
		if errs != nil && ctx.Err() == nil { // a part that is not there yet, or a box that is being opened anew
			s.cfg.Log.DebugContext(ctx, "how far things are can't be told now", "err", errs)
		}
		s.mu.Lock()
		far := s.network.far
		s.mu.Unlock()
		if far != nil {
			put, add, claim := s.putLine(far), s.boxLine("deposit "+s.network.sample), s.boxLine("claim")
			s.mu.Lock()
			s.network.show.PutLine, s.network.show.AddLine, s.network.show.ClaimLine = put, add, claim
			s.mu.Unlock()
		}
	}
}

// lookDown finds out where the centre's documents are.
func (s *stage) lookDown(ctx context.Context, box *asker) error {
	s.mu.Lock()
	far, docs, emptied := s.network.far, slices.Clone(s.network.show.Documents), s.emptied
	joined := s.network.show.Phase == phaseReady
	s.mu.Unlock()
	if far == nil || !joined { // a box of its own would ask the library for /r/
		return nil
	}
	known, err := far.Documents(ctx)
	if errors.Is(err, beyond.ErrNotYet) {
		return nil
	}
	linked := false
	if err == nil {
		linked, err = far.Linked(ctx)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.network.show.Linked = linked
	s.mu.Unlock()
	at := map[string]int{} // by key
	for i, d := range docs {
		at[d.Key] = i
	}
	keys := map[string]string{} // by id
	for _, k := range known {
		keys[k.ID] = k.Key
		i, ok := at[k.Key]
		if !ok { // somebody put it there by another way
			i = len(docs)
			at[k.Key], docs = i, append(docs, Document{Key: k.Key})
		}
		docs[i].Region, docs[i].Title, docs[i].Bytes = true, cmp.Or(k.Title, k.Key), k.Bytes
	}
	var list struct {
		Items []struct {
			ID    string `json:"id"`
			Path  string `json:"path"`
			Held  int64  `json:"held_bytes"`
			State string `json:"state"`
		} `json:"items"`
	}
	err = box.do(ctx, http.MethodGet, "/r/", nil, map[string]string{"Accept": "application/json"}, http.StatusOK, &list)
	if err == nil { // what an emptied box does not know yet is not there
		for i := range docs {
			docs[i].Path, docs[i].Held, docs[i].State = "", 0, ""
		}
	}
	for _, it := range list.Items {
		if i, ok := at[keys[it.ID]]; ok {
			docs[i].Path, docs[i].Held, docs[i].State = it.Path, it.Held, it.State
		}
	}
	s.news(docs, emptied)
	return err
}

// news keeps what was found out of documents, and tells of what is new. Those
// that were put meanwhile stay. What is known of a box that was emptied since then
// is not true any more.
func (s *stage) news(docs []Document, emptied int64) {
	s.mu.Lock()
	if s.emptied != emptied {
		s.mu.Unlock()
		return
	}
	for _, d := range s.network.show.Documents {
		if !slices.ContainsFunc(docs, func(o Document) bool { return o.Key == d.Key }) {
			docs = append(docs, d)
		}
	}
	before := map[string]Document{}
	for _, d := range s.network.show.Documents {
		before[d.Key] = d
	}
	s.network.show.Documents = docs
	s.mu.Unlock()
	for _, d := range docs {
		old := before[d.Key]
		if d.Region && !old.Region {
			s.tell.say("down-region", d.Title)
		}
		if d.State == "complete" && old.State != "complete" {
			s.tell.say("down-box", d.Title, s.keep.now().Addr()+d.Path)
		}
	}
}

// lookUp finds out where what was added at the box is.
func (s *stage) lookUp(ctx context.Context, box *asker) error {
	var list struct {
		Deposits []Deposit `json:"deposits"`
	}
	if err := box.do(ctx, http.MethodGet, "/d/?format=json", nil, nil, http.StatusOK, &list); err != nil {
		return err
	}
	now := list.Deposits[:min(len(list.Deposits), listed)]
	s.mu.Lock()
	before := map[string]string{}
	for _, d := range s.network.show.Deposits {
		before[d.ID] = d.State
	}
	s.network.show.Deposits = now
	s.mu.Unlock()
	for _, d := range slices.Backward(now) {
		s.risen(before[d.ID], d)
	}
	return nil
}

// risen tells of each step that a deposit has made since it was in a state.
func (s *stage) risen(from string, d Deposit) {
	steps := []string{"box", "region", "central"}
	for _, step := range steps[slices.Index(steps, from)+1 : slices.Index(steps, d.State)+1] {
		s.tell.say("up-"+step, cmp.Or(d.Title, d.Name))
	}
}

// sheet is a document of the demonstration's own, in words of a language.
func (s *stage) sheet(lang, family string) (key, title string, body []byte) {
	s.mu.Lock()
	s.network.made[family]++
	n := s.network.made[family]
	s.mu.Unlock()
	t := texts(lang)
	title = fmt.Sprintf(t[family+"-name"], n)
	body = fmt.Appendf(nil, t[family+"-body"], n, s.now().Format("15:04:05"))
	return fmt.Sprintf("%s-%d.txt", family, n), title, body
}

const plain = "text/plain; charset=utf-8"

// put puts a document into the centre's bucket.
func (s *stage) put(ctx context.Context, lang string) error {
	network := s.network
	if network == nil {
		return errAsk
	}
	key, title, body := s.sheet(lang, "sheet")
	s.mu.Lock()
	far := network.far
	s.mu.Unlock()
	if far == nil {
		return beyond.ErrNotYet
	}
	if err := far.Put(ctx, key, title, plain, body); err != nil {
		return err
	}
	s.mu.Lock()
	docs := network.show.Documents
	if !slices.ContainsFunc(docs, func(d Document) bool { return d.Key == key }) {
		network.show.Documents = append(docs, Document{Key: key, Title: title, Bytes: int64(len(body))})
	}
	s.mu.Unlock()
	s.tell.say("down-centre", title)
	s.publish()
	return nil
}

// add adds a file at the box, as a teacher does.
func (s *stage) add(ctx context.Context, lang string) error {
	if s.network == nil {
		return errAsk
	}
	token, err := os.ReadFile(filepath.Join(s.keep.dir(), "deposits", "token"))
	if err != nil {
		return fmt.Errorf("read who may add: %w", err)
	}
	key, title, body := s.sheet(lang, "work")
	box := newAsker(s)
	defer box.client.CloseIdleConnections()
	var made Deposit
	err = box.do(ctx, http.MethodPut, "/d/"+key+"?"+url.Values{"title": {title}}.Encode(), strings.NewReader(string(body)),
		map[string]string{"Authorization": "Bearer " + strings.TrimSpace(string(token)), "Content-Type": plain}, http.StatusCreated, &made)
	if err != nil {
		return fmt.Errorf("add a file: %w", err)
	}
	s.mu.Lock()
	known := slices.ContainsFunc(s.network.show.Deposits, func(d Deposit) bool { return d.ID == made.ID })
	if !known {
		s.network.show.Deposits = slices.Insert(slices.Clone(s.network.show.Deposits), 0, made)
	}
	s.mu.Unlock()
	if !known {
		s.risen("", made)
	}
	s.publish()
	return nil
}
