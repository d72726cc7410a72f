package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/policycheck"
	"github.com/sockerless/backend-azf/store"
)

// policyPlace says where policies and the daemon's state are: as flags say, or the daemon's own settings.
type policyPlace struct{ config, stateDir, rules string }

func policyCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", GroupID: running,
		Short: "Try policies before they are rolled out",
		Long: "policy asks the policies of the configuration, or those in --policy, about plans that are there\n" +
			"already. It changes nothing, and the daemon may run or not.",
	}
	var place policyPlace
	cmd.PersistentFlags().StringVar(&place.config, "config", "",
		"configuration `file` of the daemon (default "+config.DefaultFile+" if it exists)")
	cmd.PersistentFlags().StringVar(&place.stateDir, "state-dir", "", "state `folder` of the daemon (default its setting)")
	cmd.PersistentFlags().StringVar(&place.rules, "policy", "",
		"`folder` of rules, or a bundle, in place of those of the configuration")
	cmd.AddCommand(policyCheckCommand(&place, environ), policyInputCommand(&place, environ),
		policyTestCommand(&place, environ))
	return cmd
}

// use calls f with a checker of the policies. With state, it has the daemon's database and workspaces.
func (p policyPlace) use(
	cmd *cobra.Command, environ []string, state bool, f func(context.Context, policycheck.Checker) error,
) (err error) {
	ctx := cmd.Context()
	settings, err := config.Policies(p.config, p.stateDir, p.rules, environ)
	if err != nil {
		return command.Mistake{Err: err}
	}
	c := policycheck.Checker{Workspaces: daemon.WorkspacesPath(settings.StateDir), Out: cmd.OutOrStdout()}
	if state {
		c.DB, err = store.OpenReader(ctx,
			store.Config{Path: daemon.DatabasePath(settings.StateDir), URL: settings.Database})
		if err != nil {
			return fmt.Errorf("read the daemon's database (--state-dir gives another place): %w", err)
		}
		defer func() { err = errors.Join(err, c.DB.Close()) }()
	}
	c.Gate, err = gate.New(ctx, gate.Config{
		Sets: settings.Policy.Sets, Store: c.DB, Owner: settings.Azure.Owner, SubscriptionID: settings.SubscriptionID,
		ResourceGroup: settings.Azure.ResourceGroup, Location: settings.Azure.Location,
	})
	if err != nil {
		return command.Mistake{Err: err}
	}
	return f(ctx, c)
}

// wantPolicies is the error of a command that has nothing to ask.
func wantPolicies(g *gate.Gate) error {
	if g.Digest() == "" {
		return command.Mistakef("there are no policies: name a folder with --policy, or set policy in the configuration")
	}
	return nil
}

func policyCheckCommand(place *policyPlace, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [PLAN.json|CONTAINER]",
		Short: "Ask the policies about a plan, or about those of all containers",
		Long: "check asks the policies about a plan: one in a file, as terraform show -json or policy input prints it,\n" +
			"or the plan that has created a container. With --existing it asks about those of all containers, and\n" +
			"prints a line for each that would be refused. The exit status is 1 when one is refused.",
		Args: cobra.MaximumNArgs(1),
	}
	existing := cmd.Flags().Bool("existing", false, "ask about the plans of all containers that are there")
	archived := cmd.Flags().Bool("archive", false, "with --existing: about those of removed containers, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *existing == (len(args) == 1) || *archived && !*existing {
			return command.Mistakef("give a plan or a container, or --existing with or without --archive")
		}
		var content []byte
		if len(args) == 1 {
			var err error
			if content, err = os.ReadFile(args[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return place.use(cmd, environ, content == nil, func(ctx context.Context, c policycheck.Checker) error {
			if err := wantPolicies(c.Gate); err != nil {
				return err
			}
			switch {
			case *existing:
				return c.Existing(ctx, *archived)
			case content != nil:
				return c.File(ctx, content)
			}
			return c.Container(ctx, args[0])
		})
	}
	return cmd
}

func policyInputCommand(place *policyPlace, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "input CONTAINER",
		Short: "Print what policies are asked about a container's plan",
		Args:  command.ExactlyOne("a container's id or name"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return place.use(cmd, environ, true, func(ctx context.Context, c policycheck.Checker) error {
			return c.Input(ctx, args[0])
		})
	}
	return cmd
}

func policyTestCommand(place *policyPlace, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the tests of the rules: test_... in files ..._test.rego",
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return place.use(cmd, environ, false, func(ctx context.Context, c policycheck.Checker) error {
			if err := wantPolicies(c.Gate); err != nil {
				return err
			}
			var errs []error
			for _, set := range c.Gate.Sets() {
				if len(set.Command) > 0 {
					continue
				}
				if err := policy.Test(ctx, set, cmd.OutOrStdout()); err != nil {
					errs = append(errs, fmt.Errorf("policy %s: %w", set.Name, err))
				}
			}
			return errors.Join(errs...)
		})
	}
	return cmd
}
