package engine

import (
	"bytes"
	"context"
	"io"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
)

// recordPage is the number of records that are read at a time.
const recordPage = 1000

// Audit implements api.Backend.
func (e *Engine) Audit(ctx context.Context, opts api.AuditOptions) (io.ReadCloser, error) {
	q := store.AuditQuery{
		After: opts.After, Action: audit.Action(opts.Action), Since: opts.Since, Until: opts.Until, Container: opts.Container,
	}
	if opts.Container != "" && !containerID.MatchString(opts.Container) {
		c, err := e.cfg.Store.Container(ctx, opts.Container)
		if err != nil {
			return nil, err
		}
		q.Container = c.ID
	}
	return &recordStream{ctx: ctx, engine: e, query: q, left: opts.Limit, limited: opts.Limit > 0}, nil
}

// recordStream reads records as they are needed. It holds no resources.
type recordStream struct {
	ctx     context.Context
	engine  *Engine
	query   store.AuditQuery
	left    int // records that may be read, if limited
	limited bool
	lines   bytes.Buffer
}

// Read implements io.Reader.
func (s *recordStream) Read(p []byte) (int, error) {
	if s.lines.Len() == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	return s.lines.Read(p)
}

// fill reads the next page. The error is io.EOF when there is none.
func (s *recordStream) fill() error {
	s.query.Limit = recordPage
	if s.limited {
		if s.left == 0 {
			return io.EOF
		}
		s.query.Limit = min(s.left, recordPage)
	}
	page, err := s.engine.cfg.Store.Audit(s.ctx, s.query)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		return io.EOF
	}
	for _, l := range page {
		s.lines.Write(l.Line)
		s.lines.WriteByte('\n')
		s.query.After = l.Seq
	}
	s.left -= len(page)
	return nil
}

// Close implements io.Closer.
func (s *recordStream) Close() error { return nil }

// AuditCheckpoint implements api.Backend.
func (e *Engine) AuditCheckpoint(ctx context.Context) ([]byte, error) {
	if e.cfg.Audit.Sign == nil {
		return nil, api.Errorf(api.Unavailable, "this daemon has no key to sign checkpoints with")
	}
	c, err := e.cfg.Store.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	return e.cfg.Audit.Sign(c)
}
