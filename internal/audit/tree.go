package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a hash of the tree.
type Hash = tlog.Hash

// Edge is the right edge of a tree: the hashes of its largest complete subtrees. It is what appending a record and
// computing the root need. The zero Edge is that of the empty tree.
type Edge struct {
	Size   int64          `json:"size"`
	Hashes map[int64]Hash `json:"hashes"` // by index
}

// EdgeIndexes returns the indexes of the hashes of the edge of a tree with this size. An index is that of the tlog
// package: the place in the order in which hashes are added.
func EdgeIndexes(size int64) (indexes []int64) {
	done := int64(0)
	for level := 62; level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, done>>level))
			done += 1 << level
		}
	}
	return indexes
}

// HashCount returns the number of the hashes of a tree with this size: their indexes are 0 to one less than that.
func HashCount(size int64) int64 { return tlog.StoredHashCount(size) }

// LeafIndex returns the index of the hash of the record with this number.
func LeafIndex(seq int64) int64 { return tlog.StoredHashIndex(0, seq-1) }

// ReadHashes returns hashes of the edge.
func (e *Edge) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		h, ok := e.Hashes[index]
		if !ok {
			return nil, fmt.Errorf("hash %d of the tree of %d records is missing", index, e.Size)
		}
		hashes[i] = h
	}
	return hashes, nil
}

// Append adds the line of a record. It returns the hashes that the tree gets by it, from index HashCount(size before).
func (e *Edge) Append(line []byte) ([]Hash, error) {
	return e.AppendHash(tlog.RecordHash(line))
}

// AppendHash is Append for a record of which only the leaf hash is known.
func (e *Edge) AppendHash(leaf Hash) ([]Hash, error) {
	added, err := tlog.StoredHashesForRecordHash(e.Size, leaf, e)
	if err != nil {
		return nil, fmt.Errorf("append to the hash tree: %w", err)
	}
	first := HashCount(e.Size)
	hashes := map[int64]Hash{}
	for _, index := range EdgeIndexes(e.Size + 1) {
		if index >= first {
			hashes[index] = added[index-first]
		} else {
			hashes[index] = e.Hashes[index]
		}
	}
	e.Size, e.Hashes = e.Size+1, hashes
	return added, nil
}

// Root returns the root hash.
func (e *Edge) Root() (Hash, error) { return tlog.TreeHash(e.Size, e) }
