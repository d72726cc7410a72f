package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim/monitor"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
)

// archive gives the fixture a simulated Log Analytics.
func (f *fixture) archive(t *testing.T) *monitor.Store {
	t.Helper()
	s := monitor.New(monitor.Config{})
	srv := httptest.NewTLSServer(s)
	t.Cleanup(srv.Close)
	reader, err := logs.New(logs.Config{Credential: azuretest.Credential{}, Transport: srv.Client(),
		Cloud: cloud.Configuration{
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{logs.ServiceName: {Endpoint: srv.URL + "/v1",
				Audience: "https://logs.test"}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	f.logs.LogReader = reader
	return s
}

// printing is a run of azf-handler's, which prints lines from 1 to total, every third of them on stderr. Their texts
// are RUN:NUMBER.
type printing struct {
	total int
	// head and tail are what the answer has of the ends; 0 and 0 is all.
	head, tail int
	err        error              // of the call, after which nothing is captured
	running    bool               // the call is not answered yet
	arrived    func(seq int) bool // in Log Analytics; nil is none
}

// scene is a container "web" whose runs print.
type scene struct {
	*fixture
	app   string
	store *monitor.Store
	begin time.Time
}

// at is when a line is printed: runs are ten seconds apart, and lines a tenth of one.
func (s *scene) at(run, seq int) time.Time {
	return s.begin.Add(time.Duration(run)*10*time.Second + time.Duration(seq)*100*time.Millisecond)
}

// play has the container run and print. A run that goes on does so until the test ends.
func play(t *testing.T, runs ...printing) *scene {
	t.Helper()
	s := &scene{fixture: setup(t), begin: time.Now().UTC().Truncate(time.Second)}
	s.store = s.archive(t)
	s.app = "skls-" + s.create(t, "web")[:20]
	s.workspaces.set(func() { s.workspaces.outputs = "workspace" })
	for n, p := range runs {
		began := make(chan struct{})
		s.invoker.run = func(ctx context.Context, r invoker.Request) (invoker.Result, error) {
			res := s.print(t, r.RunID, n+1, p)
			close(began)
			if p.running {
				<-ctx.Done()
				return invoker.Result{}, context.Cause(ctx)
			}
			return res, p.err
		}
		if err := s.ContainerStart(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		<-began
		if !p.running {
			s.wait(t, "web", "")
		}
	}
	return s
}

func (s *scene) print(t *testing.T, runID string, run int, p printing) invoker.Result {
	res := invoker.Result{Protocol: true}
	var omitted protocol.Omitted
	for seq := 1; seq <= p.total; seq++ {
		l := protocol.Line{Stream: protocol.Stdout, Seq: seq, Time: s.at(run, seq), Text: fmt.Sprintf("%d:%d", run, seq)}
		if seq%3 == 0 {
			l.Stream = protocol.Stderr
		}
		switch {
		case p.head+p.tail > 0 && seq > p.head && seq <= p.total-p.tail:
			if seq%3 == 0 {
				omitted.Stderr++
			} else {
				omitted.Stdout++
			}
		case omitted != (protocol.Omitted{}) && !res.Truncated:
			res.Truncated = true
			left := omitted
			res.Lines = append(res.Lines,
				protocol.Line{Stream: protocol.Stderr, Seq: seq - 1, Time: l.Time, Omitted: &left,
					Text: fmt.Sprintf(protocol.OmittedText, left.Stdout+left.Stderr)})
			fallthrough
		default:
			res.Lines = append(res.Lines, l)
		}
		if p.arrived != nil && p.arrived(seq) {
			l.RunID = runID
			content, err := json.Marshal(l)
			if err != nil {
				t.Error(err)
			}
			for range 1 + seq%2 { // some come twice
				s.trace(l.Time, 1, string(content))
			}
		}
	}
	return res
}

func (s *scene) trace(at time.Time, severity int, message string) {
	s.store.Append("AppTraces", map[string]any{
		"TimeGenerated": at, "SeverityLevel": severity, "Message": message, "AppRoleName": s.app,
		"Properties": map[string]any{"Category": "Host.Function.Console"},
	})
}

// shown are the texts of the lines that opts selects, and [N] for a mark of N lines.
func (s *scene) shown(t *testing.T, opts api.LogOptions) (string, error) {
	t.Helper()
	c, err := s.db.Container(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := s.lines(t.Context(), c, opts)
	var texts []string
	for _, l := range lines {
		texts = append(texts, strings.NewReplacer("[azf-handler: ", "[", " lines are left out here]", "]").Replace(l.Text))
	}
	return strings.Join(texts, " "), err
}

func everything(int) bool { return true }

func between(first, last int) func(int) bool {
	return func(seq int) bool { return first <= seq && seq <= last }
}
