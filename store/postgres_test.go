package store_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

func TestExclusive(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, _ := daemon(t, url)
	var inside atomic.Int32
	var g errgroup.Group
	for n := range 8 {
		db := []*store.DB{one, other}[n%2]
		g.Go(func() error {
			return db.Exclusive(t.Context(), "name", func(ctx context.Context) error {
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				_, err := db.Containers(ctx, 0)
				inside.Add(-1)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	// A connection that the function lost need not be the database's.
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	err := one.Exclusive(t.Context(), "name", func(context.Context) error { return refused })
	if !errors.Is(err, refused) || api.KindOf(err) != api.Internal {
		t.Errorf("got %v, want the function's error", err)
	}
}

func TestNoDatabaseAtStart(t *testing.T) {
	_, err := store.Open(t.Context(), store.Config{URL: "postgres://u:hunter2@/db?host=" + t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "no such file") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want the reason without the password", err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, url := range []string{
		"postgres://u:p@host/db", "postgresql:///db?host=/run/postgresql&pool_max_conns=3",
		"postgres://a,b:5433/db?sslmode=verify-full",
	} {
		if err := store.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{
		"", "mysql://u:hunter2@host/db", "host=h password=hunter2", "postgres://u:hunter2@host:port/db",
		"postgres://u:hunter2@host/db?sslmode=perhaps", "postgres://u:hunter2@ho st/db",
	} {
		if err := store.CheckURL(url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want a refusal without the password", url, err)
		}
	}
}
