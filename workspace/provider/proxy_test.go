package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// entry returns a map's entry in a field of a message.
func entry(field protowire.Number, key, value string) []byte {
	inner := protowire.AppendTag(nil, 1, protowire.BytesType)
	inner = protowire.AppendString(inner, key)
	inner = protowire.AppendTag(inner, 2, protowire.BytesType)
	inner = protowire.AppendString(inner, value)
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), inner)
}

func TestCut(t *testing.T) {
	other := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "provider")
	number := protowire.AppendVarint(protowire.AppendTag(nil, 6, protowire.VarintType), 7)
	function, later := entry(7, "azurerm_a", "function"), entry(99, "azurerm_a", "later")
	resource, data := entry(2, "azurerm_b", "B"), entry(3, "azurerm_b", "data")
	whole := slices.Concat(
		other, entry(2, "azurerm_a", "A"), resource, number, data, function,
		entry(8, "azurerm_c", "C"), entry(9, "azurerm_a", "list"), entry(11, "azurerm_d", "D"), later,
	)
	got, found, err := cut(whole, schemaMaps, []string{"azurerm_b", "azurerm_none"})
	want := slices.Concat(other, resource, number, data, function, later)
	if err != nil || !bytes.Equal(got, want) || len(found) != 1 || !found["azurerm_b"] {
		t.Errorf("got %q, %v, %v\nwant %q", got, found, err, want)
	}
	for n := range whole {
		if _, _, err := cut(whole[:n], schemaMaps, nil); err == nil && len(whole[:n]) > 0 && !atBoundary(whole, n) {
			t.Errorf("cut off after %d bytes: no error", n)
		}
	}
}

// atBoundary reports whether n bytes of a message are whole fields.
func atBoundary(message []byte, n int) bool {
	for at := 0; at <= n; {
		if at == n {
			return true
		}
		_, _, size := protowire.ConsumeField(message[at:])
		at += size
	}
	return false
}

// server starts a provider's server that repeats what it receives: each message with its method, header and trailer, or
// an error. It returns a client of the server.
func server(t *testing.T) *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "plugin")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			md, _ := metadata.FromIncomingContext(stream.Context())
			if err := stream.SetHeader(metadata.Pairs("received", strings.Join(md.Get("sent"), ","))); err != nil {
				return err
			}
			stream.SetTrailer(metadata.Pairs("ended", "yes"))
			if method == methodSchema {
				message := slices.Concat(entry(2, "azurerm_a", "A"), entry(2, "azurerm_b", "B"))
				return stream.SendMsg(&message)
			}
			for {
				var message []byte
				if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if code, ok := map[string]codes.Code{"fail": codes.Internal, "unknown": codes.Unimplemented}[string(message)]; ok {
					return status.Error(code, "as you wish")
				}
				message = append([]byte(method+" "), message...)
				if err := stream.SendMsg(&message); err != nil {
					return err
				}
			}
		}),
	)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dial(t, socket)
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(
		"unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// proxied returns a proxy in front of server, and a client of the proxy.
func proxied(t *testing.T, types ...string) (*proxy, *grpc.ClientConn) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "proxy")
	p, err := serve(socket, &process{conn: server(t)}, &schemas{}, types)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p, dial(t, socket)
}

func call(ctx context.Context, conn *grpc.ClientConn, method, message string, opts ...grpc.CallOption) (string, error) {
	request, answer := []byte(message), []byte{}
	err := conn.Invoke(ctx, method, &request, &answer, opts...)
	return string(answer), err
}

func TestCallsAreForwardedByteForByte(t *testing.T) {
	p, conn := proxied(t)
	for _, message := range []string{"", "\x00\xff no protobuf", strings.Repeat("x", 5<<20)} {
		var header, trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), "sent", "this")
		got, err := call(ctx, conn, "/any.Service/Method", message, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || got != "/any.Service/Method "+message {
			t.Errorf("got %.50q, %v", got, err)
		}
		if !slices.Equal(header.Get("received"), []string{"this"}) || !slices.Equal(trailer.Get("ended"), []string{"yes"}) {
			t.Errorf("got header %v and trailer %v", header, trailer)
		}
	}
	if spent, broken := p.state(); spent || broken != nil {
		t.Errorf("got %v, %v after calls that went well", spent, broken)
	}
}

