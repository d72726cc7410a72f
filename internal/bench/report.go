package bench

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sitePath matches a function app, and nothing below it.
var sitePath = regexp.MustCompile(`(?i)/sites/[^/]+$`)

// armLatency returns the latency of a call of Resource Manager, of the order that Azure shows: 8 s for the PUT of
// a site, 1 s for any other write, 400 ms for a POST that lists (keys, settings, credentials), 150 ms for a GET.
// Nothing else is slowed down.
func armLatency(method, path string) time.Duration {
	switch {
	case !strings.HasPrefix(path, "/subscriptions/") && !strings.HasPrefix(path, "/providers/"):
		return 0
	case method == "PUT" && sitePath.MatchString(path):
		return 8 * time.Second
	case method == "GET":
		return 150 * time.Millisecond
	case method == "POST" && strings.Contains(strings.ToLower(path[strings.LastIndex(path, "/"):]), "list"):
		return 400 * time.Millisecond
	default:
		return time.Second
	}
}

// Report is the result of a benchmark. Its JSON has durations in nanoseconds and memory in bytes.
type Report struct {
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Date     time.Time         `json:"date"`
	Tables   []*Table          `json:"tables"`
	Batches  []Batch           `json:"batches"`
	Growth   []Growth          `json:"growth"`
	Trail    Trail             `json:"trail"`
	// Calls holds azurerm's calls for one container, each with its number.
	Calls []Counted `json:"calls"`
	Bars  []Bar     `json:"bars"`

	calls []Call
}

// Table holds the samples of one latency, by variant and by action.
type Table struct {
	Latency string                         `json:"latency"`
	Samples map[string]map[string][]Sample `json:"samples"`
	Medians map[string]map[string]Sample   `json:"medians"`
}

// Batch is many creates.
type Batch struct {
	Variant    string        `json:"variant"`
	Containers int           `json:"containers"`
	Parallel   int           `json:"parallel"`
	Wall       time.Duration `json:"wall_ns"`
	PerSecond  float64       `json:"per_second"`
	Peak       Memory        `json:"peak"`
}

// Growth is the cost of actions beside a number of containers.
type Growth struct {
	Containers int           `json:"containers"`
	Create     time.Duration `json:"create_ns"`
	List       time.Duration `json:"list_ns"`
	Inspect    time.Duration `json:"inspect_ns"`
	Memory     Memory        `json:"memory"`
}

// Counted is a call and the number of times it was sent.
type Counted struct {
	Call  string `json:"call"`
	Count int    `json:"count"`
	// Latency is the duration of all of them with the latency of ARM.
	Latency time.Duration `json:"arm_latency_ns"`
}

// Bar is a ratio, or a time, that must not be exceeded.
type Bar struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

func newReport(cfg Config) *Report {
	return &Report{Machine: machine(), Versions: map[string]string{"go": runtime.Version()}, Date: time.Now().UTC()}
}

