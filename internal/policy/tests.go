package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

// ErrTests is wrapped when tests of rules have failed.
var ErrTests = errors.New("tests failed")

// Test runs the tests of a set, the rules test_... in files ..._test.rego, and reports them to w. A set without tests
// is an error, and so is a failed test, which wraps ErrTests.
func Test(ctx context.Context, s Set, w io.Writer) error {
	if len(s.Command) > 0 {
		return errors.New("a command has no tests that can be run here")
	}
	s = s.complete()
	if _, _, err := loadRego(ctx, s); err != nil {
		return err
	}
	src, err := readSource(s, true)
	if err != nil {
		return err
	}
	c, err := compile(ctx, src)
	if err != nil {
		return err
	}
	version, err := regoVersion(s.Rego)
	if err != nil {
		return err
	}
	results, err := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).
		WithEnablePrintStatements(true)).SetStore(c.store).SetDefaultRegoVersion(version).RaiseBuiltinErrors(true).
		SetModules(src.modules).RunTests(ctx, nil)
	if err != nil {
		return located(err)
	}
	all := slices.SortedFunc(channel(results), func(a, b *tester.Result) int {
		return cmp.Or(cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Row, b.Location.Row))
	})
	ran, failed := 0, 0
	for _, result := range all {
		if result.Skip {
			continue
		}
		ran++
		outcome := "ok    "
		if !result.Pass() {
			failed++
			outcome = "FAILED"
		}
		text := fmt.Sprintf("%s %s:%d: %s\n", outcome, result.Location.File, result.Location.Row,
			strings.TrimPrefix(result.Package, "data.")+"."+result.Name)
		if result.Error != nil {
			text += fmt.Sprintf("       %v\n", located(result.Error))
		}
		if len(result.Output) > 0 {
			text += fmt.Sprintf("       %s\n", strings.TrimSpace(string(result.Output)))
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	switch {
	case ran == 0:
		return fmt.Errorf("there are no tests: rules test_... in files ...%s", testSuffix)
	case failed > 0:
		return fmt.Errorf("%d of %d %w", failed, ran, ErrTests)
	}
	return nil
}

// channel returns the values of a channel.
func channel[T any](values <-chan T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for value := range values {
			if !yield(value) {
				return
			}
		}
	}
}
