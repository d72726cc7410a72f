package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxOutput bounds the bytes of a program's answer.
const maxOutput = 1 << 20

// denied is the exit status with which a program denies without a verdict in JSON.
const denied = 1

// commandSet asks a program.
type commandSet struct {
	argv []string
	file os.FileInfo // of the program, when it was loaded
}

func loadCommand(s Set) (*commandSet, string, error) {
	for name, value := range map[string]string{
		"query": s.Query, "package": s.Package, "rego": s.Rego, "verify_key": s.VerifyKey,
	} {
		if value != "" {
			return nil, "", fmt.Errorf("%s: a command has none", name)
		}
	}
	path := s.Command[0]
	if !filepath.IsAbs(path) {
		return nil, "", fmt.Errorf("command: %q: give the absolute path of the program", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", fmt.Errorf("command: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return nil, "", fmt.Errorf("command: %s is not a program", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("command: %w", err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, "", fmt.Errorf("command: %w", err)
	}
	return &commandSet{argv: s.Command, file: info}, hex.EncodeToString(sum.Sum(nil)), nil
}

func (c *commandSet) answers(stage Stage) bool { return stage == StagePlan }

func (c *commandSet) ask(ctx context.Context, q Question, v *Verdict) error {
	path := c.argv[0]
	if now, err := os.Stat(path); err != nil {
		return err
	} else if !os.SameFile(now, c.file) || now.Size() != c.file.Size() || !now.ModTime().Equal(c.file.ModTime()) {
		return fmt.Errorf("%s has changed since it was read: reload the policies", path)
	}
	input, err := json.Marshal(q.Input)
	if err != nil {
		return fmt.Errorf("write the input: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, c.argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin = []string{}, "/", bytes.NewReader(input)
	// Its children end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out, errOut limited
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	if err != nil && (!exited || exit.ExitCode() < 0) {
		// A program may end without reading all of its input.
		return fmt.Errorf("%s: %w", path, err)
	}
	status := 0
	if exited {
		status = exit.ExitCode()
	}
	if out.more {
		return fmt.Errorf("%s: its answer is longer than %d bytes", path, maxOutput)
	}
	return answer(path, status, out.kept.Bytes(), errOut.kept.String(), v)
}

// answer reads a program's answer: a verdict in JSON, or its exit status.
func answer(path string, status int, out []byte, errOut string, v *Verdict) error {
	out = bytes.TrimSpace(out)
	if bytes.HasPrefix(out, []byte("{")) {
		var said struct {
			Deny []string `json:"deny"`
			Warn []string `json:"warn"`
		}
		dec := json.NewDecoder(bytes.NewReader(out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&said); err != nil {
			return fmt.Errorf(`%s: its answer is not {"deny": ["..."], "warn": ["..."]}: %w`, path, err)
		}
		if status != 0 && len(said.Deny) == 0 {
			return fmt.Errorf("%s: exit status %d, and it denies nothing: %s", path, status, lastLines(errOut))
		}
		for _, text := range said.Deny {
			v.Deny = append(v.Deny, Message{Text: text})
		}
		for _, text := range said.Warn {
			v.Warn = append(v.Warn, Message{Text: text})
		}
		return nil
	}
	switch status {
	case 0:
		return nil
	case denied:
		text := lastLines(string(out) + "\n" + errOut)
		if text == "" {
			text = filepath.Base(path) + " gives no reason"
		}
		v.Deny = append(v.Deny, Message{Text: text})
		return nil
	}
	return fmt.Errorf("%s: exit status %d: %s", path, status, lastLines(string(out)+"\n"+errOut))
}

// lastLines returns the end of a program's output, on one line.
func lastLines(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	const most = 500
	if len(words) > most {
		words = "[...] " + strings.ToValidUTF8(words[len(words)-most:], "")
	}
	return words
}

// limited keeps the beginning of what is written to it. It does not embed the buffer, which would read without a limit.
type limited struct {
	kept bytes.Buffer
	more bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := min(maxOutput-l.kept.Len(), len(p))
	l.more = l.more || room < len(p)
	l.kept.Write(p[:room])
	return len(p), nil
}
