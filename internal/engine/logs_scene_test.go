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
	"github.com/sockerless/backend-azf/internal/handler"
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
	services := map[cloud.ServiceName]cloud.ServiceConfiguration{
		logs.ServiceName: {Endpoint: srv.URL + "/v1", Audience: "https://logs.test"},
	}
	reader, err := logs.New(logs.Config{
		Credential: azuretest.Credential{}, Transport: srv.Client(), Cloud: cloud.Configuration{Services: services},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.logs.LogReader = reader
	return s
}

// printing is a run of azf-handler that prints lines from 1 to total, every third of them on stderr. Their texts are
// RUN:NUMBER.
type printing struct {
	total int
	// head and tail are the numbers of lines at both ends that the answer has. If both are 0, it has all lines.
	head, tail int
	err        error              // of the call, after which nothing is captured
	running    bool               // the call has no answer yet
	arrived    func(seq int) bool // reports whether Log Analytics has a line; nil means none
	pieces     map[int]int        // the piece that a piece continues, by their numbers
}

// scene is a container "web" whose runs print.
type scene struct {
	*fixture
	app   string
	store *monitor.Store
	begin time.Time
}

// at returns the time of a line. Runs are ten seconds apart, lines are a tenth of a second apart.
func (s *scene) at(run, seq int) time.Time {
	return s.begin.Add(time.Duration(run)*10*time.Second + time.Duration(seq)*100*time.Millisecond)
}

// play runs the container. A run without an answer goes on until the test ends.
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

// print prints a run's lines, as azf-handler captures and sends them. It returns the answer to the run.
func (s *scene) print(t *testing.T, runID string, run int, p printing) invoker.Result {
	captured := handler.NewCapture(p.limit())
	for seq := 1; seq <= p.total; seq++ {
		l := protocol.Line{Stream: protocol.Stdout, Time: s.at(run, seq), Text: p.text(run, seq)}
		if seq%3 == 0 {
			l.Stream = protocol.Stderr
		}
		if l.Continues = p.pieces[seq]; p.pieces != nil && p.head == 0 {
			l.Text += " " // between pieces
		}
		for _, piece := range p.pieces {
			if piece == seq {
				l.Ending = protocol.EndsWithMore
			}
		}
		l = captured.Add(l)
		if p.arrived == nil || !p.arrived(seq) {
			continue
		}
		l.RunID = runID
		content, err := json.Marshal(l)
		if err != nil {
			t.Error(err)
		}
		for range 1 + seq%2 { // some arrive twice
			s.trace(l.Time, 1, string(content))
		}
	}
	lines, truncated := captured.Lines()
	return invoker.Result{Protocol: true, Lines: lines, Truncated: truncated}
}

// unit is the size of a line that has no padding, at least.
const unit = handler.LineOverhead + len("1:12")

// limit returns the limit of a capture that keeps head and tail lines at the ends.
func (p printing) limit() int {
	if p.head+p.tail == 0 {
		return 1 << 20
	}
	return 2 * p.head * p.tail * unit
}

// text returns the padded text of a line. Its size is such that head lines fill half of the limit, and tail lines too.
func (p printing) text(run, seq int) string {
	size := p.head * unit
	if seq <= p.head {
		size = p.tail * unit
	}
	return fmt.Sprintf("%-*s", max(size-handler.LineOverhead, 0), fmt.Sprintf("%d:%d", run, seq))
}

// trace appends a line to Log Analytics.
func (s *scene) trace(at time.Time, severity int, message string) {
	s.store.Append("AppTraces", map[string]any{
		"TimeGenerated": at, "SeverityLevel": severity, "Message": message, "AppRoleName": s.app,
		"Properties": map[string]any{"Category": "Host.Function.Console"},
	})
}

// shown returns the texts of the lines that opts selects, without padding, + between pieces, ~ for missing pieces, and
// [N] for a mark of N lines.
func (s *scene) shown(t *testing.T, opts api.LogOptions) (string, error) {
	t.Helper()
	c, err := s.db.Container(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	runs, err := s.db.RunIDs(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := s.lines(t.Context(), c, runs, opts)
	marks := strings.NewReplacer("[azf-handler: ", "[", " lines are left out here]", "]", brokenLine, " ~ ")
	var texts []string
	for _, l := range lines {
		texts = append(texts, strings.Join(strings.Fields(marks.Replace(l.Text)), "+"))
	}
	return strings.Join(texts, " "), err
}

// everything and between select lines that arrived.
func everything(int) bool { return true }

func between(first, last int) func(int) bool {
	return func(seq int) bool { return first <= seq && seq <= last }
}
