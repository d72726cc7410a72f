// Package client calls the internal API of a daemon on this machine. It must not know what is behind a route.
//
//	c := client.New(server.NetworkUnix, "/var/run/sockerless-backend.sock")
//	defer c.Close()
//	err := c.Call(ctx, http.MethodGet, "/info", nil, &info)
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/sockerless/backend-azf/server"
)

// Client calls the internal API of one daemon, without TLS. It is safe for concurrent use.
type Client struct{ HTTP *http.Client }

// New returns a client of the daemon that listens on an address of a network, as for net.Dial. The caller closes it.
func New(network, address string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// Call sends in as JSON when it is not nil, and decodes the answer into out when that is not nil. An error status is an
// error with the daemon's message.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
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

// Raw returns the body that GET answers.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (content []byte, err error) {
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
	res, err := c.HTTP.Do(req)
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
		return nil, &StatusError{Method: method, Path: path, Status: res.StatusCode, Message: failure.Message}
	}
	return content, nil
}

// StatusError is an answer of the daemon with a status of 400 or more.
type StatusError struct {
	Method, Path string
	Status       int
	Message      string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Status, http.StatusText(e.Status), e.Message)
}
