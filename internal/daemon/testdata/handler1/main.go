// Command handler1 is an azf-handler of protocol 1: it knows AZF_COMMAND and no spec, and its default command is echo
// default.
package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

type line struct {
	Run    string    `json:"run,omitempty"`
	Stream string    `json:"s"`
	Seq    int       `json:"seq"`
	Time   time.Time `json:"t"`
	Text   string    `json:"m"`
}

type run struct {
	ID         string    `json:"run_id"`
	Done       bool      `json:"done"`
	ExitCode   int       `json:"exit_code"`
	Error      string    `json:"error,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Lines      []line    `json:"lines"`
}

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Azf-Protocol", "1")
		if r.URL.Path != "/api/run" {
			return
		}
		var req struct {
			ID string `json:"run_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if err := json.NewEncoder(w).Encode(execute(req.ID)); err != nil {
			panic(err)
		}
	})
	panic(http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")), nil))
}

func execute(id string) run {
	command := []string{"echo", "default"}
	if err := json.Unmarshal([]byte(os.Getenv("AZF_COMMAND")), &command); err != nil {
		panic(err)
	}
	result := run{ID: id, Done: true, StartedAt: time.Now().UTC()}
	out, err := exec.Command(command[0], command[1:]...).Output()
	if exit, ok := err.(*exec.ExitError); ok {
		result.ExitCode = exit.ExitCode()
	} else if err != nil {
		result.ExitCode, result.Error = 127, err.Error()
	}
	for text := range strings.Lines(string(out)) {
		l := line{Stream: "out", Seq: len(result.Lines) + 1, Time: time.Now().UTC(), Text: strings.TrimSuffix(text, "\n")}
		result.Lines = append(result.Lines, l)
	}
	result.FinishedAt = time.Now().UTC()
	return result
}
