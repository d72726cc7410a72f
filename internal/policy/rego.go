package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// The names of rules, as conftest has them (policy/engine.go).
var (
	failureRule = regexp.MustCompile(`^(deny|violation)(_[a-zA-Z0-9]+)*$`)
	warningRule = regexp.MustCompile(`^warn(_[a-zA-Z0-9]+)*$`)
)

const exceptionRule = "exception"

// pure are built-in functions that OPA calls nondeterministic and that depend on the question alone here: the time is
// the question's, and schemas are not fetched.
var pure = []string{"time.now_ns", "io.jwt.decode_verify", "json.match_schema", "json.verify_schema"}

// capabilities returns what rules may use.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic && !slices.Contains(pure, b.Name)
	})
	c.AllowNet = []string{}
	return c
}

// regoSet is a set of Rego.
type regoSet struct {
	plan, request []rule
}

// rule is one name of rules that can be asked.
type rule struct {
	name      string
	pkg       string
	warns     bool
	query     rego.PreparedEvalQuery
	exception *rego.PreparedEvalQuery // nil: there is none for it
	// ofHCP: the value is a list of anything, and a list is required.
	ofHCP bool
}

func (s *regoSet) answers(stage Stage) bool {
	if stage == StageRequest {
		return len(s.request) > 0
	}
	return len(s.plan) > 0
}

// compiled is a source that was compiled, with its data.
type compiled struct {
	compiler *ast.Compiler
	store    storage.Store
}

func compile(ctx context.Context, src *source) (c compiled, err error) {
	// What conftest adds to the data of policies.
	src.data["conftest"] = map[string]any{"file": map[string]any{"name": "plan.json", "dir": ""}}
	c = compiled{compiler: ast.NewCompiler().WithCapabilities(capabilities()), store: inmem.NewFromObject(src.data)}
	err = storage.Txn(ctx, c.store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		c.compiler = c.compiler.WithPathConflictsCheck(storage.NonEmpty(ctx, c.store, txn))
		c.compiler.Compile(src.modules)
		if c.compiler.Failed() {
			return c.compiler.Errors
		}
		return nil
	})
	return c, located(err)
}

func loadRego(ctx context.Context, s Set) (*regoSet, string, error) {
	src, err := readSource(s, false)
	if err != nil {
		return nil, "", err
	}
	if len(src.modules) == 0 {
		return nil, "", fmt.Errorf("%s holds no rules: files whose names end in %s", s.Path, regoSuffix)
	}
	c, err := compile(ctx, src)
	if err != nil {
		return nil, "", err
	}
	set := &regoSet{}
	if set.request, err = c.rules(ctx, src, RequestPackage); err != nil {
		return nil, "", err
	}
	if s.Query != "" {
		set.plan, err = c.queried(ctx, s.Query)
	} else {
		set.plan, err = c.rules(ctx, src, s.Package)
	}
	if err != nil {
		return nil, "", err
	}
	if len(set.plan) == 0 && len(set.request) == 0 {
		return nil, "", fmt.Errorf("no rule deny, violation or warn in package %s: the files have %s",
			s.Package, strings.Join(packages(src.modules), ", "))
	}
	return set, src.digest, nil
}

