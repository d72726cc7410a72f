package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

func planCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", GroupID: running,
		Short: "Show, and apply, what a changed configuration does to what containers share",
		Long: "plan takes the settings of serve and shows, as Terraform prints it, what a daemon with them would do to\n" +
			"the Log Analytics workspace and Application Insights. It changes nothing, and the daemon may run. With\n" +
			"--apply, the running daemon applies the change that foundation_changes: hold has kept back and that has the\n" +
			"digest; its address comes from --listen.",
	}
	flags := config.AddFlags(cmd.Flags(), config.Options{File: config.DefaultFile})
	apply := cmd.Flags().Bool("apply", false, "have the running daemon apply the held change with --digest")
	digest := cmd.Flags().String("digest", "", "`digest` of that change, as plan shows it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *apply != (*digest != "") {
			return command.Mistakef("--apply and --digest belong together: plan shows the digest of a change")
		}
		if *apply {
			var at daemonAddress
			at.config, at.listen = cmd.Flag("config").Value.String(), flagGiven(cmd, "listen")
			return applyHeld(cmd, &at, environ, *digest)
		}
		loaded := flags.Load(environ)
		if err := loaded.Err(); err != nil {
			return err
		}
		cfg, err := daemonConfig(cmd.Context(), loaded, environ, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		p, err := daemon.Preview(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		var out strings.Builder
		fmt.Fprintf(&out, "%s\n", strings.TrimRight(p.Text, "\n"))
		switch {
		case p.Refusal != nil:
			fmt.Fprintf(&out, "\nThe daemon refuses this plan: %v.\n", p.Refusal)
		case len(p.Harm) > 0:
			fmt.Fprintf(&out, "\nThe daemon applies this plan with the next create, because foundation_changes is replace: "+
				"%s.\n", strings.Join(p.Harm, "; "))
		}
		if p.Change != "" && p.Plan.String() != unchanged {
			fmt.Fprintf(&out, "\nDigest: %s\n", p.Change)
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), out.String())
		return err
	}
	return cmd
}

// unchanged is the summary of a plan that changes nothing.
const unchanged = "0 to add, 0 to change, 0 to destroy"

// flagGiven returns the value of a flag, "" if it is not given.
func flagGiven(cmd *cobra.Command, name string) string {
	if !cmd.Flags().Changed(name) {
		return ""
	}
	return cmd.Flag(name).Value.String()
}

func applyHeld(cmd *cobra.Command, at *daemonAddress, environ []string, digest string) error {
	var f api.Foundation
	err := at.call(cmd.Context(), environ, http.MethodPost, "/foundation", api.FoundationRequest{Digest: digest}, &f)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "applied: %s\n", f.Plan)
	return err
}
