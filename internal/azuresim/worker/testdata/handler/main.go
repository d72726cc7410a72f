// Command handler is a custom handler whose behaviour depends on the path of the request.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	fmt.Println("handler started")
	if os.Getenv("CRASH") != "" {
		code, err := strconv.Atoi(os.Getenv("CRASH"))
		if err != nil {
			panic(err)
		}
		// Each start leaves a mark in the file.
		f, err := os.OpenFile(os.Getenv("MARKS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		_, _ = f.WriteString("x")
		info, err := f.Stat()
		if err != nil {
			panic(err)
		}
		if limit, err := strconv.Atoi(os.Getenv("STARTS")); err != nil || info.Size() <= int64(limit) {
			os.Exit(code)
		}
	}
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), http.HandlerFunc(serve))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	switch {
	case r.URL.Path == "/":
	case strings.HasPrefix(r.URL.Path, "/api/exit/"):
		code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/api/exit/"))
		if err != nil {
			panic(err)
		}
		os.Exit(code)
	case r.URL.Path == "/api/hang":
		// The answer comes when the file exists.
		for {
			if _, err := os.Stat(string(body)); err == nil {
				return
			}
		}
	case r.URL.Path == "/wrapped":
		var in struct {
			Data map[string]struct{ Body string }
		}
		if err := json.Unmarshal(body, &in); err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(w, `{"Outputs": {"res": {"statusCode": "202", "headers": {"X-Test": "yes"}, "body": %q}},
			"Logs": ["logged"]}`, in.Data["req"].Body)
	default:
		fmt.Println("stdout line")
		fmt.Print("languageWorkerConsoleLog: hidden\r10 %\r20 %\r\n\r\n")
		fmt.Fprintln(os.Stderr, "stderr line")
		fmt.Fprintln(os.Stderr, "a Warning on stderr")
		w.Header().Set("X-Test", "yes")
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"path": r.URL.RequestURI(), "method": r.Method, "body": string(body),
			"traceparent": r.Header.Get("Traceparent"), "env": os.Environ(), "args": os.Args[1:],
			"pid": os.Getpid(), "capabilities": capabilities(),
		})
	}
}

// capabilities returns what the kernel says of the process's capabilities.
func capabilities() (lines []string) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Cap") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
