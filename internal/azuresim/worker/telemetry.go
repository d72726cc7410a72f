package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
)

// receiver takes the rows of one container's Functions host, as Application Insights does.
type receiver struct {
	url    string
	server *http.Server
	done   chan error
}

// receive listens for rows and gives them to the sink, with the times of the clock. The caller must close it.
func receive(sink Sink, now func() time.Time) (*receiver, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for telemetry: %w", err)
	}
	path := "/" + rand.Text() // other users of this machine cannot guess it
	r := &receiver{url: "http://" + listener.Addr().String() + path, done: make(chan error, 1)}
	r.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, req *http.Request) {
			var rows []funchost.Row
			if req.URL.Path != path || json.NewDecoder(req.Body).Decode(&rows) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			for _, row := range rows {
				if sink != nil {
					sink.Append(row.Table, typed(row.Values, time.Until(now())))
				}
			}
		})}
	go func() { r.done <- r.server.Serve(listener) }()
	return r, nil
}

// typed gives values back the types that JSON took, and moves times.
func typed(values map[string]any, ahead time.Duration) map[string]any {
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(values["TimeGenerated"])); err == nil {
		values["TimeGenerated"] = at.Add(ahead).UTC()
	}
	if severity, ok := values["SeverityLevel"].(float64); ok {
		values["SeverityLevel"] = int(severity)
	}
	return values
}

func (r *receiver) close() error {
	err := r.server.Close()
	if served := <-r.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
