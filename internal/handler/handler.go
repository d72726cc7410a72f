// Package handler is the Azure Functions custom handler. The Functions host starts it in the image and passes
// requests on to it. For each run, the handler runs the container's command as a child process, prints and captures
// the output, and answers with the exit code, in the form of package invoker/protocol. It never exits with the
// child's code, which the Functions host would treat as a crash.
//
// In a wrapped image, which is a user's image with a Functions host in a folder of its own, it is the entrypoint too:
// Host starts the Functions host. Probe prints what the container is like.
//
// Two programs use this package: cmd/azf-handler, which goes into users' images, and sockerless-backend-azf, so that a
// demo needs no other program. The package must import nothing but the standard library and invoker/protocol, as its
// size adds to every image.
package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// stopLimit limits the time for open requests when the handler stops. App Service kills a container 5 s after TERM by
// default.
const stopLimit = 4 * time.Second

// maxBody is the largest request body in bytes. A StartRequest is much smaller.
const maxBody = 1 << 20

// Run serves until ctx ends, then ends the runs under way. The command is that of the app settings (protocol.Spec, or
// AZF_COMMAND), otherwise args, which come from customHandler.description.arguments in host.json. Run hides environ
// from other processes: see hideProcess.
//
// In a wrapped image, where args begin with "handler", the command gets what Docker would give it: the user's image
// stands in for what settings and args lack, nothing of Host's environment for the Functions host is left, the working
// folder is created, and orphans are reaped. There, the process must have no children but the commands.
func Run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if err := hideProcess(); err != nil {
		return fmt.Errorf("hide the settings from the command: %w", err)
	}
	img, args, problem := findImage(args, environ)
	cfg, err := readConfig(args, environ, img)
	if err != nil {
		return err
	}
	if problem != nil {
		cfg.problem = problem
	}
	port := cfg.getenv(portEnv)
	if port == "" {
		return errors.New(portEnv + " is not set: " +
			"the Azure Functions host starts azf-handler, see customHandler in host.json")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	runs := newRuns(cfg, stdout, stderr)
	if img != nil {
		if err := adoptOrphans(); err != nil {
			return fmt.Errorf("adopt orphans: %w", errors.Join(err, listener.Close()))
		}
		runs.reaper = &reaper{own: map[int]bool{}}
		reapCtx, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
		var reaping sync.WaitGroup
		reaping.Go(func() { runs.reaper.run(reapCtx) })
		defer reaping.Wait()
		defer stopReaping()
	}
	srv := &http.Server{Handler: handler{runs}, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err = <-failed:
		runs.stop()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// The end of a run lets the handler answer the requests that wait for the run.
	runs.stop()
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err = srv.Shutdown(stopCtx)
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// handler answers the Functions host.
type handler struct{ runs *runs }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(protocol.Header, protocol.Negotiate(r.Header.Get(protocol.Header)))
	id, isRuns := strings.CutPrefix(r.URL.Path, protocol.RunsPath)
	switch {
	case r.URL.Path == "/":
		w.WriteHeader(http.StatusOK) // the Functions host's probe: any answer means ready
	case r.URL.Path == protocol.RunPath:
		h.start(w, r)
	case isRuns:
		h.get(w, r, id)
	case r.Method == http.MethodPost && strings.Count(r.URL.Path, "/") == 1:
		// The form that the Functions host uses without forwarding: POST /<function>.
		fail(w, http.StatusBadRequest, "the Functions host does not forward requests: "+
			"set enableForwardingHttpRequest to true in customHandler of host.json")
	default:
		fail(w, http.StatusNotFound, "azf-handler answers "+protocol.RunPath+" and "+protocol.RunsPath+"{id} only")
	}
}

// start starts a run, or joins the one with the same id.
func (h handler) start(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, "use POST to start a run")
		return
	}
	var req protocol.StartRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&req); err != nil {
		if errors.Is(err, io.EOF) {
			fail(w, http.StatusBadRequest, "the body is empty: send it with Content-Length, "+
				"since the Functions host does not forward chunked bodies")
			return
		}
		fail(w, http.StatusBadRequest, "the body is not a valid start request: "+err.Error())
		return
	}
	switch {
	case req.RunID == "" || len(req.RunID) > 128:
		fail(w, http.StatusBadRequest, "run_id must have 1 to 128 characters")
	case req.TimeoutSeconds < 0 || req.WaitSeconds < 0:
		fail(w, http.StatusBadRequest, "timeout_seconds and wait_seconds must not be negative")
	default:
		rn, err := h.runs.start(req.RunID, time.Duration(req.TimeoutSeconds)*time.Second)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, r, rn, time.Duration(req.WaitSeconds)*time.Second)
	}
}

// get answers with a run.
func (h handler) get(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		fail(w, http.StatusMethodNotAllowed, "use GET to read a run")
		return
	}
	seconds := 0
	if wait := r.URL.Query().Get("wait"); wait != "" {
		var err error
		if seconds, err = strconv.Atoi(wait); err != nil || seconds < 0 {
			fail(w, http.StatusBadRequest, "wait must be a number of seconds")
			return
		}
	}
	rn, ok := h.runs.find(id)
	if !ok {
		fail(w, http.StatusNotFound, "this handler knows no run "+strconv.Quote(id)+
			": the run was never started here, or the handler was restarted since")
		return
	}
	answer(w, r, rn, time.Duration(seconds)*time.Second)
}

// answer waits until the run ends, but no longer than wait, and answers with the run.
func answer(w http.ResponseWriter, r *http.Request, rn *runState, wait time.Duration) {
	timer := time.NewTimer(min(wait, protocol.MaxWait))
	defer timer.Stop()
	select {
	case <-rn.done:
	default:
		select {
		case <-rn.done:
		case <-timer.C:
		case <-r.Context().Done():
			return // the client has left, and the run goes on
		}
	}
	status := http.StatusAccepted
	snapshot := rn.snapshot()
	if snapshot.Done {
		status = http.StatusOK
	}
	reply(w, status, snapshot)
}

func fail(w http.ResponseWriter, status int, message string) {
	reply(w, status, protocol.ErrorBody{Message: message})
}

func reply(w http.ResponseWriter, status int, body any) {
	content, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // a client that has left can ask again
}
