package catalogue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"preau/replication/kv"
)

// batch carries out entries in one update of the store. What they change is
// gathered here, written in the order of keys at the end, and read through
// until then.
type batch struct {
	s    *State
	tx   kv.Tx
	meta meta
	rows map[string][]byte           // nil: to be deleted
	refs map[string]map[string]*byte // by owner and tail; nil: to be deleted

	stands    map[recordKey]standing // what was read, as the latest command left it
	out       map[recordKey]standing // what was changed, for whoever follows
	seen      map[CommandID]uint64
	forgotten []numbered
	work      work
}

type recordKey struct {
	kind Kind
	id   string
}

// standing is a record and where it is; nil for none.
type standing struct {
	place
	record *Record
}

type numbered struct {
	id     CommandID
	number uint64
}

func (s *State) batch(tx kv.Tx) *batch {
	b := &batch{
		s: s, tx: tx, meta: s.meta.clone(),
		rows: map[string][]byte{}, refs: map[string]map[string]*byte{},
		stands: map[recordKey]standing{}, out: map[recordKey]standing{}, seen: map[CommandID]uint64{},
	}
	b.work.b = b
	return b
}

// apply carries out one entry. Its error ends the batch.
func (b *batch) apply(e Entry) (Result, error) {
	cmd, err := b.decode(e)
	if errors.Is(err, ErrNewer) {
		return Result{}, err
	}
	known, ok, lost := Result{}, false, error(nil)
	if err == nil && len(e.Data) > 0 {
		known, ok, lost = b.known(cmd.ID)
	}
	switch {
	case lost != nil:
		return Result{}, lost
	case e.Index <= b.meta.Index: // done before: the log is being read again
		if !ok {
			known = Result{Index: e.Index}
		}
		known.Repeat = true
		return known, nil
	}
	b.meta.Index, b.meta.Term = e.Index, e.Term
	switch {
	case len(e.Data) == 0:
		return Result{Index: e.Index}, nil
	case err != nil:
		// The text is a library's, and stays out of the result.
		return Result{Index: e.Index, Code: CodeInvalid, Detail: "it is no command, or not in its one form"}, nil
	}
	b.meta.Version = max(b.meta.Version, e.Data[0])
	if ok {
		known.Repeat = true
		return known, nil
	}
	result, err := b.run(cmd, e.Index)
	if err != nil {
		return Result{}, err
	}
	return result, b.keep(cmd.ID, result)
}

func (b *batch) decode(e Entry) (Command, error) {
	if len(e.Data) == 0 {
		return Command{}, nil
	}
	if v := e.Data[0]; v > b.s.reads {
		return Command{}, fmt.Errorf("it is in version %d of the encoding, this program reads up to %d; upgrade this server: %w", v, b.s.reads, ErrNewer)
	}
	read, ok := b.s.grammars[e.Data[0]]
	if !ok {
		return Command{}, errForm
	}
	return read(e.Data[1:])
}

// run carries out a command, or nothing of it.
func (b *batch) run(cmd Command, index uint64) (Result, error) {
	result := Result{Index: index}
	w := b.work.begin(index, cmd)
	var err error
	for _, op := range cmd.Ops {
		if err = w.do(op, &result); err != nil {
			break
		}
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		return Result{Index: index, Code: no.code, Detail: no.detail}, nil
	}
	if err != nil {
		return Result{}, err
	}
	return result, w.finish()
}

// known is what came of a command that is still remembered. That must not
// depend on when rows are deleted, for that is up to the batch.
func (b *batch) known(id CommandID) (Result, bool, error) {
	number, ok := b.seen[id]
	if !ok {
		number, ok = b.s.seen[id]
	}
	if !ok || number+b.s.remember < b.meta.Commands {
		return Result{}, false, nil
	}
	row, err := b.row(commandKey(number))
	if err != nil {
		return Result{}, false, err
	}
	var r Result
	if len(row) < len(id) || CommandID(row[:len(id)]) != id {
		return r, false, fmt.Errorf("%w: remembered command %d is not there", ErrDamaged, number)
	}
	if err := decode(row[len(id):], &r); err != nil {
		return r, false, fmt.Errorf("%w: remembered command %d: %w", ErrDamaged, number, err)
	}
	return r, true, nil
}

// resultHint is about how many bytes a result has without its text.
const resultHint = 32

// keep remembers what came of a command, and forgets the oldest.
func (b *batch) keep(id CommandID, r Result) error {
	number := b.meta.Commands
	b.meta.Commands++
	row := make([]byte, 0, len(id)+resultHint+len(r.Detail))
	b.rows[commandKey(number)] = r.appendTo(append(row, id[:]...))
	b.seen[id] = number
	if b.meta.Commands <= b.s.remember {
		return nil
	}
	oldest := number - b.s.remember
	row, err := b.row(commandKey(oldest))
	if err != nil {
		return err
	}
	if len(row) < len(id) {
		return fmt.Errorf("%w: remembered command %d is not there", ErrDamaged, oldest)
	}
	b.rows[commandKey(oldest)] = nil
	b.forgotten = append(b.forgotten, numbered{CommandID(row[:len(id)]), oldest})
	return nil
}

// row is the row of key, nil for none.
func (b *batch) row(key string) ([]byte, error) {
	if row, ok := b.rows[key]; ok {
		return row, nil
	}
	row, err := b.tx.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return row, err
}

// write brings what was gathered to the store.
func (b *batch) write() error {
	for owner, tails := range b.refs {
		for tail, flag := range tails {
			if flag == nil {
				b.rows[owner+tail] = nil
			} else {
				b.rows[owner+tail] = []byte{*flag}
			}
		}
	}
	keys := make([]string, 0, len(b.rows))
	for key := range b.rows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		var err error
		if row := b.rows[key]; row == nil {
			err = b.tx.Delete([]byte(key))
		} else {
			err = b.tx.Put([]byte(key), row)
		}
		if err != nil {
			return err
		}
	}
	clear(b.rows)
	clear(b.refs)
	return nil
}

// close writes the rest.
func (b *batch) close() error {
	row, err := b.meta.row()
	if err != nil {
		return err
	}
	b.rows[string(rowMeta)] = row
	return b.write()
}

// changed is what the batch changed, in the order of the change index.
func (b *batch) changed() []Record {
	list := make([]standing, 0, len(b.out))
	for _, p := range b.out {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y standing) int {
		return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.nth, y.nth))
	})
	records := make([]Record, len(list))
	for i, p := range list {
		records[i] = *p.record
	}
	return records
}
