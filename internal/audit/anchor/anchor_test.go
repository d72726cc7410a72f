package anchor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/audit/anchor"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

// start returns a simulated Azure and an anchor in its storage account.
func start(t *testing.T) (*cloudtest.Cloud, *anchor.Anchor) {
	t.Helper()
	c := cloudtest.Start(t, azuresim.Config{Log: zerolog.Nop()})
	options := policy.ClientOptions{Cloud: c.Configuration, Transport: c.Client}
	credential, err := azidentity.NewClientSecretCredential(c.Access.TenantID, c.Access.ClientID, c.Access.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := anchor.New(anchor.Config{
		URL: "https://" + azuresim.DefaultStorageAccount + ".blob.core.windows.net/trail", Credential: credential,
		Transport: c.Client,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func TestPut(t *testing.T) {
	c, a := start(t)
	var keys []audit.Key
	for _, home := range []string{"one", "two"} {
		key, err := audit.LoadKey(t.TempDir(), home)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	put := func(key audit.Key, c audit.Checkpoint) error {
		t.Helper()
		signed, err := key.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return a.Put(t.Context(), c, signed)
	}
	point := audit.Checkpoint{Log: "log", Size: 7}
	if err := put(keys[0], point); err == nil || !strings.Contains(err.Error(), "Storage Blob Data Contributor") {
		t.Errorf("without the role: %v", err)
	}
	c.Sim.GrantBlobs(true)
	// The container is created. The second daemon finds the checkpoint of the first one, which agrees.
	for _, key := range []audit.Key{keys[0], keys[0], keys[1]} {
		if err := put(key, point); err != nil {
			t.Error(err)
		}
	}
	const name = "trail/log/00000000000000000007.checkpoint"
	got, err := audit.OpenCheckpoint(c.Sim.Blobs()[name], keys[0].Public)
	if err != nil || got != point {
		t.Errorf("the blob holds %+v, %v", got, err)
	}
	// So does a second attempt where a policy keeps the container.
	c.Sim.SetBlobsImmutable("trail")
	if err := put(keys[0], point); err != nil {
		t.Error(err)
	}
	rewritten := point
	rewritten.Root[0] = 1
	if err := put(keys[0], rewritten); err == nil || !strings.Contains(err.Error(), "the trail was rewritten") {
		t.Errorf("another tree: %v", err)
	}
	if blobs := c.Sim.Blobs(); len(blobs) != 1 || !strings.Contains(string(blobs[name]), fmt.Sprint(point.Root)) {
		t.Errorf("blobs: %q", blobs)
	}
}

// silent is a service that never answers.
type silent struct{}

func (silent) Do(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func (silent) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestServiceThatNeverAnswers shows that whoever anchors goes on.
func TestServiceThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := anchor.New(anchor.Config{URL: "https://x.blob.core.windows.net/trail", Credential: silent{},
			Transport: silent{}})
		if err != nil {
			t.Fatal(err)
		}
		err = a.Put(t.Context(), audit.Checkpoint{Log: "log", Size: 1}, []byte("checkpoint"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
