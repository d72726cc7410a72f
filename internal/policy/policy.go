// Package policy loads sets of rules and decides on one input: what they refuse, what they warn of, and whether they
// could be asked at all. Rules are Rego, in the forms of conftest and of HCP Terraform, or a program. The package must
// know neither Docker nor Azure.
//
//	rules, err := policy.Load(ctx, []policy.Set{{Name: "house", Path: "/etc/azf/policy"}})
//	for _, v := range rules.Decide(ctx, policy.Question{Stage: policy.StagePlan, Action: "create", Input: input}) {
//		if v.Err != nil || len(v.Deny) > 0 { ... }
//	}
//
// An evaluation has no network, environment or randomness, and its time is the question's: the same question always has
// the same answer. A mistake in rules is an error, and never an answer that allows.
package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Enforcement is what the answer of a set means.
type Enforcement string

// Levels of enforcement, in HCP Terraform's words. What a set denies is a warning with Advisory. It is refused with
// Soft, unless somebody overrides it, and with Hard.
const (
	Advisory Enforcement = "advisory"
	Soft     Enforcement = "soft"
	Hard     Enforcement = "hard"
)

// Stage is the moment at which a question is asked.
type Stage string

// Stages. A set has rules for StageRequest in the package RequestPackage, and for StagePlan in its own package.
const (
	StageRequest Stage = "request"
	StagePlan    Stage = "plan"
)

// RequestPackage is the package with the rules for StageRequest. A set need not have one.
const RequestPackage = "sockerless.request"

// Defaults of a Set.
const (
	DefaultPackage        = "main"
	DefaultTimeout        = time.Second
	DefaultCommandTimeout = 20 * time.Second
)

// Set configures a set of rules. It has a Path or a Command.
type Set struct {
	Name string `json:"name"`
	// Path is a folder of Rego and data files, one file, or a bundle of OPA (.tar.gz). VerifyKey is the path of the PEM
	// file with the public key that a bundle is signed with; "" accepts any bundle.
	Path      string `json:"-"`
	VerifyKey string `json:"-"`
	// Command is a program, by its absolute path, and its arguments. It gets the input as JSON on stdin and an empty
	// environment.
	Command []string `json:"command,omitempty"`
	// Query names the rule whose value is the list of violations, such as data.terraform.policies.tags.deny, as policies
	// of HCP Terraform do. Without it, the rules deny, violation and warn of Package are asked; "" means DefaultPackage.
	Query   string `json:"query,omitempty"`
	Package string `json:"package,omitempty"`
	// Rego is v0, or v1; "" means v1.
	Rego string `json:"rego,omitempty"`
	// Enforcement "" means Hard.
	Enforcement Enforcement `json:"enforcement"`
	// On are the actions on which the set is asked. Empty means DefaultOn at StagePlan, and all at StageRequest.
	On []string `json:"on,omitempty"`
	// Timeout is the time that an answer may take; 0 means DefaultTimeout, or DefaultCommandTimeout.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Override lists who may override a soft set. Its form is the caller's.
	Override []string `json:"override,omitempty"`
}

// Question is what sets are asked.
type Question struct {
	Stage  Stage
	Action string
	// Input is decoded JSON, with json.Number for numbers.
	Input map[string]any
	// Time is what time.now_ns() says in rules.
	Time time.Time
}

// Verdict is the answer of one set.
type Verdict struct {
	Set        Set
	Digest     string
	Deny, Warn []Message
	Exceptions []string // the rules that an exception has silenced
	Err        error    // the set could not be asked, so that it has denied nothing
}

// Message is what a rule says.
type Message struct {
	Text string
	// File, relative to the set's folder, and Line are those of the rule. They are zero where they are not known.
	File string
	Line int
}

// String returns the message with its place.
func (m Message) String() string {
	if m.File == "" {
		return m.Text
	}
	return fmt.Sprintf("%s (%s:%d)", m.Text, m.File, m.Line)
}

// Rules are sets that were loaded. Their methods are safe for concurrent use. A nil *Rules has no sets.
type Rules struct {
	sets   []loaded
	digest string
}

// loaded is a set that can be asked.
type loaded struct {
	Set
	digest string
	asked  asker
}

// asker answers for a set.
type asker interface {
	// answers reports whether the set has rules for a stage.
	answers(Stage) bool
	ask(ctx context.Context, q Question, v *Verdict) error
}

