// Package command runs the cobra commands of a program the same way for all programs of this project. INT and TERM
// end the context. A mistake on the command line is one line with a suggestion, and never usage text. The exit status
// is 2 for mistakes and otherwise 1. The package must not know what the commands do.
//
//	func main() { command.Main("azuresim", run) }
//
//	func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
//		root := &cobra.Command{Use: "azuresim", RunE: ...}
//		return command.Execute(ctx, root, args, stdout, stderr)
//	}
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/suggest"
)

// Mistake is a mistake of the user, on the command line or in the configuration.
type Mistake struct{ Err error }

func (m Mistake) Error() string { return m.Err.Error() }

// Unwrap returns the mistake itself.
func (m Mistake) Unwrap() error { return m.Err }

// Mistakef returns a Mistake.
func Mistakef(format string, args ...any) error { return Mistake{fmt.Errorf(format, args...)} }

// Exit is an error with an exit status of its own.
type Exit struct {
	Err    error
	Status int
}

func (e Exit) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e Exit) Unwrap() error { return e.Err }

// ExitStatus returns the status of an Exit, 2 for a Mistake and otherwise 1.
func ExitStatus(err error) int {
	if exit, ok := errors.AsType[Exit](err); ok {
		return exit.Status
	}
	if _, ok := errors.AsType[Mistake](err); ok {
		return 2
	}
	return 1
}

// Main runs a program and ends the process when it fails. The context ends with the first INT or TERM; a second signal
// ends the process at once.
func Main(name string, run func(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(ExitStatus(err))
	}
}

// Execute runs the command that args name. A command without Args takes none, and one without Run only groups others.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) error {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	help := helpCommand()
	if groups := root.Groups(); len(groups) > 0 {
		help.GroupID = groups[len(groups)-1].ID
	}
	root.SetHelpCommand(help)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// The unknown flag may well be one of the command that is misspelt before it.
		if depth := strings.Count(cmd.CommandPath(), " "); cmd.HasSubCommands() && depth < len(args) {
			if name := args[depth]; !strings.HasPrefix(name, "-") {
				return unknownCommand(cmd, name)
			}
		}
		return flagMistake(cmd, err)
	})
	prepare(root)
	return root.ExecuteContext(ctx)
}

// prepare completes a command and those below it.
func prepare(cmd *cobra.Command) {
	switch {
	case !cmd.Runnable():
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return Mistakef("no command given (%s --help lists the commands)", cmd.CommandPath())
			}
			return unknownCommand(cmd, args[0])
		}
	case cmd.Args == nil:
		cmd.Args = noArguments
	}
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Mistakef("%s takes no arguments, got %q (%s --help shows its use)", cmd.Name(), args[0], cmd.CommandPath())
	}
	return nil
}

// ExactlyOne returns a check for a command with one argument, which what describes.
func ExactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Mistakef("%s takes one argument, %s, and got %d (%s --help shows its use)",
				cmd.Name(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return Mistakef("unknown command %s%s (%s --help lists the commands)",
		name, didYouMean(suggest.Closest(name, names)), cmd.CommandPath())
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + name + "?"
}

// flagMistake returns a flag's error as a Mistake of one line.
func flagMistake(cmd *cobra.Command, err error) error {
	lists := fmt.Sprintf(" (%s --help lists the flags)", cmd.CommandPath())
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		dashes, name := "--", unknown.GetSpecifiedName()
		if group := unknown.GetSpecifiedShortnames(); group != "" {
			dashes = "-"
			name, _, _ = strings.Cut(group, "=")
		}
		best := ""
		if dashes == "--" || len(name) > 1 {
			if best = suggest.Closest(name, flagNames(cmd)); best != "" {
				best = "--" + best
			}
		}
		return Mistakef("unknown flag %s%s%s%s", dashes, name, didYouMean(best), lists)
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return Mistakef("flag --%s needs a value%s", missing.GetFlag().Name, lists)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return Mistakef("--%s: %q is not a valid %s%s",
			invalid.GetFlag().Name, invalid.GetValue(), invalid.GetFlag().Value.Type(), lists)
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return Mistakef("%s%s", message, lists)
}

// flagNames returns the long names of a command's flags, in order.
func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return names
}

// helpCommand returns the command help, which shows the help of the command that its arguments name.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show the help of a command", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, name := range args {
				i := slices.IndexFunc(at.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
				if i < 0 {
					return unknownCommand(at, name)
				}
				at = at.Commands()[i]
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}
