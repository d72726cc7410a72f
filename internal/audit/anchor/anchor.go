// Package anchor puts checkpoints of the audit trail into a blob container of Azure Storage, and overwrites nothing
// there.
package anchor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/sockerless/backend-azf/internal/audit"
)

// suffix is that of the names of all blobs.
const suffix = ".checkpoint"

// Config configures New.
type Config struct {
	// URL is the container's: https://ACCOUNT.blob.core.windows.net/CONTAINER.
	URL        string
	Credential azcore.TokenCredential
	Transport  policy.Transporter // nil means the default
}

// Anchor is a container for checkpoints. Its methods are safe for concurrent use.
type Anchor struct {
	url    string
	client *container.Client
}

// New checks the configuration. It calls nothing.
func New(cfg Config) (*Anchor, error) {
	client, err := container.NewClient(cfg.URL, cfg.Credential, &container.ClientOptions{
		ClientOptions: policy.ClientOptions{Transport: cfg.Transport},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the audit anchor: %w", err)
	}
	return &Anchor{url: cfg.URL, client: client}, nil
}

// limit bounds each call, with all its attempts: who anchors has other work, too.
const limit = 2 * time.Minute

// Put keeps a signed checkpoint as the blob LOG/SIZE.checkpoint. It creates the container if that is missing. A blob of
// that name with the same tree is a success, whoever has signed it. Another tree is an error: the trail was rewritten.
func (a *Anchor) Put(ctx context.Context, c audit.Checkpoint, signed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// Zeros in front make the order of names that of sizes.
	b := a.client.NewBlockBlobClient(fmt.Sprintf("%s/%020d%s", c.Log, c.Size, suffix))
	err := a.upload(ctx, b, signed)
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		_, err = a.client.Create(ctx, nil)
		if err == nil || bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			err = a.upload(ctx, b, signed)
		}
	}
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet, bloberror.BlobImmutableDueToPolicy) {
		return a.compare(ctx, b, c, signed)
	}
	return a.explain(err)
}

func (a *Anchor) upload(ctx context.Context, b *blockblob.Client, signed []byte) error {
	_, err := b.Upload(ctx, streaming.NopCloser(bytes.NewReader(signed)), &blockblob.UploadOptions{
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("text/plain; charset=utf-8")},
		AccessConditions: &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)},
		},
	})
	return err
}

// compare compares a checkpoint with the one that is there: all but the signatures.
func (a *Anchor) compare(ctx context.Context, b *blockblob.Client, c audit.Checkpoint, signed []byte) error {
	there, err := a.read(ctx, b)
	if err != nil {
		return err
	}
	if text(there) != text(signed) {
		return fmt.Errorf("the checkpoint of %d records in %s has another root hash than the trail: the trail was "+
			"rewritten, or the database was restored from a backup", c.Size, a.url)
	}
	return nil
}

func (a *Anchor) read(ctx context.Context, b *blockblob.Client) (signed []byte, err error) {
	res, err := b.DownloadStream(ctx, nil)
	if err != nil {
		return nil, a.explain(err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if signed, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return nil, fmt.Errorf("read an anchored checkpoint: %w", err)
	}
	return signed, nil
}

// text returns a signed text without its signatures, which follow an empty line.
func text(signed []byte) string {
	before, _, _ := strings.Cut(string(signed), "\n\n")
	return before
}

// explain adds to an error of Azure what to do.
func (a *Anchor) explain(err error) error {
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return fmt.Errorf("call %s: %w", a.url, err)
	}
	if refused.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%s refuses the daemon's principal (%s): give it the role Storage Blob Data Contributor on the "+
			"storage account, and the daemon's network access to it", a.url, refused.ErrorCode)
	}
	return fmt.Errorf("%s answers with status %d and code %q", a.url, refused.StatusCode, refused.ErrorCode)
}
