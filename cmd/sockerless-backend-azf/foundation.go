package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/api"
)

func foundationCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "foundation", GroupID: running,
		Short: "Create what all containers share, ahead of the first container",
		Long: "foundation has the running daemon create what all containers share: the Log Analytics workspace and\n" +
			"Application Insights, as far as the settings do not name existing ones. Otherwise the first\n" +
			"create of a container does so, and takes longer than some clients wait.\n" +
			"The daemon's address comes from --listen, SOCKERLESS_AZF_LISTEN or the configuration file.",
	}
	var daemon daemonAddress
	daemon.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var f api.Foundation
		if err := daemon.call(cmd.Context(), environ, http.MethodPost, "/foundation", nil, &f); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "Log Analytics workspace: %s\n", f.LogAnalyticsWorkspace)
		return err
	}
	return cmd
}
