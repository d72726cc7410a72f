package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sockerless/backend-azf/internal/api"
)

// RecordDerived keeps which image Azure runs in place of a container's own.
func (db *DB) RecordDerived(ctx context.Context, id string, d api.Derived) error {
	content, err := encodeDerived(&d)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *txn) error {
		_, err := tx.ExecContext(ctx, "UPDATE containers SET derived = $1 WHERE id = $2", content, id)
		if err != nil {
			return fmt.Errorf("keep derived image of container %s: %w", id, err)
		}
		return nil
	})
}

func encodeDerived(d *api.Derived) (string, error) {
	if d == nil {
		return "", nil
	}
	content, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode derived image: %w", err)
	}
	return string(content), nil
}
