// Package gate puts policies between a plan and its apply, and between a request and its row: what they see, what their
// answers mean for a requester, and in which words a refusal reaches the client. It must not know how rules are
// written, nor how Terraform runs.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/store"
)

// Config configures New.
type Config struct {
	// Sets are the policies. They are read by New, and by each Reload.
	Sets []policy.Set
	// Digest pins the policies: with others there is an error; "" takes all.
	Digest string
	// Contact ends refusals: whom to ask.
	Contact string
	// Guarded refuses files that others than root and the daemon's user may change.
	Guarded bool

	Store                                          *store.DB
	Owner, SubscriptionID, ResourceGroup, Location string
	// Tools are those of the plans, nil where they are not known.
	Tools *audit.Tools
}

// Gate asks the policies. Its methods are safe for concurrent use.
type Gate struct {
	cfg   Config
	rules atomic.Pointer[policy.Rules]
	// problem says why the last Reload has failed; nil: it has not.
	problem atomic.Pointer[string]
}

// New reads the policies. Its error names each mistake in them.
func New(ctx context.Context, cfg Config) (*Gate, error) {
	g := &Gate{cfg: cfg}
	rules, err := g.load(ctx)
	if err != nil {
		return nil, err
	}
	g.rules.Store(rules)
	return g, nil
}

func (g *Gate) load(ctx context.Context) (*policy.Rules, error) {
	if g.cfg.Guarded {
		if err := policy.Guarded(g.cfg.Sets); err != nil {
			return nil, err
		}
	}
	rules, err := policy.Load(ctx, g.cfg.Sets)
	if err != nil {
		return nil, err
	}
	if g.cfg.Digest != "" && rules.Digest() != g.cfg.Digest {
		return nil, fmt.Errorf("policy_digest: the policies have the digest %q, and %s is expected: put the expected "+
			"files back, or set policy_digest to the new digest", rules.Digest(), g.cfg.Digest)
	}
	return rules, nil
}

// Reload reads the policies again, and records it. If either fails, those that were in force stay so.
func (g *Gate) Reload(ctx context.Context) error {
	rules, err := g.load(ctx)
	r := audit.Record{Action: audit.ActionPolicies, Outcome: &audit.Outcome{State: audit.OutcomeSucceeded}}
	if err == nil {
		if err = g.cfg.Store.PublishPolicies(ctx, rules.Digest(), &r); err == nil {
			g.rules.Store(rules)
			g.problem.Store(nil)
			return nil
		}
	}
	text := "the policies could not be read again, so that the earlier ones stay in force: " + plain(err.Error())
	g.problem.Store(&text)
	r.Outcome = &audit.Outcome{State: audit.OutcomeFailed, Error: err.Error()}
	return errors.Join(err, g.cfg.Store.Record(ctx, r))
}

// Digest returns the digest of the policies in force, "" when there are none.
func (g *Gate) Digest() string { return g.rules.Load().Digest() }

// Sets returns the policies in force.
func (g *Gate) Sets() []policy.Set { return g.rules.Load().Sets() }

// Problem returns why the last Reload has failed, "" if it has not.
func (g *Gate) Problem() string {
	if p := g.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Concerned reports whether a policy is asked about an action at a stage.
func (g *Gate) Concerned(stage policy.Stage, action string) bool {
	return g.rules.Load().Concerned(stage, action)
}

// Request asks the policies about a request, records what they object to, and returns their warnings. The error is a
// *Refusal when they refuse it. c is nil for a pull, whose image is given. hide masks secrets in a text.
func (g *Gate) Request(
	ctx context.Context, action string, c *store.Container, image string, hide func(string) string,
) ([]string, error) {
	if !g.Concerned(policy.StageRequest, action) {
		return nil, nil
	}
	asked, err := g.Describe(ctx, string(policy.StageRequest), action, c)
	if err != nil {
		return nil, err
	}
	if c == nil {
		asked.Image = &Image{Reference: image}
	}
	asked = asked.HideIn(hide)
	about, err := json.Marshal(asked)
	if err != nil {
		return nil, fmt.Errorf("ask the policies: %w", err)
	}
	d, err := g.Ask(ctx, asked, nil, about)
	if err != nil {
		return nil, err
	}
	if d.silent() {
		return nil, nil
	}
	r := audit.Record{Action: audit.ActionRequest, Asked: action, Policy: d.Verdicts, Override: d.Override}
	r.Daemon.Policies = d.Digest
	if c != nil {
		r.Container = &audit.Container{ID: c.ID}
	}
	if asked.Image != nil {
		r.Image = &audit.Image{Name: asked.Image.Reference}
	}
	if d.Refused() {
		r.Outcome = &audit.Outcome{State: audit.OutcomeRefused}
	}
	seq, err := g.cfg.Store.RecordVerdicts(ctx, r, c)
	if err != nil {
		return nil, err
	}
	return d.Warnings(), d.Err(seq)
}

// Ask asks the policies. plan is a masked plan as JSON, nil for a request. about is the context as JSON, as it is kept.
func (g *Gate) Ask(ctx context.Context, asked Context, plan, about []byte) (d Decision, err error) {
	input, err := Input(plan, about)
	if err != nil {
		return d, err
	}
	rules := g.rules.Load()
	said := rules.Decide(ctx, policy.Question{
		Stage: policy.Stage(asked.Stage), Action: asked.Action, Input: input, Time: asked.Time,
	})
	if ctx.Err() != nil {
		return d, context.Cause(ctx)
	}
	d = judge(asked, said, rules.Sets(), g.cfg.Contact)
	d.Digest = rules.Digest()
	return d, nil
}
