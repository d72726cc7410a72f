package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/server"
)

// daemonAddress is where the running daemon answers: as a flag says, or its own settings.
type daemonAddress struct{ config, listen string }

// flags adds the flags that give the address to a command and those below it.
func (a *daemonAddress) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.config, "config", "",
		"configuration `file` of the daemon (default "+config.DefaultFile+" if it exists)")
	cmd.PersistentFlags().StringVar(&a.listen, "listen", "",
		"`address` of the daemon: unix:///path or tcp://host:port (default its setting listen)")
}

// call sends a request to the daemon.
func (a *daemonAddress) call(ctx context.Context, environ []string, method, route string, in, out any) error {
	listen, err := config.Listening(a.config, a.listen, environ)
	if err != nil {
		return command.Mistake{Err: err}
	}
	if listen.TLSCert != "" && a.listen == "" {
		return fmt.Errorf("the daemon answers on %s over TLS, which this command does not speak: send %s %s%s there, "+
			"with the certificate of a client", listen.Address, method, server.Prefix, route)
	}
	network, address, err := server.ParseAddress(listen.Address)
	if err != nil {
		return command.Mistakef("--listen: %w", err)
	}
	if network == server.NetworkFD {
		network, address = server.NetworkUnix, packagedSocket
	}
	c := client.New(network, address)
	defer c.Close()
	if err := c.Call(ctx, method, route, in, out); err != nil {
		return fmt.Errorf("ask the daemon on %s %s (--listen gives another address): %w", network, address, err)
	}
	return nil
}

// packagedSocket is the socket that the packages' unit has systemd pass to the daemon.
const packagedSocket = "/run/sockerless-backend.sock"
