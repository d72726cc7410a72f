package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sockerless/backend-azf/internal/api"
)

const containerColumns = `id, name, config, host_config, networking, state, error, exit_code,
	created_at, started_at, finished_at,
	function_app, resource_id, host_name, plan_summary, COALESCE(image_id, ''), failures, retry_at,
	image_config, has_handler, origin, unnamed, stop_asked, claim, policy, derived, service_plan, place_error`

// Container finds a container by its id, its name with or without a leading slash, or a unique prefix of its id, in
// this order. It returns a NotFound error for no container and an InvalidParameter error for an ambiguous prefix.
func (db *DB) Container(ctx context.Context, ref string) (c Container, err error) {
	defer db.explain(&err)
	return findContainer(ctx, db.sql, ref)
}

func findContainer(ctx context.Context, q querier, ref string) (Container, error) {
	if !utf8.ValidString(ref) || strings.ContainsRune(ref, 0) {
		return Container{}, api.Errorf(api.NotFound, "No such container: %q", ref) // PostgreSQL refuses such a string
	}
	// At most two rows decide between one match and an ambiguous prefix. Ids with the prefix are a range of the index,
	// because g follows all hex digits.
	prefix := hexPrefix(ref)
	rows, err := q.QueryContext(ctx, "SELECT "+containerColumns+` FROM containers
		WHERE id = $1 OR name = $2 OR id >= $3 AND id < $4
		ORDER BY id = $1 DESC, name = $2 DESC LIMIT 2`, ref, strings.TrimPrefix(ref, "/"), prefix, upTo(prefix))
	if err != nil {
		return Container{}, fmt.Errorf("find container: %w", err)
	}
	found, err := scanContainers(rows)
	if err != nil {
		return Container{}, err
	}
	switch {
	case len(found) == 0:
		return Container{}, api.Errorf(api.NotFound, "No such container: %s", ref)
	case len(found) == 1 || found[0].ID == ref || found[0].Name == strings.TrimPrefix(ref, "/"):
		return found[0], nil
	default:
		return Container{}, api.Errorf(api.InvalidParameter, "Multiple IDs found with provided prefix: %s", ref)
	}
}

// upTo returns the end of the range of ids that begin with a prefix. The range of the empty prefix is empty.
func upTo(prefix string) string {
	if prefix == "" {
		return ""
	}
	return prefix + "g"
}

// hexPrefix returns ref when it can be the beginning of an id, otherwise "".
func hexPrefix(ref string) string {
	if len(ref) > 64 || strings.Trim(ref, "0123456789abcdef") != "" {
		return ""
	}
	return ref
}

// Containers lists the containers in the given states, or in all states when none is given, the newest first. limit 0
// means no limit.
func (db *DB) Containers(ctx context.Context, limit int, states ...State) (list []Container, err error) {
	defer db.explain(&err)
	query, args := "", []any{}
	if len(states) > 0 {
		query = "WHERE state IN (" + placeholders(1, len(states)) + ")"
		for _, s := range states {
			args = append(args, s)
		}
	}
	query += " ORDER BY created_at DESC, id"
	if limit > 0 {
		args = append(args, limit)
		query += " LIMIT " + placeholders(len(args), 1)
	}
	return db.containers(ctx, query, args...)
}

// containers reads the containers that where selects.
func (db *DB) containers(ctx context.Context, where string, args ...any) ([]Container, error) {
	rows, err := db.sql.QueryContext(ctx, "SELECT "+containerColumns+" FROM containers "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return scanContainers(rows)
}

// CountContainers counts the containers in each state that has any.
func (db *DB) CountContainers(ctx context.Context) (counts map[State]int, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT state, count(*) FROM containers GROUP BY state")
	if err != nil {
		return nil, fmt.Errorf("count containers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	counts = map[State]int{}
	for rows.Next() {
		var state State
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return nil, fmt.Errorf("count containers: %w", err)
		}
		counts[state] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count containers: %w", err)
	}
	return counts, nil
}

func scanContainers(rows *sql.Rows) (list []Container, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Container
		var config, hostConfig, networking, imageConfig, origin, policy, derived, placeError string
		var created, started, finished, retry sql.NullInt64
		err := rows.Scan(&c.ID, &c.Name, &config, &hostConfig, &networking, &c.State, &c.Error, &c.ExitCode,
			&created, &started, &finished,
			&c.FunctionApp, &c.ResourceID, &c.HostName, &c.PlanSummary, &c.ImageID, &c.Failures, &retry,
			&imageConfig, &c.HasHandler, &origin, &c.Unnamed, &c.StopAsked, &c.Claim, &policy, &derived,
			&c.ServicePlan, &placeError)
		if err != nil {
			return nil, fmt.Errorf("read container: %w", err)
		}
		c.Created, c.Started, c.Finished = fromNanos(created), fromNanos(started), fromNanos(finished)
		c.RetryAt = fromNanos(retry)
		for _, field := range []struct {
			from string
			into any
		}{
			{config, &c.Config}, {hostConfig, &c.HostConfig}, {networking, &c.Networking}, {imageConfig, &c.ImageConfig},
			{origin, &c.Origin}, {policy, &c.Policy}, {derived, &c.Derived},
		} {
			if field.from == "" {
				continue
			}
			if err := json.Unmarshal([]byte(field.from), field.into); err != nil {
				return nil, fmt.Errorf("decode container %s: %w", c.ID, err)
			}
		}
		if placeError != "" {
			var outcome Outcome
			if err := outcome.UnmarshalJSON([]byte(placeError)); err != nil {
				return nil, fmt.Errorf("decode container %s: %w", c.ID, err)
			}
			c.PlaceError = outcome.Err
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read containers: %w", err)
	}
	return list, nil
}
