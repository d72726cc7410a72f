package toolchain

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// progress shows what Prepare does. Lines of say remain. Lines of show replace each other: a terminal rewrites one
// line in place, any other writer gets a line at most once per interval.
type progress struct {
	out      io.Writer
	width    func() int // of the terminal in characters; 0 means that out is not a terminal
	interval time.Duration
	now      func() time.Time

	mu    sync.Mutex
	open  bool      // whether the terminal's cursor is on a line of show
	shown time.Time // when show last wrote
}

// newProgress returns a progress that writes to out. A nil out discards everything.
func newProgress(out io.Writer, interval time.Duration) *progress {
	return &progress{out: out, width: func() int { return terminalWidth(out) }, interval: interval, now: time.Now}
}

// terminalWidth returns the number of characters in a line of the terminal behind w, or 0 if w is not a terminal
// that can rewrite a line.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 {
		return 80 // a terminal that does not know its size
	}
	return int(size.Col)
}

// say writes a line that remains.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.write(fmt.Sprintf(format, args...) + "\n")
}

// show replaces the line that it wrote before.
func (p *progress) show(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return
	}
	now := p.now()
	width := p.width()
	if width > 0 {
		// A line that wraps could not be rewritten.
		for utf8.RuneCountInString(line) >= width {
			_, size := utf8.DecodeLastRuneInString(line)
			line = line[:len(line)-size]
		}
		p.write("\r\x1b[K" + line)
		p.open, p.shown = true, now
		return
	}
	if now.Sub(p.shown) < p.interval {
		return
	}
	p.shown = now
	p.write(line + "\n")
}

// done removes the line of show from a terminal, so that others can write.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.open {
		p.write("\r\x1b[K")
		p.open = false
	}
}

func (p *progress) write(s string) {
	if p.out != nil {
		_, _ = io.WriteString(p.out, s) // the build goes on without progress lines
	}
}
