package provider

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// The two calls whose answers grow with the provider, and the fields of these answers that map type names to schemas
// (message Response of GetProviderSchema and GetResourceIdentitySchemas in Terraform's tfplugin5.proto). All other
// fields stay as they are.
const (
	methodSchema     = "/tfplugin5.Provider/GetSchema"
	methodIdentities = "/tfplugin5.Provider/GetResourceIdentitySchemas"
)

var (
	// Resources, data sources, ephemeral resources, list resources, actions.
	schemaMaps   = []protowire.Number{2, 3, 8, 9, 11}
	identityMaps = []protowire.Number{1}
)

// schemas keeps the whole answers. They are the same from every process of a binary.
type schemas struct {
	mu     sync.Mutex
	answer map[string][]byte
}

// whole returns the whole answer to a call. It asks conn when no process has been asked yet.
func (s *schemas) whole(ctx context.Context, conn *grpc.ClientConn, method string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer, ok := s.answer[method]; ok {
		return answer, nil
	}
	var request, answer []byte
	if err := conn.Invoke(ctx, method, &request, &answer, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return nil, err
	}
	if s.answer == nil {
		s.answer = map[string][]byte{}
	}
	s.answer[method] = answer
	return answer, nil
}

// cut keeps only the schemas of the given types in the maps of an answer. found are the types that it has kept.
func cut(answer []byte, maps []protowire.Number, types []string) (_ []byte, found map[string]bool, err error) {
	kept, found := []byte{}, map[string]bool{}
	for rest := answer; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, nil, fmt.Errorf("read schema: %w", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			return nil, nil, fmt.Errorf("read schema: %w", protowire.ParseError(size))
		}
		field := rest[:n+size]
		rest = rest[n+size:]
		if slices.Contains(maps, number) && kind == protowire.BytesType {
			entry, _ := protowire.ConsumeBytes(field[n:])
			name, err := key(entry)
			if err != nil {
				return nil, nil, err
			}
			if !slices.Contains(types, name) {
				continue
			}
			found[name] = true
		}
		kept = append(kept, field...)
	}
	return kept, found, nil
}

// key returns the key of a map's entry: its field 1.
func key(entry []byte) (string, error) {
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return "", fmt.Errorf("read schema: %w", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, entry[n:])
		if size < 0 {
			return "", fmt.Errorf("read schema: %w", protowire.ParseError(size))
		}
		if number == 1 && kind == protowire.BytesType {
			name, _ := protowire.ConsumeBytes(entry[n:])
			return string(name), nil
		}
		entry = entry[n+size:]
	}
	return "", nil
}