func packages(modules map[string]*ast.Module) (names []string) {
	for _, m := range modules {
		names = append(names, "package "+packageOf(m))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func packageOf(m *ast.Module) string { return strings.TrimPrefix(m.Package.Path.String(), "data.") }

// rules finds the rules of a package that can be asked, in the order of their names.
func (c compiled) rules(ctx context.Context, src *source, pkg string) (list []rule, err error) {
	names := map[string]bool{}
	excepts := false
	for _, path := range slices.Sorted(maps.Keys(src.modules)) {
		m := src.modules[path]
		if packageOf(m) != pkg {
			continue
		}
		for _, r := range m.Rules {
			name := ruleName(r)
			excepts = excepts || name == exceptionRule
			if !failureRule.MatchString(name) && !warningRule.MatchString(name) || len(r.Head.Args) > 0 {
				continue
			}
			if err := checkForm(r, name); err != nil {
				return nil, err
			}
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		one := rule{name: name, pkg: pkg, warns: warningRule.MatchString(name)}
		if one.query, err = c.prepare(ctx, "data."+pkg+"."+name); err != nil {
			return nil, err
		}
		if excepts {
			q, err := c.prepare(ctx, fmt.Sprintf("data.%s.%s[_][_] == %q", pkg, exceptionRule, bareName(name)))
			if err != nil {
				return nil, err
			}
			one.exception = &q
		}
		list = append(list, one)
	}
	return list, nil
}

// ruleName returns the first name of a rule: deny of deny contains x, and of deny[x].
func ruleName(r *ast.Rule) string {
	if r.Head.Name != "" {
		return string(r.Head.Name)
	}
	if ref := r.Head.Ref(); len(ref) > 0 {
		return strings.Trim(ref[0].Value.String(), `"`)
	}
	return ""
}

// bareName returns the name by which an exception calls a rule. The prefixes go one after another, as conftest has it.
func bareName(name string) string {
	switch name {
	case "violation", "deny", "warn":
		return ""
	}
	for _, prefix := range []string{"violation_", "deny_", "warn_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// checkForm refuses a rule whose value cannot be a list of messages.
func checkForm(r *ast.Rule, name string) error {
	place := fmt.Sprintf("%s:%d", r.Loc().File, r.Loc().Row)
	if len(r.Head.Ref()) == 1 {
		if r.Head.RuleKind() == ast.MultiValue {
			return nil
		}
		// A list or a set as a whole is what conftest takes, too. Of a call's result, the answer shows what it is.
		switch r.Head.Value.Value.(type) {
		case ast.Boolean, ast.Null, ast.Number, ast.String, ast.Object:
		default:
			return nil
		}
	}
	return fmt.Errorf("%s: %s is not a set, so that it would refuse nothing: write %s contains msg if { ... }",
		place, name, name)
}

// queried prepares a query of HCP Terraform's form.
func (c compiled) queried(ctx context.Context, query string) ([]rule, error) {
	ref, err := ast.ParseRef(query)
	if err != nil || !ref.HasPrefix(ast.DefaultRootRef) || !ref.IsGround() {
		return nil, fmt.Errorf("query: %q: name a rule, such as data.terraform.policies.tags.deny", query)
	}
	if len(c.compiler.GetRulesExact(ref)) == 0 {
		return nil, fmt.Errorf("query: there is no rule %s", query)
	}
	one := rule{name: query, pkg: strings.TrimPrefix(ref[:len(ref)-1].String(), "data."), ofHCP: true}
	one.query, err = c.prepare(ctx, query)
	return []rule{one}, err
}

func (c compiled) prepare(ctx context.Context, query string) (rego.PreparedEvalQuery, error) {
	prepared, err := rego.New(rego.Query(query), rego.Compiler(c.compiler), rego.Store(c.store),
		rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return prepared, located(err)
	}
	return prepared, nil
}

func (s *regoSet) ask(ctx context.Context, q Question, v *Verdict) error {
	rules := s.plan
	if q.Stage == StageRequest {
		rules = s.request
	}
	input, err := ast.InterfaceToValue(q.Input)
	if err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	options := []rego.EvalOption{rego.EvalParsedInput(input), rego.EvalTime(q.Time)}
	for _, r := range rules {
		if r.exception != nil {
			results, err := r.exception.Eval(ctx, options...)
			if err != nil {
				return located(err)
			}
			if len(results) > 0 {
				v.Exceptions = append(v.Exceptions, r.name)
				continue
			}
		}
		messages, err := r.eval(ctx, options)
		if err != nil {
			return err
		}
		if r.warns {
			v.Warn = append(v.Warn, messages...)
		} else {
			v.Deny = append(v.Deny, messages...)
		}
	}
	return nil
}

// eval returns what a rule says, with the place of each message.
func (r rule) eval(ctx context.Context, options []rego.EvalOption) ([]Message, error) {
	results, err := r.query.Eval(ctx, options...)
	if err != nil {
		return nil, located(err)
	}
	if len(results) == 0 {
		if r.ofHCP {
			return nil, fmt.Errorf("%s has no value for this input: give it a default, or make it a set", r.name)
		}
		return nil, nil // a list as a whole whose condition does not hold
	}
	values, ok := results[0].Expressions[0].Value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is no list of messages for this input", r.name)
	}
	if len(values) == 0 {
		return nil, nil
	}
	// Only now, because tracing costs time.
	places := &places{rule: r, found: map[string]*ast.Location{}}
	if _, err := r.query.Eval(ctx, append(slices.Clip(options), rego.EvalQueryTracer(places))...); err != nil {
		return nil, located(err)
	}
	messages := make([]Message, 0, len(values))
	for _, value := range values {
		text, err := r.text(value)
		if err != nil {
			return nil, err
		}
		m := Message{Text: text}
		if at := places.of(value); at != nil {
			m.File, m.Line = strings.TrimPrefix(at.File, "/"), at.Row // in a bundle, paths begin so
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// text returns the message in the value of a rule: a string, or the field msg of an object.
func (r rule) text(value any) (string, error) {
	switch value := value.(type) {
	case string:
		if value == "" {
			return "(the rule " + r.name + " gives an empty message)", nil
		}
		return value, nil
	case map[string]any:
		for _, name := range []string{"msg", "message"} {
			if text, ok := value[name].(string); ok && (name == "msg" || r.ofHCP) {
				return text, nil
			}
		}
		if !r.ofHCP {
			return "", fmt.Errorf("%s gives an object without a string msg", r.name)
		}
	}
	content, err := json.Marshal(value)
	return string(content), err
}

// places is a tracer that finds out which rule has given which value.
type places struct {
	rule  rule
	found map[string]*ast.Location // by the value's JSON
	any   *ast.Location
}

func (p *places) Enabled() bool { return true }

func (p *places) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

func (p *places) TraceEvent(ev topdown.Event) {
	r, ok := ev.Node.(*ast.Rule)
	if !ok || ev.Op != topdown.ExitOp || ev.Locals == nil || r.Module == nil || packageOf(r.Module) != p.rule.pkg {
		return
	}
	if name := ruleName(r); name != p.rule.name && !strings.HasSuffix(p.rule.name, "."+name) {
		return
	}
	if p.any == nil {
		p.any = r.Loc()
	}
	if r.Head.Key == nil {
		return
	}
	key, err := ast.TransformVars(r.Head.Key.Copy(), func(v ast.Var) (ast.Value, error) {
		if value := ev.Locals.Get(v); value != nil {
			return value, nil
		}
		return v, nil
	})
	if err != nil {
		return
	}
	plugged, ok := key.(ast.Value)
	if !ok {
		return
	}
	value, err := ast.JSON(plugged)
	if err != nil {
		return
	}
	if content, err := json.Marshal(value); err == nil && p.found[string(content)] == nil {
		p.found[string(content)] = r.Loc()
	}
}

// of returns the place of the rule that has given a value, or of any of its name.
func (p *places) of(value any) *ast.Location {
	content, err := json.Marshal(value)
	if err != nil || p.found[string(content)] == nil {
		return p.any
	}
	return p.found[string(content)]
}

// located returns an error of OPA as one line for each mistake, with file and line.
func located(err error) error {
	if err == nil {
		return nil
	}
	if errs, ok := errors.AsType[ast.Errors](err); ok {
		lines := make([]error, 0, len(errs))
		for _, e := range errs {
			lines = append(lines, one(e.Location, e.Code, e.Message))
		}
		return errors.Join(lines...)
	}
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		return one(e.Location, e.Code, e.Message)
	}
	return err
}

func one(at *ast.Location, code, message string) error {
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if b.Nondeterministic && strings.HasSuffix(message, "undefined function "+b.Name) {
			message += ": rules have no network, no environment and no randomness, so that they can be asked again"
		}
	}
	if at == nil || at.File == "" {
		return fmt.Errorf("%s: %s", code, message)
	}
	return fmt.Errorf("%s:%d: %s: %s", strings.TrimPrefix(at.File, "/"), at.Row, code, message)
}
