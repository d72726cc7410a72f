package main

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/command"
)

func gcCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "gc", GroupID: running,
		Short: "List what is in Azure without a container, and confirm its removal",
		Long: "gc asks the running daemon for its orphans: function apps with the daemon's tags and workspaces, which\n" +
			"have no container. It prints since when the daemon has seen each of them, and why it stays.\n" +
			"The daemon's address comes from --listen, SOCKERLESS_AZF_LISTEN or the configuration file.",
	}
	var daemon daemonAddress
	daemon.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list []api.Orphan
		if err := daemon.call(cmd.Context(), environ, http.MethodGet, "/gc", nil, &list); err != nil {
			return err
		}
		return printOrphans(cmd.OutOrStdout(), list)
	}
	confirm := &cobra.Command{
		Use:   "confirm [ID...]",
		Short: "Have orphans destroyed",
		Long: "gc confirm has the orphans destroyed that the arguments name, by the id of the container, the beginning of\n" +
			"the id, or the name of the function app. The daemon begins at once, whatever its setting gc is, and remembers\n" +
			"the confirmation until they are gone. Orphans that it finds later need another confirmation.",
		Args: cobra.ArbitraryArgs,
	}
	all := confirm.Flags().Bool("all", false, "have all orphans destroyed that the daemon has found so far")
	confirm.RunE = func(cmd *cobra.Command, args []string) error {
		if *all == (len(args) > 0) {
			return command.Mistakef("confirm takes the ids of orphans, or --all (%s --help shows its use)", cmd.CommandPath())
		}
		var list, confirmed []api.Orphan
		if *all {
			if err := daemon.call(cmd.Context(), environ, http.MethodGet, "/gc", nil, &list); err != nil {
				return err
			}
			for _, o := range list {
				args = append(args, o.ID)
			}
		}
		if len(args) > 0 {
			req := api.ConfirmRequest{IDs: args}
			if err := daemon.call(cmd.Context(), environ, http.MethodPost, "/gc/confirm", req, &confirmed); err != nil {
				return err
			}
		}
		return printOrphans(cmd.OutOrStdout(), confirmed)
	}
	cmd.AddCommand(confirm)
	return cmd
}

// printOrphans prints a table with a row for each orphan.
func printOrphans(w io.Writer, list []api.Orphan) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no orphans")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "ID\tNAME\tSEEN SINCE\tORPHAN\tSTATE"); err != nil {
		return err
	}
	for _, o := range list {
		name, place := o.Name, o.Place
		if name == "" {
			name = "-"
		}
		if o.Kind == "function app" {
			place = path.Base(place)
		}
		_, err := fmt.Fprintf(table, "%.12s\t%s\t%s\t%s %s\t%s: %s\n",
			o.ID, name, o.FirstSeen.UTC().Format(time.RFC3339), o.Kind, place, o.State, o.Reason)
		if err != nil {
			return err
		}
	}
	return table.Flush()
}
