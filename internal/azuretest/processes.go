package azuretest

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Process describes a process at the time of the listing.
type Process struct {
	PID, Parent int
	// Name is the first 15 bytes of the program's name.
	Name string
	// Exe is the path of the program, Args is its command line, and Env is its environment. They are empty where they
	// cannot be read: for a process that ended but was not waited for, and for another user's.
	Exe       string
	Args, Env []string
}

// Getenv returns the value of a variable in the environment that p was started with. If there are several of that name,
// the last one counts.
func (p Process) Getenv(name string) string {
	for _, entry := range slices.Backward(p.Env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// String returns the process id and the command line, or the name where there is no command line.
func (p Process) String() string {
	if len(p.Args) == 0 {
		return strconv.Itoa(p.PID) + " (" + p.Name + ")"
	}
	return strconv.Itoa(p.PID) + " " + strings.Join(p.Args, " ")
}

// Processes returns the processes of the machine that match, by ascending process id. A nil match matches all. The test
// fails if it cannot list processes.
func Processes(t testing.TB, match func(Process) bool) (found []Process) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("/proc lists no processes")
	}
	for _, path := range paths {
		if p, ok := readProcess(filepath.Dir(path)); ok && (match == nil || match(p)) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Process) int { return a.PID - b.PID })
	return found
}

// Children returns the processes that this one started and has not waited for.
func Children(t testing.TB) []Process {
	t.Helper()
	return Processes(t, func(p Process) bool { return p.Parent == os.Getpid() })
}

// readProcess reads one process's folder below /proc. It reports false if the process has ended.
func readProcess(dir string) (p Process, ok bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, false
	}
	// PID (NAME) STATE PARENT ..., where the name may hold spaces and parentheses.
	start, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if start < 0 || end < start {
		return p, false
	}
	p.Name = string(stat[start+1 : end])
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 {
		return p, false
	}
	var errs [2]error
	p.PID, errs[0] = strconv.Atoi(filepath.Base(dir))
	p.Parent, errs[1] = strconv.Atoi(fields[1])
	p.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	p.Args, p.Env = readStrings(filepath.Join(dir, "cmdline")), readStrings(filepath.Join(dir, "environ"))
	return p, errs == [2]error{}
}

// readStrings reads a file of strings that each end with a zero byte.
func readStrings(path string) []string {
	content, err := os.ReadFile(path)
	if err != nil || len(content) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
}
