package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/auditor"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/filters"
	"github.com/sockerless/backend-azf/store"
)

// Exit statuses of audit verify.
const (
	exitAltered    = 3
	exitIncomplete = 4
)

// trailPlace says where the trail is: as flags say, or the daemon's own settings.
type trailPlace struct{ config, stateDir string }

func auditCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", GroupID: running,
		Short: "Verify, show and export the audit trail",
		Long: "audit reads the audit trail in the daemon's database and the files of its operations. It changes nothing,\n" +
			"and the daemon may run or not. The place comes from --state-dir, the environment (SOCKERLESS_AZF_STATE_DIR,\n" +
			"SOCKERLESS_AZF_DATABASE) or the configuration file.",
	}
	var place trailPlace
	cmd.PersistentFlags().StringVar(&place.config, "config", "",
		"configuration `file` of the daemon (default "+config.DefaultFile+" if it exists)")
	cmd.PersistentFlags().StringVar(&place.stateDir, "state-dir", "", "state `folder` of the daemon (default its setting)")
	use := func(f func(context.Context, auditor.Trail) error) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			trail, err := place.open(ctx, environ)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, trail.DB.Close()) }()
			return f(ctx, trail)
		}
	}
	cmd.AddCommand(verifyCommand(use), showCommand(use), exportCommand(use), reportCommand(use),
		checkpointCommand(&place, environ))
	return cmd
}

// open opens the trail.
func (p trailPlace) open(ctx context.Context, environ []string) (auditor.Trail, error) {
	dir, database, err := config.Trail(p.config, p.stateDir, environ)
	if err != nil {
		return auditor.Trail{}, command.Mistake{Err: err}
	}
	db, err := store.OpenReader(ctx, store.Config{Path: daemon.DatabasePath(dir), URL: database})
	if err != nil {
		return auditor.Trail{}, fmt.Errorf("read the audit trail (--state-dir gives another place): %w", err)
	}
	return auditor.Trail{DB: db, StateDir: dir, Checkpoint: daemon.CheckpointPath(dir)}, nil
}

// opened runs a function with the trail.
type opened func(func(context.Context, auditor.Trail) error) func(context.Context) error

func verifyCommand(use opened) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [EXPORT]",
		Short: "Verify the trail, the files of operations, or an export",
		Long: "verify compares each record with the tree of hashes, the tree with checkpoints, and the files of the\n" +
			"operations with their digests. Given an export (a file, or - for standard input), it needs no database: the\n" +
			"checkpoint and the public key are given, on any machine.\n" +
			"The exit status is 0 when everything is as it was written, 3 when something was altered or removed (with the\n" +
			"first such record), and 4 when something is missing or cannot be compared.",
		Args: cobra.MaximumNArgs(1),
	}
	checkpoints := cmd.Flags().StringArray("checkpoint", nil,
		"`file` with a checkpoint, may be repeated (default the newest one in the state folder)")
	keys := cmd.Flags().StringArray("key", nil,
		"`file` with the public key of checkpoints, may be repeated (default that of the state folder)")
	withFiles := cmd.Flags().Bool("files", true, "compare the files of operations, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		verify := use(func(ctx context.Context, t auditor.Trail) error {
			all, err := t.Checkpoints(*checkpoints, *keys)
			if err != nil {
				return err
			}
			v, err := t.Verify(ctx, all, *withFiles)
			return verdict(cmd.OutOrStdout(), v, len(all), err)
		})
		if len(args) == 0 {
			return verify(cmd.Context())
		}
		in := cmd.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			in = f
		}
		all, err := auditor.Trail{}.Checkpoints(*checkpoints, *keys)
		if err != nil {
			return err
		}
		v, err := auditor.VerifyExport(in, all)
		return verdict(cmd.OutOrStdout(), v, len(all), err)
	}
	return cmd
}

