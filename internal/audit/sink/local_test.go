package sink

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

func TestFile(t *testing.T) {
	m, path := newMemory(250), filepath.Join(t.TempDir(), "trail.jsonl")
	// An earlier daemon was killed in the middle of a line.
	if err := os.WriteFile(path, []byte(`{"se`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := deliver(t, "file://"+path, m)
	whole := "{\"se\n" + numbers(1, 250)
	azuretest.Eventually(t, "all records", func() bool { return content(t, path) == whole })

	// The file is rotated.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	m.add(1)
	azuretest.Eventually(t, "the new file", func() bool { return content(t, path) == numbers(251, 251) })
	stop()
	if got := content(t, path+".1"); got != whole {
		t.Error("the rotated file has changed")
	}

	m.add(2)
	_, stop = deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "the records since the stop", func() bool { return content(t, path) == numbers(251, 253) })
	stop()
	if diff := cmp.Diff(map[string]int64{"file://" + path + " home": 253}, m.cursors); diff != "" {
		t.Error(diff)
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	m, path := newMemory(3), filepath.Join(dir, "trail.jsonl")
	s, _ := deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "problem", func() bool { return strings.Contains(s.Problem(), "no such file") })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	azuretest.Eventually(t, "records", func() bool { return content(t, path) == numbers(1, 3) && s.Problem() == "" })

	full, _ := deliver(t, "file:///dev/full", newMemory(1))
	azuretest.Eventually(t, "full disk", func() bool { return strings.Contains(full.Problem(), "no space left") })
}

// inChild is set in a process that runs one test.
const inChild = "SINK_TEST_IN_CHILD"

// child runs the test in a process of its own, and returns whether this is that process.
func child(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(inChild) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), inChild+"=1"), attr
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || strings.Contains(string(output), "--- SKIP") {
		t.Skipf("%v\n%s", err, output)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	return false
}

// TestFileOnFullDisk has a disk that takes two and a half records. The limit is that of a process.
func TestFileOnFullDisk(t *testing.T) {
	if !child(t, nil) {
		return
	}
	m, path := newMemory(3), filepath.Join(t.TempDir(), "trail.jsonl")
	var unlimited syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		t.Fatal(err)
	}
	limit := func(size uint64) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: unlimited.Max}); err != nil {
			t.Fatal(err)
		}
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit(25)
	s, _ := deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "problem", func() bool { return strings.Contains(s.Problem(), "file too large") })
	if got := m.cursor(); got != 0 {
		t.Errorf("the cursor is at %d before all records of the batch are on the disk", got)
	}
	limit(unlimited.Cur)
	// The half record is a line of its own.
	want := numbers(1, 2) + "{\"seq\n" + numbers(1, 3)
	azuretest.Eventually(t, "records", func() bool { return content(t, path) == want && m.cursor() == 3 })
}

// TestKillBetweenWriteAndCursor ends a daemon that has written records and has not moved the cursor.
func TestKillBetweenWriteAndCursor(t *testing.T) {
	m, path := newMemory(3), filepath.Join(t.TempDir(), "trail.jsonl")
	m.fail(true)
	_, stop := deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "records", func() bool { return strings.HasPrefix(content(t, path), numbers(1, 3)) })
	stop()
	before := content(t, path)
	m.fail(false)
	deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "cursor", func() bool { return m.cursor() == 3 })
	if got := content(t, path); got != before+numbers(1, 3) {
		t.Errorf("the file holds %q", got)
	}
}

// TestJournald sends to a journal that is not there: tests must not write into that of the machine.
func TestJournald(t *testing.T) {
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Log("journald runs here: only the URL is checked")
		if err := Check("journald"); err != nil {
			t.Error(err)
		}
		return
	}
	s, _ := deliver(t, "journald", newMemory(1))
	azuretest.Eventually(t, "problem", func() bool { return strings.Contains(s.Problem(), "no journald") })
}

// TestJournaldReceives is journald, in a process that has a /run of its own.
func TestJournaldReceives(t *testing.T) {
	if !child(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}) {
		return
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Skip(err)
	}
	if err := os.MkdirAll("/run/systemd/journal", 0o700); err != nil {
		t.Fatal(err)
	}
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/systemd/journal/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	// The second record is larger than a datagram.
	m := newMemory(1)
	m.lines = append(m.lines, filled(2, 1<<20).lines[1])
	_, stop := deliver(t, "journald", m)
	for _, l := range m.lines {
		got := receive(t, journal)
		for _, field := range []string{
			"MESSAGE=" + string(l.Line), fmt.Sprintf("AUDIT_SEQ=%d", l.Seq), "PRIORITY=6", "SYSLOG_IDENTIFIER=" + program,
		} {
			if !strings.Contains("\n"+got, "\n"+field+"\n") {
				t.Errorf("record %d has no field %.60s: %.200s", l.Seq, field, got)
			}
		}
	}
	azuretest.Eventually(t, "cursor", func() bool { return m.cursor() == 2 })
	stop()

	// A journald that takes one record and no further one does not keep the daemon from its end.
	_, stop = deliver(t, "journald", filled(batch, 1<<14))
	receive(t, journal)
	ended := make(chan struct{})
	go func() {
		stop()
		close(ended)
	}()
	azuretest.Eventually(t, "end", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}

// receive returns the fields that one datagram has, or the file that comes with it.
func receive(t *testing.T, journal *net.UnixConn) string {
	t.Helper()
	data, rights := make([]byte, 1<<18), make([]byte, 64)
	n, m, _, _, err := journal.ReadMsgUnix(data, rights)
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 {
		return string(data[:n])
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "record")
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, info.Size())
	if _, err := f.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	return string(whole)
}