// Load reads sets of rules. The error names each set that cannot be used, and what to do.
func Load(ctx context.Context, sets []Set) (*Rules, error) {
	r := &Rules{}
	var errs []error
	total := sha256.New()
	byName := func(a, b Set) int { return strings.Compare(a.Name, b.Name) }
	for _, s := range slices.SortedFunc(slices.Values(sets), byName) {
		one, err := load(ctx, s.complete())
		if err != nil {
			errs = append(errs, fmt.Errorf("policies.%s: %w", s.Name, err))
			continue
		}
		r.sets = append(r.sets, one)
		total.Write([]byte(one.digest))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(r.sets) > 0 {
		r.digest = "sha256:" + hex.EncodeToString(total.Sum(nil))
	}
	return r, nil
}

// complete returns the set with its defaults.
func (s Set) complete() Set {
	if s.Enforcement == "" {
		s.Enforcement = Hard
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
		if len(s.Command) > 0 {
			s.Timeout = DefaultCommandTimeout
		}
	}
	if len(s.Command) == 0 && s.Rego == "" {
		s.Rego = "v1"
	}
	if len(s.Command) == 0 && s.Query == "" && s.Package == "" {
		s.Package = DefaultPackage
	}
	return s
}

func load(ctx context.Context, s Set) (one loaded, err error) {
	var content string // the digest of what the set is made of
	one = loaded{Set: s}
	switch {
	case (len(s.Command) > 0) == (s.Path != ""):
		return one, errors.New("give it a path or a command")
	case len(s.Command) > 0:
		one.asked, content, err = loadCommand(s)
	default:
		one.asked, content, err = loadRego(ctx, s)
	}
	if err != nil {
		return one, err
	}
	for _, action := range s.On {
		if action == "start" || action == "pull" {
			if !one.asked.answers(StageRequest) {
				return one, fmt.Errorf("on: there is no plan of a %s: write rules for it in the package %s",
					action, RequestPackage)
			}
		}
	}
	settings, err := json.Marshal(s)
	if err != nil {
		return one, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", settings, content))
	one.digest = "sha256:" + hex.EncodeToString(sum[:])
	return one, nil
}

// Digest returns the digest of all sets, their settings and the content of their files; "" when there are none. It is
// the same wherever the files are.
func (r *Rules) Digest() string {
	if r == nil {
		return ""
	}
	return r.digest
}

// Sets returns the sets, by their names.
func (r *Rules) Sets() (list []Set) {
	if r != nil {
		for _, s := range r.sets {
			list = append(list, s.Set)
		}
	}
	return list
}

// DefaultOn are the actions on whose plans a set is asked that names none.
var DefaultOn = []string{"create", "foundation", "service-plan"}

func (s *loaded) concerned(stage Stage, action string) bool {
	on := s.On
	if len(on) == 0 && stage == StagePlan {
		on = DefaultOn
	}
	return s.asked.answers(stage) && (len(on) == 0 || slices.Contains(on, action))
}

// Concerned reports whether a set is asked about an action at a stage.
func (r *Rules) Concerned(stage Stage, action string) bool {
	return r != nil && slices.ContainsFunc(r.sets, func(s loaded) bool { return s.concerned(stage, action) })
}

// Decide asks the sets that are concerned, all at once. It blocks for the longest of their time limits at most.
func (r *Rules) Decide(ctx context.Context, q Question) []Verdict {
	if r == nil {
		return nil
	}
	asked := slices.DeleteFunc(slices.Clone(r.sets), func(s loaded) bool { return !s.concerned(q.Stage, q.Action) })
	verdicts := make([]Verdict, len(asked))
	var g sync.WaitGroup
	for i := range asked {
		g.Go(func() { verdicts[i] = asked[i].decide(ctx, q) })
	}
	g.Wait()
	return verdicts
}

func (s *loaded) decide(ctx context.Context, q Question) Verdict {
	v := Verdict{Set: s.Set, Digest: s.digest}
	limited, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := s.asked.ask(limited, q, &v); err != nil {
		v.Deny, v.Warn, v.Exceptions = nil, nil, nil
		v.Err = err
		if limited.Err() != nil && ctx.Err() == nil {
			v.Err = fmt.Errorf("it took longer than its timeout of %s: %w", s.Timeout, err)
		}
	}
	return v
}
