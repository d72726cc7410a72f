// Package policycheck asks policies about plans that are kept in a state folder or given in a file, without a daemon:
// what they would refuse before they are rolled out. It changes nothing.
package policycheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// ErrRefused is wrapped when the policies refuse a plan.
var ErrRefused = errors.New("the policies refuse")

// Checker asks the policies of a gate.
type Checker struct {
	Gate *gate.Gate
	// DB is the daemon's database, and Workspaces the folder of its workspaces. Only File does without them.
	DB         *store.DB
	Workspaces string
	Out        io.Writer
}

// question is a plan with the context that belongs to it.
type question struct {
	name        string
	asked       gate.Context
	plan, about []byte
}

// File asks about the plan in a file: what terraform show -json prints, or what Input prints.
func (c Checker) File(ctx context.Context, content []byte) error {
	var given struct {
		FormatVersion string          `json:"format_version"`
		Plan          json.RawMessage `json:"plan"`
		About         json.RawMessage `json:"sockerless"`
	}
	if err := json.Unmarshal(content, &given); err != nil {
		return fmt.Errorf("this is not a plan as JSON, as terraform show -json prints it: %w", err)
	}
	if given.FormatVersion == "" {
		return errors.New("this is not a plan as JSON: it lacks format_version; terraform show -json prints one")
	}
	q := question{name: "the plan", plan: content, about: given.About}
	if given.About == nil {
		now := time.Now().UTC()
		q.asked = gate.Context{
			Version: 1, Time: now, Action: gate.Create, Stage: string(policy.StagePlan), Cause: "check",
			Requester: api.Requester{Kind: api.RequesterDaemon, Cause: "check"},
		}
		var err error
		if q.about, err = json.Marshal(q.asked); err != nil {
			return err
		}
	} else if err := json.Unmarshal(given.About, &q.asked); err != nil {
		return fmt.Errorf("read what is below sockerless: %w", err)
	}
	if given.Plan != nil {
		q.plan = given.Plan
	}
	d, err := c.ask(ctx, q)
	if err != nil {
		return err
	}
	for _, text := range d.Warnings() {
		if _, err := fmt.Fprintln(c.Out, text); err != nil {
			return err
		}
	}
	if d.Refused() {
		return fmt.Errorf("%w it: %s", ErrRefused, d.Reasons())
	}
	answer := "the policies allow it"
	if len(d.Verdicts) == 0 {
		answer = "no policy is asked about it"
	}
	_, err = fmt.Fprintln(c.Out, answer)
	return err
}

// Existing asks about the plans of all containers, and with archived about those of removed ones, and writes a line for
// each that the policies refuse or warn of.
func (c Checker) Existing(ctx context.Context, archived bool) error {
	kept, err := workspace.KeptPlans(c.Workspaces, archived)
	if err != nil {
		return err
	}
	refused, asked, without := 0, 0, 0
	for _, k := range kept {
		q, ok, err := c.question(ctx, k)
		if err != nil {
			return err
		}
		if !ok {
			without++
			continue
		}
		asked++
		d, err := c.ask(ctx, q)
		if err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		line := ""
		switch warnings := d.Warnings(); {
		case d.Refused():
			refused++
			line = "refused  " + q.name + ": " + d.Reasons()
		case len(warnings) > 0:
			line = "warned   " + q.name + ": " + warnings[0]
			if n := len(warnings) - 1; n > 0 {
				line += fmt.Sprintf(" and %d more", n)
			}
		default:
			continue
		}
		if _, err := fmt.Fprintln(c.Out, line); err != nil {
			return err
		}
	}
	if without > 0 {
		_, err := fmt.Fprintf(c.Out,
			"%d plans were not checked: an earlier release has kept them without who asked\n", without)
		if err != nil {
			return err
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w %d of %d plans", ErrRefused, refused, asked)
	}
	_, err = fmt.Fprintf(c.Out, "the policies allow all %d plans\n", asked)
	return err
}

// Container asks about the plan of one container, given by its name, its id or the beginning of it.
func (c Checker) Container(ctx context.Context, ref string) error {
	input, err := c.input(ctx, ref)
	if err != nil {
		return err
	}
	return c.File(ctx, input)
}

// Input writes what policies are asked about the plan of one container, as JSON.
func (c Checker) Input(ctx context.Context, ref string) error {
	input, err := c.input(ctx, ref)
	if err != nil {
		return err
	}
	_, err = c.Out.Write(input)
	return err
}

func (c Checker) input(ctx context.Context, ref string) ([]byte, error) {
	row, err := c.DB.Container(ctx, ref)
	if err != nil {
		return nil, err
	}
	kept, err := workspace.KeptPlans(c.Workspaces, false)
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		if k.Workspace != row.ID {
			continue
		}
		q, _, err := c.question(ctx, k)
		if err != nil {
			return nil, err
		}
		input, err := gate.Input(q.plan, q.about)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(input)
		return out.Bytes(), err
	}
	return nil, fmt.Errorf("the plan of container %s is not in %s: it is kept on the machine of the daemon that created "+
		"the container", row.Name, c.Workspaces)
}

// question reads a plan that is kept. The context of an earlier release's plan comes from the container's row; ok is
// false when there is none any more.
func (c Checker) question(ctx context.Context, k workspace.KeptPlan) (q question, ok bool, err error) {
	q.name = k.Workspace
	if q.plan, err = os.ReadFile(k.Plan); err != nil {
		return q, false, fmt.Errorf("read a plan: %w", err)
	}
	if k.Context != "" {
		if q.about, err = os.ReadFile(k.Context); err != nil {
			return q, false, fmt.Errorf("read the context of a plan: %w", err)
		}
		if err := json.Unmarshal(q.about, &q.asked); err != nil {
			return q, false, fmt.Errorf("read the context of a plan: %s: %w", k.Context, err)
		}
	} else {
		row, err := c.DB.Container(ctx, k.Workspace)
		if api.KindOf(err) == api.NotFound || workspace.KindOf(k.Workspace) != workspace.KindContainer {
			return q, false, nil
		}
		if err != nil {
			return q, false, err
		}
		ctx = api.WithOrigin(ctx, row.Origin)
		if q.asked, err = c.Gate.Describe(ctx, string(policy.StagePlan), gate.Create, &row); err != nil {
			return q, false, err
		}
		q.asked.Workspace = "container"
		if q.about, err = json.Marshal(q.asked); err != nil {
			return q, false, err
		}
	}
	if about := q.asked.Container; about != nil {
		q.name = about.Name + " " + about.ID[:12]
	}
	return q, true, nil
}

func (c Checker) ask(ctx context.Context, q question) (gate.Decision, error) {
	return c.Gate.Ask(ctx, q.asked, q.plan, q.about)
}
