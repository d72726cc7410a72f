package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// pingInterval is how often a daemon looks whether its connection still stands, and pingTimeout how long it waits for the answer.
const (
	pingInterval = 5 * time.Second
	pingTimeout  = 5 * time.Second
)

// Replica is the name of this daemon among those on the same database. It is new each time.
func (db *DB) Replica() string { return replicaName(int64(db.replica)) }

func replicaName(key int64) string { return fmt.Sprintf("azf-%08x", key) }

// Replicas are the names of the daemons that attend to the database, this one included whether it does or not. One that has died is
// missing as soon as the database has noticed that its connection is gone.
func (db *DB) Replicas(ctx context.Context) (live map[string]bool, err error) {
	live = map[string]bool{db.Replica(): true}
	if db.pool == nil {
		return live, nil // a SQLite database has one daemon
	}
	defer db.explained(&err)
	rows, err := db.sql.QueryContext(ctx, `SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
		AND classid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(replicaClass))
	if err != nil {
		return nil, fmt.Errorf("list daemons: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var key int64
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("list daemons: %w", err)
		}
		live[replicaName(key)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list daemons: %w", err)
	}
	return live, nil
}

// Attend keeps this daemon among the Replicas and passes on what the others change, until ctx ends. Each time that the connection is there,
// it wakes everyone who watches, who may have missed something, and calls attending(nil); each time that it is lost, or cannot be made,
// attending gets the error. On SQLite it only waits.
func (db *DB) Attend(ctx context.Context, attending func(error)) {
	if db.pool == nil {
		attending(nil)
		<-ctx.Done()
		return
	}
	const least, most = 100 * time.Millisecond, 2 * time.Second
	for wait := least; ctx.Err() == nil; wait = min(2*wait, most) {
		err := db.attend(ctx, func() {
			wait = least
			db.pool.Reset() // connections of a database that was away are dead
			db.waiters.notifyAll()
			attending(nil)
		})
		if ctx.Err() != nil {
			return
		}
		attending(err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// attend is one connection's part of Attend. It calls ready when it hears of changes.
func (db *DB) attend(ctx context.Context, ready func()) (err error) {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		if ctx.Err() != nil && !conn.IsClosed() {
			// The server notices a closed connection a little later, and this daemon is gone now.
			_, unlockErr := conn.Exec(closing, "SELECT pg_advisory_unlock_all()")
			err = errors.Join(err, unlockErr)
		}
		err = errors.Join(err, conn.Close(closing))
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+changes); err != nil {
		return err
	}
	held, err := db.present(ctx, conn)
	if err != nil {
		return err
	}
	ready()
	for {
		waiting, cancel := context.WithTimeout(ctx, pingInterval)
		n, err := conn.WaitForNotification(waiting)
		timeout := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			db.waiters.notify(n.Payload)
			continue
		case ctx.Err() != nil || !timeout || conn.IsClosed():
			return err
		}
		pinging, cancel := context.WithTimeout(ctx, pingTimeout)
		if err = conn.Ping(pinging); err == nil && !held {
			held, err = db.present(pinging, conn)
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// present takes the lock that tells that this daemon lives. Until the database has noticed the loss of an earlier connection, that one
// still holds it.
func (db *DB) present(ctx context.Context, conn *pgx.Conn) (held bool, err error) {
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", replicaClass, db.replica).Scan(&held)
	return held, err
}
