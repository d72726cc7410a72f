package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/server"
)

// azure tells how many function apps there are. *azuresim.Sim does.
type azure interface{ Sites() []string }

// journey takes a container the whole way through the daemon's socket, as any client would.
func journey(ctx context.Context, report *report, c *client, image string, az azure) (err error) {
	const name = "hello"
	defer c.close()
	err = report.step(ctx, "create", func(s *step) error {
		req := api.CreateRequest{Config: &api.Config{Image: image, Cmd: []string{"hello", "from", "Azure", "Functions"}, Env: []string{"GREETING=Greetings"}}}
		var created api.CreateResponse
		if err := c.call(ctx, http.MethodPost, "/containers?name="+name, req, &created); err != nil {
			return err
		}
		var info api.InspectResponse
		if err := c.call(ctx, http.MethodGet, "/containers/"+created.ID, nil, &info); err != nil {
			return err
		}
		s.Detail = "container " + created.ID[:12] + ", " + strings.Join(created.Warnings, ", ")
		s.Detail = strings.TrimSuffix(s.Detail, ", ")
		s.Plan, s.Workspace, s.FunctionApp = info.AZF.Plan, info.AZF.Workspace, info.AZF.FunctionApp
		return nil
	})
	if err == nil {
		err = report.step(ctx, "start", func(*step) error {
			return c.call(ctx, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		})
	}
	if err == nil {
		err = report.step(ctx, "wait", func(s *step) error {
			var res api.WaitResponse
			if err := c.call(ctx, http.MethodPost, "/containers/"+name+"/wait", nil, &res); err != nil {
				return err
			}
			s.ExitCode, s.Detail = &res.StatusCode, fmt.Sprintf("exit code %d", res.StatusCode)
			if res.Error != nil {
				return errors.New(res.Error.Message)
			}
			if res.StatusCode != 0 {
				return fmt.Errorf("exit code %d", res.StatusCode)
			}
			return nil
		})
	}
	if err == nil {
		err = report.step(ctx, "logs", func(s *step) error {
			stream, err := c.raw(ctx, "/containers/"+name+"/logs?stdout=1&stderr=1")
			if err != nil {
				return err
			}
			if s.Lines, err = demultiplex(stream); err != nil {
				return err
			}
			if len(s.Lines) == 0 {
				return errors.New("the run left no lines")
			}
			s.Detail = fmt.Sprintf("%d lines", len(s.Lines))
			return nil
		})
	}
	// Also after a failure: nothing shall be left.
	if removeErr := report.step(ctx, "remove", func(*step) error {
		return c.call(ctx, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil)
	}); err == nil {
		err = removeErr
	}
	return errors.Join(err, report.step(ctx, "left", func(s *step) error {
		left := az.Sites()
		n := len(left)
		s.FunctionApps, s.Detail = &n, fmt.Sprintf("%d function apps in Azure", n)
		if n > 0 {
			return fmt.Errorf("%d function apps are left: %s", n, strings.Join(left, ", "))
		}
		return nil
	}))
}

// demultiplex takes the lines out of Docker's log frames.
func demultiplex(stream []byte) ([]string, error) {
	var lines []string
	for len(stream) > 0 {
		if len(stream) < 8 {
			return nil, errors.New("read logs: a frame is cut off")
		}
		size := int(binary.BigEndian.Uint32(stream[4:8]))
		if size > len(stream)-8 {
			return nil, errors.New("read logs: a frame is cut off")
		}
		name := map[byte]string{1: api.Stdout, 2: api.Stderr}[stream[0]]
		lines = append(lines, name+": "+strings.TrimSuffix(string(stream[8:8+size]), "\n"))
		stream = stream[8+size:]
	}
	return lines, nil
}

// client calls a daemon on a unix socket.
type client struct{ http *http.Client }

func newClient(socket string) *client {
	return &client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// call sends in as JSON when it is not nil, and decodes the answer into out when it is not nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(content)
	}
	content, err := c.do(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(content, out)
}

func (c *client) raw(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

func (c *client) do(ctx context.Context, method, path string, body io.Reader) (content []byte, err error) {
	target, err := url.Parse("http://daemon" + server.Prefix + path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	content, err = io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusBadRequest {
		var failure struct{ Message string }
		if json.Unmarshal(content, &failure) != nil || failure.Message == "" {
			failure.Message = string(content)
		}
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, failure.Message)
	}
	return content, nil
}
