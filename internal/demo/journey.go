package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/client"
)

// Journey takes a container through its whole life, over the daemon's socket, as any client would. With refuses, the
// example policy refuses it at first. Journey reports each step, and fails when sites, the function apps in Azure, are
// not empty in the end.
func Journey(
	ctx context.Context, report *Report, c *client.Client, image string, refuses bool, sites func() []string,
) (err error) {
	const name = "hello"
	defer c.Close()
	req := api.CreateRequest{Config: &api.Config{
		Image: image, Cmd: []string{"hello", "from", "Azure", "Functions"}, Env: []string{"GREETING=Greetings"},
	}}
	if refuses {
		err := report.step(ctx, "policy", func(s *Step) error {
			err := c.Call(ctx, http.MethodPost, "/containers?name="+name, req, nil)
			failed, ok := errors.AsType[*client.StatusError](err)
			if !ok || failed.Status != http.StatusForbidden {
				return errors.Join(errors.New("the policy has not refused a container without the label team"), err)
			}
			s.Detail = failed.Message
			return nil
		})
		if err != nil {
			return err
		}
	}
	err = report.step(ctx, "create", func(s *Step) error {
		req.Labels = map[string]string{"team": "demo"}
		var created api.CreateResponse
		if err := c.Call(ctx, http.MethodPost, "/containers?name="+name, req, &created); err != nil {
			return err
		}
		var info api.InspectResponse
		if err := c.Call(ctx, http.MethodGet, "/containers/"+created.ID, nil, &info); err != nil {
			return err
		}
		s.Detail = "container " + created.ID[:12] + ", " + strings.Join(created.Warnings, ", ")
		s.Detail = strings.TrimSuffix(s.Detail, ", ")
		s.Plan, s.Workspace, s.FunctionApp = info.AZF.Plan, info.AZF.Workspace, info.AZF.FunctionApp
		if info.AZF.Derived != nil {
			s.Wrapped = info.AZF.Derived.Reference
		}
		return nil
	})
	if err == nil {
		err = report.step(ctx, "start", func(*Step) error {
			return c.Call(ctx, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		})
	}
	if err == nil {
		err = report.step(ctx, "wait", func(s *Step) error {
			var res api.WaitResponse
			if err := c.Call(ctx, http.MethodPost, "/containers/"+name+"/wait", nil, &res); err != nil {
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
		err = report.step(ctx, "logs", func(s *Step) error {
			stream, err := c.Raw(ctx, "/containers/"+name+"/logs?stdout=1&stderr=1")
			if err != nil {
				return err
			}
			if s.Lines, err = Demultiplex(stream); err != nil {
				return err
			}
			if len(s.Lines) == 0 {
				return errors.New("the run left no lines")
			}
			s.Detail = fmt.Sprintf("%d lines", len(s.Lines))
			return nil
		})
	}
	// Remove the container after a failure too, so that nothing is left.
	if removeErr := report.step(ctx, "remove", func(*Step) error {
		return c.Call(ctx, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil)
	}); err == nil {
		err = removeErr
	}
	return errors.Join(err, report.step(ctx, "left", func(s *Step) error {
		left := sites()
		n := len(left)
		s.FunctionApps, s.Detail = &n, fmt.Sprintf("%d function apps in Azure", n)
		if n > 0 {
			return fmt.Errorf("%d function apps are left: %s", n, strings.Join(left, ", "))
		}
		return nil
	}))
}

// Demultiplex returns the lines in Docker's log frames, each after the name of its stream.
func Demultiplex(stream []byte) ([]string, error) {
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
