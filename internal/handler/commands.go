package handler

// Words that are commands of azf-handler itself.
const (
	// HostCommand is the entrypoint of a wrapped image: see Host.
	HostCommand = "host"
	// ProbeCommand prints facts about the container: see Probe.
	ProbeCommand = "probe"
	// handlerCommand stands before the command in a wrapped image: see Run.
	handlerCommand = "handler"
)

// portEnv holds the port on which the Functions host expects a custom handler.
const portEnv = "FUNCTIONS_CUSTOMHANDLER_PORT"

// Subcommand returns HostCommand or ProbeCommand if that is what the arguments ask for, and otherwise "", for Run. When
// the Functions host starts azf-handler, all arguments are the command, so that a user's command may have any name.
func Subcommand(args, environ []string) string {
	if len(args) > 0 && lookup(environ, portEnv) == "" && (args[0] == HostCommand || args[0] == ProbeCommand) {
		return args[0]
	}
	return ""
}
