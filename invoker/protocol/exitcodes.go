package protocol

// Exit codes of a run whose command did not exit by itself. They are those of Docker and of GNU timeout.
const (
	// ExitTimeout is the exit code of a run that has reached its time limit.
	ExitTimeout = 124
	// ExitUnknown is the exit code of a run that did not report one: the app could not be called, or the end of the run
	// is unknown. The daemon sets it; azf-handler never does.
	ExitUnknown = 125
	// ExitCannotExecute is the exit code of a command that exists and could not be executed.
	ExitCannotExecute = 126
	// ExitNotFound is the exit code of a command that was not found.
	ExitNotFound = 127
	// ExitSignal plus the signal's number is the exit code of a command that a signal has ended.
	ExitSignal = 128
)
