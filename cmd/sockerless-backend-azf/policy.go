package main

import (
	"context"
	"errors"
	"fmt"
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

// part is what a command needs.
type part int

const (
	rules part = 1 << iota // the policies, of which there must be some
	state                  // the daemon's database and workspaces
)

// use calls f with a checker that has what the command needs.
func (p policyPlace) use(
	cmd *cobra.Command, environ []string, needs part, f func(context.Context, policycheck.Checker) error,
) (err error) {
	ctx := cmd.Context()
	settings, err := config.Policies(p.config, p.stateDir, p.rules, environ)
	if _, ofRules := errors.AsType[config.Problems](err); err != nil && (!ofRules || needs&rules != 0) {
		return command.Mistake{Err: err}
	}
	c := policycheck.Checker{Workspaces: daemon.WorkspacesPath(settings.StateDir), Out: cmd.OutOrStdout()}
	if needs&rules == 0 {
		settings.Policy.Sets = nil // whoever writes rules may need their input before they are right
	} else if len(settings.Policy.Sets) == 0 {
		return command.Mistakef("there are no policies: name a folder with --policy, or set policy in the configuration")
	}
	if needs&state != 0 {
		c.DB, err = store.OpenReader(ctx,
			store.Config{Path: daemon.DatabasePath(settings.StateDir), URL: settings.Database})
		if err == nil {
			defer func() { err = errors.Join(err, c.DB.Close()) }()
			err = c.DB.CheckSchema(ctx)
		}
		if err != nil {
			return fmt.Errorf("read the daemon's database (--state-dir gives another place): %w", err)
		}
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
		needs := rules | state
		if len(args) == 1 {
			// A name may be that of a folder, too.
			if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
				if content, err = os.ReadFile(args[0]); err != nil {
					return err
				}
				needs = rules
			}
		}
		return place.use(cmd, environ, needs, func(ctx context.Context, c policycheck.Checker) error {
			switch {
			case *existing:
				return c.Existing(ctx, *archived)
			case needs == rules:
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
		return place.use(cmd, environ, state, func(ctx context.Context, c policycheck.Checker) error {
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
		return place.use(cmd, environ, rules, func(ctx context.Context, c policycheck.Checker) error {
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
