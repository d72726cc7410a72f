package main

import (
	"context"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/sockerless/backend-azf/internal/toolchain"
)

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, args, environ []string, stderr io.Writer) error {
	l, err := loadConfig("serve", args, environ, defaultConfigFile, stderr)
	if err != nil {
		return err
	}
	if err := l.err(); err != nil {
		return err
	}
	cfg, err := l.config.daemonConfig(environ, stderr)
	if err != nil {
		return err
	}
	cfg.Cloud = cloud.AzurePublic
	chain := newCredentialChain(azcore.ClientOptions{Cloud: cfg.Cloud})
	if cfg.Credential, err = chain.choose(ctx, l.config.Credential); err != nil {
		return err
	}
	if cfg.Tools, err = toolchain.Prepare(ctx, toolchain.Config{Terraform: l.config.Terraform, Progress: stderr}); err != nil {
		return err
	}
	d, err := newDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	return d.run(ctx)
}