func TestStreamsAreForwarded(t *testing.T) {
	_, conn := proxied(t)
	stream, err := conn.NewStream(
		t.Context(),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/any.Service/Stream",
	)
	if err != nil {
		t.Fatal(err)
	}
	// Each is answered before the next is sent.
	for _, word := range []string{"one", "two", "three"} {
		message := []byte(word)
		if err := stream.SendMsg(&message); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&message); err != nil || string(message) != "/any.Service/Stream "+word {
			t.Errorf("got %q, %v", message, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	var message []byte
	if err := stream.RecvMsg(&message); !errors.Is(err, io.EOF) {
		t.Errorf("got %q, %v; want the end", message, err)
	}
}

func TestErrorsOfCalls(t *testing.T) {
	for _, row := range []struct {
		message string
		code    codes.Code
		broken  bool
	}{{"fail", codes.Internal, true}, {"unknown", codes.Unimplemented, false}} {
		p, conn := proxied(t)
		_, err := call(t.Context(), conn, "/tfplugin5.Provider/Any", row.message)
		if status.Code(err) != row.code || status.Convert(err).Message() != "as you wish" {
			t.Errorf("%s: got %v", row.message, err)
		}
		if spent, broken := p.state(); spent != row.broken || (broken != nil) != row.broken {
			t.Errorf("%s: spent %v, broken %v", row.message, spent, broken)
		}
	}
}

func TestClientThatLeavesBreaksNothing(t *testing.T) {
	p, conn := proxied(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := conn.NewStream(
		ctx,
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/tfplugin5.Provider/Slow",
	)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("begun")
	if err := errors.Join(stream.SendMsg(&message), stream.RecvMsg(&message)); err != nil {
		t.Fatal(err)
	}
	cancel()
	p.close()
	if spent, broken := p.state(); !spent || broken != nil {
		t.Errorf("spent %v, broken %v; want it spent only", spent, broken)
	}
}

func TestCallsThatTheProxyAnswers(t *testing.T) {
	p, conn := proxied(t)
	if got, err := call(t.Context(), conn, methodShutdown, "now"); err != nil || got != "" {
		t.Errorf("shutdown: got %q, %v; want an empty answer", got, err)
	}
	for _, method := range []string{methodStdio, methodBroker} {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		message := []byte("a line?")
		if err := stream.SendMsg(&message); err != nil {
			t.Error(err)
		}
		if got, err := call(t.Context(), conn, "/any.Service/Method", "meanwhile"); err != nil ||
			!strings.HasSuffix(got, "meanwhile") {
			t.Errorf("beside %s: got %q, %v", method, got, err)
		}
		cancel()
		if err := stream.RecvMsg(&message); status.Code(err) != codes.Canceled {
			t.Errorf("%s: got %q, %v; want nothing until the client leaves", method, message, err)
		}
	}
	if spent, _ := p.state(); spent {
		t.Error("these calls do not spend the process")
	}
	if got, err := call(t.Context(), conn, methodStop, "s"); err != nil || got != methodStop+" s" {
		t.Errorf("stop: got %q, %v; want it forwarded", got, err)
	}
	if spent, broken := p.state(); !spent || broken != nil {
		t.Errorf("after stop: spent %v, broken %v", spent, broken)
	}
}

func TestSchemaIsSliced(t *testing.T) {
	a, b := string(entry(2, "azurerm_a", "A")), string(entry(2, "azurerm_b", "B"))
	for _, row := range []struct {
		types []string
		want  string
	}{
		{[]string{"azurerm_a"}, a}, {[]string{"azurerm_a", "azurerm_b"}, a + b}, {nil, ""},
		{[]string{"azurerm_a", "azurerm_unknown"}, a + b},
	} {
		_, conn := proxied(t, row.types...)
		if got, err := call(t.Context(), conn, methodSchema, ""); err != nil || got != row.want {
			t.Errorf("%v: got %q, %v; want %q", row.types, got, err, row.want)
		}
	}
}
