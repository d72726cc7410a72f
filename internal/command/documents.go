package command

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// Completion returns the command completion, in a group of the help, which prints a script for a shell.
func Completion(group string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion", GroupID: group,
		Short: "Print a script that completes command lines in a shell",
		Long:  "completion prints a script for a shell: source it, or put it into the shell's folder of completions.",
	}
	for name, write := range map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"zsh":  func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
		"fish": func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
	} {
		cmd.AddCommand(&cobra.Command{
			Use: name, Short: "Print the script for " + name,
			RunE: func(c *cobra.Command, _ []string) error { return write(c.Root(), c.OutOrStdout()) },
		})
	}
	return cmd
}

// Man returns the command man, which writes the man pages of a program in a section of a manual. It is for packages, so
// help does not list it.
func Man(section, manual string) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Hidden: true,
		Short: "Write man pages into a folder",
		Args:  ExactlyOne("a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			cmd.Root().DisableAutoGenTag = true
			escape(cmd.Root())
			header := &doc.GenManHeader{Section: section, Source: cmd.Root().Name(), Manual: manual}
			return doc.GenManTree(cmd.Root(), header, args[0])
		},
	}
}

// escape keeps cobra/doc, which takes help for Markdown, from printing the names of settings in italics.
func escape(cmd *cobra.Command) {
	underscores := strings.NewReplacer("_", `\_`)
	cmd.Long = underscores.Replace(cmd.Long)
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = underscores.Replace(f.Usage) })
	for _, sub := range cmd.Commands() {
		escape(sub)
	}
}
