package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// Calls that the proxy answers or looks at, beside those for the schema.
const (
	methodStop     = "/tfplugin5.Provider/Stop"
	methodShutdown = "/plugin.GRPCController/Shutdown"
	methodStdio    = "/plugin.GRPCStdio/StreamStdio"
	methodBroker   = "/plugin.GRPCBroker/StartStream"
)

// rawCodec leaves messages as they are: *[]byte.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("marshal: %T is not a message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*message)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal: %T is not a message", v)
	}
	*message = data.Materialize()
	return nil
}

// Name returns the codec's name that a provider's server expects.
func (rawCodec) Name() string { return "proto" }

// proxy stands between the clients of one lease and its process.
type proxy struct {
	socket  string
	conn    *grpc.ClientConn
	schemas *schemas
	types   []string
	server  *grpc.Server
	work    sync.WaitGroup // the server, and goroutines of handlers that outlive them until their stream ends

	mu     sync.Mutex
	spent  bool // it must not serve another operation
	broken error
}

// serve starts the proxy of a lease and creates its socket. The caller closes it.
func serve(socket string, proc *process, schemas *schemas, types []string) (*proxy, error) {
	p := &proxy{socket: socket, conn: proc.conn, schemas: schemas, types: types}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen for terraform: %w", err)
	}
	p.server = grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(p.handle), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
	)
	p.work.Go(func() {
		if err := p.server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			p.fail(fmt.Errorf("serve terraform: %w", err))
		}
	})
	return p, nil
}

// close cuts off all clients and blocks until nothing runs any more. The socket is then gone.
func (p *proxy) close() {
	p.server.Stop()
	p.work.Wait()
}

func (p *proxy) state() (spent bool, broken error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent, p.broken
}

func (p *proxy) spend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent = true
}

func (p *proxy) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
	}
}

// handle answers one call of any method.
func (p *proxy) handle(_ any, in grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(in)
	if !ok {
		return status.Error(codes.Internal, "the call has no method")
	}
	var err error
	switch method {
	case methodStdio, methodBroker:
		// The process has one reader of these streams, which is not this client.
		<-in.Context().Done()
		return status.FromContextError(in.Context().Err()).Err()
	case methodShutdown:
		// The process outlives its client.
		return answer(in, nil)
	case methodSchema:
		err = p.slice(in, method, schemaMaps)
	case methodIdentities:
		err = p.slice(in, method, identityMaps)
	case methodStop:
		p.spend()
		err = p.forward(in, method)
	default:
		err = p.forward(in, method)
	}
	if err == nil || status.Code(err) == codes.Unimplemented {
		return err
	}
	p.spend()
	// A provider reports failures in its answers. An error of the call itself is not the provider's, unless the client
	// left.
	if in.Context().Err() == nil {
		p.fail(fmt.Errorf("%s: %w", method, err))
	}
	return err
}

// answer receives the one request of a call and sends the one answer.
func answer(in grpc.ServerStream, message []byte) error {
	var request []byte
	if err := in.RecvMsg(&request); err != nil {
		return err
	}
	return in.SendMsg(&message)
}

// slice answers with the part of the schema that the operation needs, or with the whole schema when that part is
// missing.
func (p *proxy) slice(in grpc.ServerStream, method string, maps []protowire.Number) error {
	whole, err := p.schemas.whole(in.Context(), p.conn, method)
	if err != nil {
		return err
	}
	part, found, err := cut(whole, maps, p.types)
	if err != nil || method == methodSchema && len(found) < len(p.types) {
		part = whole
	}
	return answer(in, part)
}

// forward forwards a call of any shape to the process, and the answers back.
func (p *proxy) forward(in grpc.ServerStream, method string) error {
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	streams := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	out, err := p.conn.NewStream(ctx, streams, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return err
	}
	// The goroutine ends with the stream, which is after this function.
	p.work.Go(func() {
		for {
			var message []byte
			if err := in.RecvMsg(&message); errors.Is(err, io.EOF) {
				_ = out.CloseSend() // its error is always nil
				return
			} else if err != nil {
				cancel()
				return
			}
			if out.SendMsg(&message) != nil {
				return // RecvMsg below has the reason
			}
		}
	})
	if header, err := out.Header(); err == nil {
		if err := in.SetHeader(header); err != nil {
			return err
		}
	}
	for {
		var message []byte
		if err := out.RecvMsg(&message); err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := in.SendMsg(&message); err != nil {
			return err
		}
	}
}
