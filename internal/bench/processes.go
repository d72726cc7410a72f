package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// proc is one line of /proc/PID/stat.
type proc struct {
	pid, parent int
	name        string
	cpu         time.Duration // its own
	waited      time.Duration // that of children that it has waited for
}

// processes lists all processes by id.
func processes() (map[int]proc, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]proc{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		head, rest, _ := strings.Cut(string(content), ") ")
		id, name, _ := strings.Cut(head, " (")
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue
		}
		p := proc{name: name}
		if p.pid, err = strconv.Atoi(id); err != nil {
			continue
		}
		if p.parent, err = strconv.Atoi(fields[1]); err != nil {
			continue
		}
		for i, into := range []*time.Duration{&p.cpu, &p.cpu, &p.waited, &p.waited} { // utime, stime, cutime, cstime
			ticks, err := strconv.ParseInt(fields[11+i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			*into += time.Duration(ticks) * tick
		}
		all[p.pid] = p
	}
	return all, nil
}

// tree returns the processes that match among a process and all below it.
func tree(root int, match func(proc) bool) ([]proc, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var found []proc
	for _, p := range all {
		for at := p; ; {
			if at.pid == root {
				if match(p) {
					found = append(found, p)
				}
				break
			}
			parent, ok := all[at.parent]
			if !ok {
				break
			}
			at = parent
		}
	}
	return found, nil
}

func everyProc(proc) bool { return true }

// isTerraform matches terraform, tofu and their providers.
func isTerraform(p proc) bool {
	return strings.HasPrefix(p.name, "terraform") || strings.HasPrefix(p.name, "tofu")
}

// CPU is the processor time of a daemon, by who used it.
type CPU struct {
	Daemon    time.Duration `json:"daemon_ns"`
	Ended     time.Duration `json:"ended_ns"` // terraform's commands, and providers that have ended
	Providers time.Duration `json:"providers_ns"`
}

func (c CPU) sum() time.Duration { return c.Daemon + c.Ended + c.Providers }

func (c CPU) minus(before CPU) CPU {
	return CPU{c.Daemon - before.Daemon, c.Ended - before.Ended, c.Providers - before.Providers}
}

// cpuOf returns the processor time that a daemon and all below it have used so far.
func cpuOf(root int) (c CPU, err error) {
	list, err := tree(root, everyProc)
	for _, p := range list {
		c.Ended += p.waited
		if p.pid == root {
			c.Daemon = p.cpu
		} else {
			c.Providers += p.cpu
		}
	}
	return c, err
}

// Memory is the memory of processes together, in bytes.
type Memory struct {
	Private      int64 `json:"private"`      // anonymous pages, which no other process shares
	Proportional int64 `json:"proportional"` // Pss: shared pages count in part
}

// memoryOf adds up the memory of processes. Those that end meanwhile are left out.
func memoryOf(list []proc) (m Memory) {
	for _, p := range list {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if err != nil {
			continue
		}
		for line := range bytes.Lines(content) {
			fields := bytes.Fields(line)
			if len(fields) != 3 {
				continue
			}
			kilobytes, err := strconv.ParseInt(string(fields[1]), 10, 64)
			if err != nil {
				continue
			}
			switch string(fields[0]) {
			case "Anonymous:":
				m.Private += kilobytes << 10
			case "Pss:":
				m.Proportional += kilobytes << 10
			}
		}
	}
	return m
}

// peak watches the memory of a tree until stop is called, which returns the highest of each.
func peak(root int, match func(proc) bool) (stop func() Memory) {
	ctx, cancel := context.WithCancel(context.Background())
	var highest Memory
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			list, err := tree(root, match)
			if err == nil {
				now := memoryOf(list)
				highest.Private, highest.Proportional = max(
					highest.Private,
					now.Private,
				), max(
					highest.Proportional,
					now.Proportional,
				)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() Memory {
		cancel()
		watching.Wait()
		return highest
	}
}
