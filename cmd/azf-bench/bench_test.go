package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/bench"
	"github.com/sockerless/backend-azf/internal/command"
)

// TestLongBench measures as little as possible. It checks which things are measured, and not how fast they are.
func TestLongBench(t *testing.T) {
	cloudtest.Tools(t)
	program, file := filepath.Join(t.TempDir(), "azf-bench"), filepath.Join(t.TempDir(), "bench.json")
	dir := azuretest.ShortDir(t)
	t.Setenv("TMPDIR", dir)
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stdout bytes.Buffer
	err := run(t.Context(), []string{
		"--rounds", "1", "--arm-rounds", "0", "--batch", "2", "--parallel", "2", "--growth", "1,2", "--trail-records", "50",
		"--source", "../..", "--program", program, "--json", file,
	}, os.Environ(), &stdout, io.Discard)
	if err != nil && !strings.Contains(err.Error(), "bars are missed") {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	if err := json.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Tables) != 1 || len(report.Batches) != 3 || len(report.Growth) != 2 || len(report.Bars) != 11 ||
		report.Versions["azurerm"] == "" {
		t.Fatalf("got %s", content)
	}
	for _, variant := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		if s := report.Tables[0].Medians[variant]["create"]; s.Wall <= 0 {
			t.Errorf("(%s) took %+v", variant, s)
		}
		if !strings.Contains(stdout.String(), "| ("+variant+") ") {
			t.Errorf("(%s) is not in\n%s", variant, &stdout)
		}
	}
	for _, variant := range []string{"b", "c", "d", "g"} {
		for _, what := range []string{"destroy", "wait", "logs"} {
			if s := report.Tables[0].Medians[variant][what]; s.Wall <= 0 {
				t.Errorf("(%s) %s took %+v", variant, what, s)
			}
		}
	}
	for _, b := range report.Batches {
		if b.PerSecond <= 0 || b.Peak.Private <= 0 {
			t.Errorf("got %+v", b)
		}
	}
	for _, g := range report.Growth {
		if g.Create <= 0 || g.List <= 0 || g.Inspect <= 0 || g.Memory.Private <= 0 {
			t.Errorf("got %+v", g)
		}
	}
	if report.Trail.Records != 50 || report.Trail.Create <= 0 || report.Trail.Verify <= 0 {
		t.Errorf("got %+v", report.Trail)
	}
	puts := 0
	for _, c := range report.Calls {
		if strings.HasPrefix(c.Call, "PUT ") && strings.HasSuffix(c.Call, "/sites/NAME") {
			puts += c.Count
		}
	}
	if puts == 0 {
		t.Errorf("no app was created: %+v", report.Calls)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v, %v", left, err)
	}
	if left := azuretest.Children(t); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func TestBenchRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"--rounds 0": "must be positive", "--growth 1,x": "is not a valid", "--growth 1,0": "must be positive",
		"--batch 0": "must be positive", "--arm-rounds -1": "must be positive", "now": "takes no arguments",
		"--round 1": "did you mean --rounds?",
	} {
		err := run(t.Context(), strings.Fields(args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || command.ExitStatus(err) != 2 {
			t.Errorf("%s: got %v", args, err)
		}
	}
}
