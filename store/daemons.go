package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// pingInterval is the time without a message after which a daemon checks its connection. pingTimeout bounds the check.
const (
	pingInterval = 5 * time.Second
	pingTimeout  = 5 * time.Second
)

// DaemonID returns the id of this daemon among those on the same database. It is a new one after each Open.
func (db *DB) DaemonID() string { return daemonID(int64(db.daemon)) }

func daemonID(key int64) string { return fmt.Sprintf("azf-%08x", key) }

// LiveDaemons returns the ids of the daemons that are connected to the database by StayConnected. This daemon is always
// among them. A daemon that died is missing as soon as the database notices the loss of its connection.
func (db *DB) LiveDaemons(ctx context.Context) (live map[string]bool, err error) {
	live = map[string]bool{db.DaemonID(): true}
	if db.pool == nil {
		return live, nil // a SQLite database has one daemon
	}
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, `SELECT objid::bigint FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND objsubid = 2
		AND classid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(daemonClass))
	if err != nil {
		return nil, fmt.Errorf("list daemons: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var key int64
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("list daemons: %w", err)
		}
		live[daemonID(key)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list daemons: %w", err)
	}
	return live, nil
}

// StayConnected keeps this daemon among the LiveDaemons and receives the changes of the others, until ctx ends. It
// connects again whenever the connection is lost. After each connect it wakes everyone who watches, because they may
// have missed a change, and calls report(nil). report gets the error each time that the connection is lost or cannot be
// established. On SQLite it calls report(nil) and waits for ctx.
func (db *DB) StayConnected(ctx context.Context, report func(error)) {
	if db.pool == nil {
		report(nil)
		<-ctx.Done()
		return
	}
	const least, most = 100 * time.Millisecond, 2 * time.Second
	for wait := least; ctx.Err() == nil; wait = min(2*wait, most) {
		err := db.connect(ctx, func() {
			wait = least
			db.pool.Reset() // connections to a database that was away are dead
			db.waiters.notifyAll()
			report(nil)
		})
		if ctx.Err() != nil {
			return
		}
		report(err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// connect holds one connection for StayConnected until the connection is lost or ctx ends. It calls ready as soon as
// the connection receives changes.
func (db *DB) connect(ctx context.Context, ready func()) (err error) {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		if ctx.Err() != nil && !conn.IsClosed() {
			// The server notices a closed connection a little later, but this daemon is gone now.
			_, unlockErr := conn.Exec(closing, "SELECT pg_advisory_unlock_all()")
			err = errors.Join(err, unlockErr)
		}
		err = errors.Join(err, conn.Close(closing))
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+changes); err != nil {
		return err
	}
	present, err := db.takePresence(ctx, conn)
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
		if err = conn.Ping(pinging); err == nil && !present {
			present, err = db.takePresence(pinging, conn)
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// takePresence takes the lock that marks this daemon as live. taken is false while an earlier connection of this daemon
// holds the lock, because the database has not noticed the loss of that connection yet.
func (db *DB) takePresence(ctx context.Context, conn *pgx.Conn) (taken bool, err error) {
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", daemonClass, db.daemon).Scan(&taken)
	return taken, err
}