// verdict prints what a verification has found, and gives its error the exit status.
func verdict(w io.Writer, v auditor.Verified, checkpoints int, err error) error {
	if _, ok := errors.AsType[*audit.AlteredError](err); ok {
		return command.Exit{Err: fmt.Errorf("the trail was altered: %w", err), Status: exitAltered}
	}
	if _, ok := errors.AsType[*audit.IncompleteError](err); ok {
		return command.Exit{Err: fmt.Errorf("the trail is incomplete: %w", err), Status: exitIncomplete}
	}
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "trail %s: records %d to %d are as they were written; checkpoints: %d; files of operations: %d\n",
		v.Log, v.First, v.Last, checkpoints, v.Files)
	if checkpoints == 0 {
		out.WriteString("without a checkpoint, this does not show that no record was removed at the end\n")
	}
	if v.Elsewhere > 0 {
		fmt.Fprintf(&out, "the files of %d steps are in the state folders of other daemons\n", v.Elsewhere)
	}
	for _, seq := range v.Open {
		fmt.Fprintf(&out, "the operation that record %d begins goes on\n", seq)
	}
	_, err = io.WriteString(w, out.String())
	return err
}

func showCommand(use opened) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show RECORD|CONTAINER",
		Short: "Show a record by its number, or the records of a container",
		Args:  command.ExactlyOne("the number of a record, or a container's id or name"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return use(func(ctx context.Context, t auditor.Trail) error {
			return t.Show(ctx, cmd.OutOrStdout(), args[0])
		})(cmd.Context())
	}
	return cmd
}

// period adds the flags of a period to a command. The function that it returns reads them.
func period(cmd *cobra.Command) func() (auditor.Period, error) {
	from := cmd.Flags().String("from", "", "first `time`: RFC 3339, a date, or a duration before now, such as 24h")
	to := cmd.Flags().String("to", "", "first `time` that is not included")
	return func() (p auditor.Period, err error) {
		now := time.Now()
		for text, into := range map[*string]*time.Time{from: &p.Since, to: &p.Until} {
			if *text == "" {
				continue
			}
			if *into, err = filters.ParseTime(*text, now); err != nil {
				return p, command.Mistakef("%q is not a time: use 2026-01-31, 2026-01-31T12:00:00Z or 24h", *text)
			}
		}
		return p, nil
	}
}

func exportCommand(use opened) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the records as JSON lines, which verify reads, or as CSV",
	}
	of := period(cmd)
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := of()
		if err != nil {
			return err
		}
		return use(func(ctx context.Context, t auditor.Trail) error {
			switch *format {
			case "jsonl":
				return t.ExportJSON(ctx, cmd.OutOrStdout(), p)
			case "csv":
				return t.ExportCSV(ctx, cmd.OutOrStdout(), p)
			}
			return command.Mistakef("--format %s: use jsonl or csv", *format)
		})(cmd.Context())
	}
	return cmd
}

func reportCommand(use opened) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Print one line for each change: when, who, what, correlation id, result",
	}
	of := period(cmd)
	asCSV := cmd.Flags().Bool("csv", false, "print CSV")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := of()
		if err != nil {
			return err
		}
		return use(func(ctx context.Context, t auditor.Trail) error {
			if *asCSV {
				return t.ReportCSV(ctx, cmd.OutOrStdout(), p)
			}
			return t.Report(ctx, cmd.OutOrStdout(), p)
		})(cmd.Context())
	}
	return cmd
}

func checkpointCommand(place *trailPlace, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed checkpoint, or the public key",
		Long: "checkpoint prints the newest checkpoint that the daemon has signed: size and root hash of the trail. Kept\n" +
			"elsewhere, with the public key, it shows later that no record up to it was altered or removed.",
	}
	key := cmd.Flags().Bool("key", false, "print the public key of the daemon's checkpoints")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, _, err := config.Trail(place.config, place.stateDir, environ)
		if err != nil {
			return command.Mistake{Err: err}
		}
		path := daemon.CheckpointPath(dir)
		if *key {
			path = audit.PublicKeyPath(dir)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the state folder (--state-dir gives another one): %w", err)
		}
		_, err = cmd.OutOrStdout().Write(content)
		return err
	}
	return cmd
}
