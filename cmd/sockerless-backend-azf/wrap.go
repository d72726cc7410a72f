package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

func wrapCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{Use: "wrap", GroupID: running, Short: "Look at wrapped images"}
	verify := &cobra.Command{
		Use: "verify IMAGE@DIGEST", Args: cobra.ExactArgs(1),
		Short: "Check that a wrapped image is what it claims to be",
		Long: "wrap verify takes the settings of serve, composes the wrapped image again from the images that it names,\n" +
			"and compares. docker inspect shows the reference of a container's wrapped image, with its digest. It reads\n" +
			"the whole base image, changes nothing, and needs no daemon. The exit status is 1 if anything differs.",
	}
	flags := config.AddFlags(verify.Flags(), config.Options{File: config.DefaultFile})
	verify.RunE = func(cmd *cobra.Command, args []string) error {
		image, err := daemon.WrappedReference(args[0])
		if err != nil {
			return command.Mistakef("%v", err)
		}
		loaded := flags.Load(environ)
		if err := loaded.Err(); err != nil {
			return err
		}
		cfg, err := daemonConfig(cmd.Context(), loaded, environ, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		different, err := daemon.VerifyWrapped(cmd.Context(), cfg, image)
		if err != nil {
			return err
		}
		for _, difference := range different {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", args[0], difference); err != nil {
				return err
			}
		}
		if len(different) > 0 {
			return fmt.Errorf("%s is not what this program derives from the image that it names", args[0])
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is as it claims\n", args[0])
		return err
	}
	cmd.AddCommand(verify)
	return cmd
}
