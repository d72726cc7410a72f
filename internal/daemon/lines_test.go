package daemon_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// dockerLogs returns what docker logs prints on stdout.
func (p *playground) dockerLogs(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", append([]string{"-H", "unix://" + p.socket, "logs"}, args...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// forgetOutput changes the database to what it is when the answers to all runs were lost.
func (p *playground) forgetOutput(t *testing.T) {
	t.Helper()
	p.stop()
	db, err := sql.Open("sqlite", filepath.Join(p.stateDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "UPDATE runs SET output = 'null'")
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	p.start()
}

// TestLongOutputByteForByte has runs whose output is not text: of a few lines, and of lines that are longer than the
// answer to a run holds. The docker CLI prints it as it was printed, once all of it has arrived in Log Analytics.
func TestLongOutputByteForByte(t *testing.T) {
	const delay = 10 * time.Minute
	azuretest.NeedsProgram(t, "docker")
	p := newPlayground(t)
	p.sim.SetFaults(azuresim.Faults{IngestionDelay: delay})
	random := make([]byte, 50_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	whole := "a\r\n10 %\r20 %\r\n\xff\x00\n" + strings.Repeat("é", 20_000) + "\n" + string(random)
	// The head of the answer ends within the first long line, its tail begins within the second.
	long := []string{
		"begin", strings.Repeat("0123456789", 70_000), "middle", strings.Repeat("äöü\U0001F600", 100_000), "end",
	}
	for name, output := range map[string]string{"whole": whole, "long": strings.Join(long, "\n")} {
		file := filepath.Join(p.dir, name)
		if err := os.WriteFile(file, []byte(output), 0o600); err != nil {
			t.Fatal(err)
		}
		p.create(t, name, api.Config{Cmd: []string{"cat", file}})
		p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, nil)
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d bytes, want %d", what, len(got), len(want))
		}
	}
	same("captured", string(p.dockerLogs(t, "whole")), whole)

	const missing = "[azf: a part of this line is missing]"
	early := strings.Split(string(p.dockerLogs(t, "long")), "\n")
	if len(early) != 4 || early[0] != long[0] || early[3] != long[4] {
		t.Fatalf("before pieces arrive: got %d lines", len(early))
	}
	head, headMarked := strings.CutSuffix(early[1], missing)
	tail, tailMarked := strings.CutPrefix(early[2], missing)
	if !headMarked || !tailMarked || !strings.HasPrefix(long[1], head) || !strings.HasSuffix(long[3], tail) {
		t.Errorf("before pieces arrive: got %d and %d bytes, marked %v and %v", len(head), len(tail), headMarked, tailMarked)
	}

	p.clock.Advance(delay)
	same("archived", string(p.dockerLogs(t, "long")), strings.Join(long, "\n"))
	for n := 1; n <= len(long); n++ {
		got := string(p.dockerLogs(t, "-n", fmt.Sprint(n), "long"))
		same(fmt.Sprintf("tail of %d", n), got, strings.Join(long[len(long)-n:], "\n"))
	}
	for n, line := range strings.Split(string(p.dockerLogs(t, "-t", "long")), "\n") {
		stamp, text, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || n >= len(long) || text != long[n] {
			t.Errorf("line %d with a time begins with %.50q", n, line)
		}
	}
	stream, err := p.Raw(t.Context(), "/containers/long/logs?stdout=1&stderr=1&tail=2")
	if err != nil || !bytes.Contains(stream, []byte(long[3]+"\n")) || !bytes.HasSuffix(stream, []byte(long[4])) {
		t.Error("the internal API:", err, len(stream))
	}

	// Without the answer, all of it is in Log Analytics.
	p.forgetOutput(t)
	same("lost, whole", string(p.dockerLogs(t, "whole")), whole)
	same("lost, long", string(p.dockerLogs(t, "long")), strings.Join(long, "\n"))
	for _, name := range []string{"whole", "long"} {
		p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	}
}
