package command

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program returns a root command with a group, and a command with flags.
func program() *cobra.Command {
	root := &cobra.Command{Use: "program"}
	serve := &cobra.Command{Use: "serve", Short: "Serve it", RunE: func(*cobra.Command, []string) error {
		return errors.New("it failed")
	}}
	serve.Flags().String("storage-account", "", "account")
	serve.Flags().Int("rounds", 1, "rounds")
	serve.Flags().BoolP("verbose", "v", false, "verbose")
	secret := &cobra.Command{Use: "servo", Hidden: true, RunE: serve.RunE}
	config := &cobra.Command{Use: "config", Short: "About the configuration"}
	config.AddCommand(
		&cobra.Command{Use: "print", Short: "Print it", RunE: func(*cobra.Command, []string) error { return nil }},
	)
	man := &cobra.Command{
		Use:  "man DIR",
		Args: ExactlyOne("a folder"),
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.AddCommand(serve, secret, config, man)
	return root
}

func TestMistakesAreOneLine(t *testing.T) {
	const flags = " (program serve --help lists the flags)"
	for _, row := range []struct{ args, want string }{
		{"", "no command given (program --help lists the commands)"},
		{"srve", "unknown command srve: did you mean serve? (program --help lists the commands)"},
		{"srve --rounds 1", "unknown command srve: did you mean serve? (program --help lists the commands)"},
		{"colour", "unknown command colour (program --help lists the commands)"},
		{"--colour", "unknown flag --colour (program --help lists the flags)"},
		{"config", "no command given (program config --help lists the commands)"},
		{"config prnt", "unknown command prnt: did you mean print? (program config --help lists the commands)"},
		{"config prnt --all", "unknown command prnt: did you mean print? (program config --help lists the commands)"},
		{"config print now", `print takes no arguments, got "now" (program config print --help shows its use)`},
		{"help srve", "unknown command srve: did you mean serve? (program --help lists the commands)"},
		{"serve --storage-acount x", "unknown flag --storage-acount: did you mean --storage-account?" + flags},
		{"serve --storage-acount=x", "unknown flag --storage-acount: did you mean --storage-account?" + flags},
		{"serve -storage-account=x", "unknown flag -storage-account: did you mean --storage-account?" + flags},
		{"serve --colour", "unknown flag --colour" + flags},
		{"serve -x", "unknown flag -x" + flags},
		{"serve --rounds", "flag --rounds needs a value" + flags},
		{"serve --rounds many", `--rounds: "many" is not a valid int` + flags},
		{"serve --verbose=maybe", `--verbose: "maybe" is not a valid bool` + flags},
		{"serve --=x", "bad flag syntax: --=x" + flags},
		{"serve now", `serve takes no arguments, got "now" (program serve --help shows its use)`},
		{"man", "man takes one argument, a folder, and got 0 (program man --help shows its use)"},
	} {
		var stdout, stderr bytes.Buffer
		err := Execute(t.Context(), program(), strings.Fields(row.args), &stdout, &stderr)
		if err == nil || err.Error() != row.want || ExitStatus(err) != 2 {
			t.Errorf("%s:\ngot  %v\nwant %s", row.args, err, row.want)
		}
		if stdout.Len()+stderr.Len() > 0 {
			t.Errorf("%s: printed %s%s", row.args, &stdout, &stderr)
		}
	}
}

func TestFailuresOfCommands(t *testing.T) {
	var stderr bytes.Buffer
	err := Execute(t.Context(), program(), []string{"serve"}, &stderr, &stderr)
	if err == nil || err.Error() != "it failed" || ExitStatus(err) != 1 || stderr.Len() > 0 {
		t.Errorf("got %v, printed %s", err, &stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help", "serve"}, {"serve", "--help"}, {"serve", "-h"}} {
		var stdout bytes.Buffer
		err := Execute(t.Context(), program(), args, &stdout, &stdout)
		if err != nil || !strings.Contains(stdout.String(), "--storage-account") ||
			!strings.Contains(stdout.String(), "Serve it") {
			t.Errorf("%q: got %v and\n%s", args, err, &stdout)
		}
	}
	var stdout bytes.Buffer
	err := Execute(t.Context(), program(), []string{"help"}, &stdout, &stdout)
	if err != nil || !strings.Contains(stdout.String(), "config") || strings.Contains(stdout.String(), "servo") {
		t.Errorf("got %v and\n%s", err, &stdout)
	}
}
