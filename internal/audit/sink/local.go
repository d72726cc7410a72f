package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/sockerless/backend-azf/internal/audit"
)

// file appends one line for each record.
type file struct {
	path string
	f    *os.File
}

func (f *file) unsure() int64 { return 0 }

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// send returns when the lines are on the disk.
func (f *file) send(_ context.Context, lines []audit.Line) error {
	if err := f.open(); err != nil {
		return err
	}
	var content bytes.Buffer
	for _, l := range lines {
		content.Write(l.Line)
		content.WriteByte('\n')
	}
	_, err := f.f.Write(content.Bytes())
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.close()) // open ends a line of which only a part was written
	}
	return nil
}

// open opens the file, again when another one is in its place: logs are rotated.
func (f *file) open() error {
	if f.f != nil {
		there, err := os.Stat(f.path)
		opened, openedErr := f.f.Stat()
		if err == nil && openedErr == nil && os.SameFile(there, opened) {
			return nil
		}
		if err := f.close(); err != nil {
			return err
		}
	}
	opened, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f.f = opened
	if err := endLine(opened); err != nil {
		return errors.Join(err, f.close())
	}
	return nil
}

// endLine gives the last line of a file an end.
func endLine(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.WriteString("\n")
	return err
}

// journald sends to the journal of this machine.
type journald struct{}

func (journald) unsure() int64 { return 0 }
func (journald) close() error  { return nil }

func (journald) send(ctx context.Context, lines []audit.Line) error {
	if !journal.Enabled() {
		return errors.New("there is no journald here")
	}
	// A journald that takes nothing must not keep the daemon from its end.
	sent := make(chan error, 1)
	go func() { sent <- sendToJournal(ctx, lines) }()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sendToJournal(ctx context.Context, lines []audit.Line) error {
	for _, l := range lines {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := journal.Send(string(l.Line), journal.PriInfo, map[string]string{
			"SYSLOG_IDENTIFIER": program, "AUDIT_SEQ": strconv.FormatInt(l.Seq, 10),
		})
		if err != nil {
			return fmt.Errorf("send to journald: %w", err)
		}
	}
	return nil
}

// program is the name of the daemon in journald and syslog.
const program = "sockerless-backend-azf"
