package outbox

import (
	"encoding/hex"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/hold"
	"preau/replication/identity"
)

// MaxOffer bounds an offer in its encoded form: a record and a list of blocks.
const MaxOffer = maxRecord + block.Size

// offer is how a deposit is offered to another box.
type offer struct {
	Deposit Deposit `cbor:"1,keyasint"`
	List    []byte  `cbor:"2,keyasint,omitempty"`
}

// EncodeOffer writes a deposit with the list of its blocks.
func EncodeOffer(d Deposit, list []byte) ([]byte, error) {
	d.State, d.Here, d.As, d.Held, d.From = "", false, "", nil, ""
	d.Bucket, d.Key, d.ETag = "", "", ""
	raw, err := encode(offer{d, list})
	if err != nil {
		return nil, fmt.Errorf("offer deposit %s: %w", d.ID, err)
	}
	return raw, nil
}

// DecodeOffer reads what EncodeOffer wrote. Whether it makes sense Offered says.
func DecodeOffer(raw []byte) (d Deposit, list []byte, err error) {
	var of offer
	if len(raw) > MaxOffer {
		return d, nil, fmt.Errorf("%w: %d bytes", ErrOffer, len(raw))
	}
	if err := cbor.Unmarshal(raw, &of); err != nil {
		return d, nil, fmt.Errorf("%w: %w", ErrOffer, err)
	}
	return of.Deposit, of.List, nil
}

// checkOffer checks what another box says of a deposit, and leaves in it what that
// may say.
func checkOffer(d *Deposit, list []byte) ([]hold.Entry, error) {
	bad := func(format string, args ...any) ([]hold.Entry, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrOffer}, args...)...)
	}
	*d = Deposit{
		ID: d.ID, Filename: d.Filename, ContentType: d.ContentType, Title: d.Title, Description: d.Description, Collection: d.Collection,
		At: central.Milli(d.At), Length: d.Length, SHA256: d.SHA256, List: d.List, Nonce: d.Nonce, State: OnBox, Here: true,
	}
	rest, ok := strings.CutPrefix(d.ID, idPrefix)
	if raw, err := hex.DecodeString(rest); !ok || err != nil || len(raw) != idBytes || rest != strings.ToLower(rest) {
		return bad("%q is no id", clip(d.ID))
	}
	if err := central.CheckName(d.Filename); err != nil {
		return bad("%w", err)
	}
	if !bound(d) {
		return bad("its id is another's")
	}
	if _, _, err := mime.ParseMediaType(d.ContentType); err != nil || len(d.ContentType) > 200 || clean(d.ContentType, 200) != d.ContentType {
		return bad("its media type can't be read")
	}
	if d.Title != clean(d.Title, maxTitle) || d.Description != clean(d.Description, maxDescription) || d.Collection != clean(d.Collection, maxCollection) {
		return bad("its words are not as a box writes them")
	}
	if d.At.Before(time.Unix(0, 0)) || d.At.Year() > 9999 || d.Length < 0 || d.Length > MaxSize {
		return bad("%d bytes at %v", d.Length, d.At)
	}
	if d.Length == 0 {
		if len(list) > 0 || !d.List.IsZero() || d.SHA256 != block.Sum(nil) {
			return bad("an empty file has no blocks")
		}
		return nil, nil
	}
	if len(list) > block.Size || block.Sum(list) != d.List {
		return bad("its list of blocks is another")
	}
	entries, err := hold.DecodeList(list, d.Length)
	if err != nil {
		return bad("%w", err)
	}
	lengths := make(map[block.Digest]int, len(entries))
	for _, e := range entries {
		if n, twice := lengths[e.Digest]; twice && n != e.Length {
			return bad("a block has two lengths")
		}
		lengths[e.Digest] = e.Length
	}
	return entries, nil
}

func clip(s string) string { return s[:min(len(s), 40)] }

// loadGuests reads what is known of all guests.
func (o *Outbox) loadGuests() error {
	boxes, err := os.ReadDir(o.guestRecords())
	if err != nil {
		return fmt.Errorf("read folder of guests: %w", err)
	}
	for _, e := range boxes {
		box := e.Name()
		if _, err := identity.ParseName(box); err != nil || !e.IsDir() {
			o.log.Warn("what is among the guests and is no box's is ignored", "file", box)
			continue
		}
		of := make(map[string]*guest)
		o.guests.kept[box] = of
		err := o.loadFolder(filepath.Join(o.guestRecords(), box), func(name, id string) error {
			g, err := readSummed(name, decodeGuest)
			if err != nil {
				return err
			}
			if g.Deposit.ID != id {
				return fmt.Errorf("it calls itself %q", g.Deposit.ID)
			}
			if !g.Deposit.List.IsZero() {
				if err := o.index(g.Deposit); err != nil {
					return err
				}
			}
			g.Deposit.From = box
			of[id] = &g
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeGuest(raw []byte) (g guest, err error) {
	if err := cbor.Unmarshal(raw, &g); err != nil {
		return g, err
	}
	d := &g.Deposit
	if d.Length < 0 || d.Length > MaxSize || (d.Length > 0) == d.List.IsZero() {
		return g, fmt.Errorf("a file of %d bytes", d.Length)
	}
	if err := central.CheckName(d.Filename); err != nil {
		return g, err
	}
	if !bound(d) {
		return g, fmt.Errorf("its id, %q, is another's", clip(d.ID))
	}
	d.State, d.Here, d.Held, d.As = OnBox, true, nil, ""
	return g, nil
}
