package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// AlteredError reports that a trail is not what was written. Record is the first record that is known to be wrong.
type AlteredError struct {
	Record int64
	What   string
}

// Error names the record.
func (e *AlteredError) Error() string { return fmt.Sprintf("record %d: %s", e.Record, e.What) }

// IncompleteError reports that a trail is not altered as far as it goes, and that something is missing.
type IncompleteError struct {
	Record int64 // the record that is about what is missing; 0 when there is none
	What   string
}

// Error names the record, if there is one.
func (e *IncompleteError) Error() string {
	if e.Record == 0 {
		return e.What
	}
	return fmt.Sprintf("record %d: %s", e.Record, e.What)
}

// Check compares the records of a trail, one after another, with each other and with checkpoints.
type Check struct {
	log         string
	edge        Edge
	checkpoints []Checkpoint
	agreed      int64 // the size of the last checkpoint that the records agree with
	open        map[int64]Record
	started     map[string]int64 // the newest start of a daemon, by its state folder
}

// NewCheck begins a check of the trail with this id. edge is that before the first record that will be given: the zero
// Edge unless older records were pruned. Checkpoints of another trail are an error.
func NewCheck(log string, edge Edge, checkpoints ...Checkpoint) (*Check, error) {
	c := &Check{log: log, edge: edge, checkpoints: slices.Clone(checkpoints), open: map[int64]Record{}}
	c.started = map[string]int64{}
	slices.SortFunc(c.checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	for _, p := range c.checkpoints {
		if p.Log != log {
			return nil, &AlteredError{1, fmt.Sprintf("the checkpoint is that of trail %s, and this is trail %s", p.Log, log)}
		}
	}
	return c, c.compare()
}

// Record takes the next line. It returns the record, with the hashes that it has added to the tree.
func (c *Check) Record(line []byte) (r Record, added []Hash, err error) {
	next := c.edge.Size + 1
	r, err = Decode(line)
	if err != nil {
		return r, nil, &AlteredError{next, "it cannot be read"}
	}
	if r.Seq != next {
		return r, nil, &AlteredError{next, fmt.Sprintf("it is missing: record %d stands in its place", r.Seq)}
	}
	if added, err = c.edge.Append(line); err != nil {
		return r, nil, &AlteredError{next, err.Error()}
	}
	c.follow(r)
	return r, added, c.compare()
}

// follow notes which operations have begun and not ended.
func (c *Check) follow(r Record) {
	switch {
	case r.Outcome == nil:
	case r.Outcome.State == OutcomeBegun:
		c.open[r.Seq] = r
	default:
		delete(c.open, r.Outcome.Begun)
	}
	if r.Action == ActionStart {
		c.started[r.Daemon.Home] = r.Seq
	}
}

// compare compares the tree with the checkpoints that have its size, and forgets those that are older.
func (c *Check) compare() error {
	for len(c.checkpoints) > 0 && c.checkpoints[0].Size <= c.edge.Size {
		p := c.checkpoints[0]
		c.checkpoints = c.checkpoints[1:]
		if p.Size < c.edge.Size {
			continue // before the first record that is here
		}
		root, err := c.edge.Root()
		if err != nil {
			return &AlteredError{c.edge.Size, err.Error()}
		}
		if root != p.Root {
			return &AlteredError{c.agreed + 1, fmt.Sprintf(
				"it, or one of those up to record %d, differs from what the checkpoint of %d records confirms", p.Size, p.Size)}
		}
		c.agreed = p.Size
	}
	return nil
}

// Size returns the number of records so far, with those that were pruned.
func (c *Check) Size() int64 { return c.edge.Size }

// Root returns the root hash of the tree so far.
func (c *Check) Root() (Hash, error) { return c.edge.Root() }

// Open returns the numbers of the records of operations that have begun and not ended, in order.
func (c *Check) Open() []int64 { return slices.Sorted(maps.Keys(c.open)) }

// Finish ends the check. whole says that the trail must go as far as the newest checkpoint: records that a checkpoint
// confirms and that are not there were removed. An export may end earlier.
func (c *Check) Finish(whole bool) error {
	if len(c.checkpoints) > 0 {
		last := c.checkpoints[len(c.checkpoints)-1]
		what := fmt.Sprintf("it is missing: a checkpoint confirms %d records", last.Size)
		if whole {
			return &AlteredError{c.edge.Size + 1, what}
		}
		return &IncompleteError{c.edge.Size + 1, what}
	}
	for _, seq := range c.Open() {
		r := c.open[seq]
		if started := c.started[r.Daemon.Home]; started > seq {
			return &IncompleteError{seq, fmt.Sprintf("the operation that it begins has no end, although its daemon has "+
				"started again since (record %d)", started)}
		}
	}
	return nil
}