// machine names processor, cores and memory.
func machine() string {
	field := func(path, name string) string {
		f, err := os.Open(path)
		if err != nil {
			return "unknown"
		}
		defer func() { _ = f.Close() }() // it is only read
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	return fmt.Sprintf("%s, %d cores, %s memory", field("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		field("/proc/meminfo", "MemTotal"))
}

// table returns the table of a latency, which it adds when it is new.
func (r *Report) table(latency string) *Table {
	t := &Table{Latency: latency, Samples: map[string]map[string][]Sample{}}
	r.Tables = append(r.Tables, t)
	return t
}

func (t *Table) add(variant, what string, s Sample) {
	if t.Samples[variant] == nil {
		t.Samples[variant] = map[string][]Sample{}
	}
	t.Samples[variant][what] = append(t.Samples[variant][what], s)
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[len(sorted)/2]
}

// check computes medians and bars from the samples.
func (r *Report) check() {
	for _, t := range r.Tables {
		t.Medians = map[string]map[string]Sample{}
		for variant, things := range t.Samples {
			t.Medians[variant] = map[string]Sample{}
			for what, samples := range things {
				of := func(part func(Sample) time.Duration) time.Duration {
					values := []time.Duration{}
					for _, s := range samples {
						values = append(values, part(s))
					}
					return median(values)
				}
				t.Medians[variant][what] = Sample{
					Wall: of(func(s Sample) time.Duration { return s.Wall }), CPU: of(func(s Sample) time.Duration { return s.CPU }),
					Parts: CPU{
						Daemon: of(
							func(s Sample) time.Duration { return s.Parts.Daemon },
						), Ended: of(func(s Sample) time.Duration { return s.Parts.Ended }),
						Providers: of(func(s Sample) time.Duration { return s.Parts.Providers }),
					},
				}
			}
		}
	}
	counts := map[string]*Counted{}
	for _, c := range r.calls {
		shape := c.shape()
		if counts[shape] == nil {
			counts[shape] = &Counted{Call: shape}
		}
		counts[shape].Count++
		path, _, _ := strings.Cut(c.Path, "?")
		counts[shape].Latency += armLatency(c.Method, path)
	}
	for _, shape := range slices.Sorted(maps.Keys(counts)) {
		r.Calls = append(r.Calls, *counts[shape])
	}
	bar := func(what string, value, limit float64) {
		r.Bars = append(r.Bars, Bar{What: what, Value: value, Limit: limit, Met: value <= limit})
	}
	for _, t := range r.Tables {
		create := func(variant string) Sample { return t.Medians[variant]["create"] }
		a, c, d, e := create(variantPlain), create(variantPool), create(variantReuse), create(variantReplay)
		if t.Latency == "ARM" {
			bar("ARM: create (c), less 0.5 s, against (e), wall", ratio(c.Wall-500*time.Millisecond, e.Wall), 1.1)
			continue
		}
		bar("create (c) against (a), wall", ratio(c.Wall, a.Wall), 1.0/4)
		bar("create (c) against (a), CPU", ratio(c.CPU, a.CPU), 1.0/3)
		bar("create (d) against (a), wall", ratio(d.Wall, a.Wall), 1.0/6)
		bar("create (d) against (a), CPU", ratio(d.CPU, a.CPU), 1.0/8)
		bar("create (g) against (c), wall, median of the rounds", pairs(t, variantPolicy, variantPool), 1.03)
		if r.Trail.Records > 0 {
			bar("create (c) against (c) less the time of its audit records, wall", ratio(c.Wall, c.Wall-r.Trail.Create), 1.03)
		}
	}
	if r.Trail.Records > 0 {
		bar(fmt.Sprintf("verification of %d audit records, in seconds", r.Trail.Records), r.Trail.Verify.Seconds(), 1)
	}
	batch := map[string]Batch{}
	for _, b := range r.Batches {
		batch[b.Variant] = b
	}
	if a, d := batch[variantPlain], batch[variantReuse]; a.PerSecond > 0 && a.Peak.Private > 0 {
		bar("many creates: seconds of (d) against (a)", ratio(d.Wall, a.Wall), 1.0/6)
		bar("many creates: private memory of (d) against (a)", float64(d.Peak.Private)/float64(a.Peak.Private), 1.0/3)
	}
	if n := len(r.Growth); n > 1 {
		first, last := r.Growth[0], r.Growth[n-1]
		bar(fmt.Sprintf("inspect with %d containers against %d", last.Containers, first.Containers),
			ratio(last.Inspect, first.Inspect), 2)
		bar(fmt.Sprintf("list of %d containers, in milliseconds", last.Containers),
			float64(last.List)/float64(time.Millisecond), 50)
	}
}

// pairs returns the median of the ratios of two variants' creates in the same rounds.
func pairs(t *Table, a, b string) float64 {
	var ratios []float64
	for i, s := range t.Samples[a]["create"] {
		ratios = append(ratios, ratio(s.Wall, t.Samples[b]["create"][i].Wall))
	}
	return median(ratios)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// Missed returns the bars that are not met.
func (r *Report) Missed() (missed []string) {
	for _, b := range r.Bars {
		if !b.Met {
			missed = append(missed, fmt.Sprintf("%s: %.3f, limit %.3f", b.What, b.Value, b.Limit))
		}
	}
	return missed
}

// Print writes the report as Markdown.
func (r *Report) Print(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s; ", r.Machine)
	for i, name := range slices.Sorted(maps.Keys(r.Versions)) {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(&out, "%s %s", name, r.Versions[name])
	}
	out.WriteString("\n")
	for _, t := range r.Tables {
		fmt.Fprintf(&out, "\n| Latency: %s | create | CPU | destroy | CPU | wait answers after | logs, 10,000 lines "+
			"|\n|---|---|---|---|---|---|---|\n", t.Latency)
		for _, v := range variants {
			m, ok := t.Medians[v.name]
			if !ok {
				continue
			}
			fmt.Fprintf(&out, "| (%s) %s | %s | %s | %s | %s | %s | %s |\n", v.name, v.what, shown(m["create"].Wall),
				shown(m["create"].CPU), shown(m["destroy"].Wall), shown(m["destroy"].CPU), shown(m["wait"].Wall),
				shown(m["logs"].Wall))
		}
	}
	out.WriteString("\n| CPU of a create | daemon | terraform commands, providers that have ended | live providers " +
		"|\n|---|---|---|---|\n")
	for _, t := range r.Tables {
		for _, m := range modes {
			p := t.Medians[m.name]["create"].Parts
			fmt.Fprintf(&out, "| (%s), latency: %s | %s | %s | %s |\n", m.name, t.Latency, shown(p.Daemon), shown(p.Ended),
				shown(p.Providers))
		}
	}
	if len(r.Batches) > 0 {
		b := r.Batches[0]
		fmt.Fprintf(&out, "\n| %d creates, %d at a time | containers per second | peak private memory | Pss "+
			"|\n|---|---|---|---|\n", b.Containers, b.Parallel)
		for _, b := range r.Batches {
			fmt.Fprintf(&out, "| (%s) | %.2f | %d MB | %d MB |\n", b.Variant, b.PerSecond, b.Peak.Private>>20,
				b.Peak.Proportional>>20)
		}
	}
	if len(r.Growth) > 0 {
		out.WriteString("\n| Containers, with (d) | create | list | inspect | daemon's private memory " +
			"|\n|---|---|---|---|---|\n")
		for _, g := range r.Growth {
			fmt.Fprintf(&out, "| %d | %s | %s | %s | %d MB |\n", g.Containers, shown(g.Create), shown(g.List),
				shown(g.Inspect), g.Memory.Private>>20)
		}
	}
	out.WriteString("\n| azurerm's calls for one container | times | with the latency of ARM |\n|---|---|---|\n")
	for _, c := range r.Calls {
		fmt.Fprintf(&out, "| %s | %d | %s |\n", c.Call, c.Count, shown(c.Latency))
	}
	out.WriteString("\n| Bar | measured | limit | |\n|---|---|---|---|\n")
	for _, b := range r.Bars {
		met := "met"
		if !b.Met {
			met = "**missed**"
		}
		fmt.Fprintf(&out, "| %s | %.3f | %.3f | %s |\n", b.What, b.Value, b.Limit, met)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// shown returns a duration for people. It is empty for what was not measured.
func shown(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}
