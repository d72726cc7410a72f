package azureerrors

import (
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/secret"
)

// Azure, azurerm and the SDK may echo what they were sent.
func TestSecretsAreHidden(t *testing.T) {
	key := strings.Repeat("Ab1+", 21) + "xy=="
	hide := NewSecrets("registry-pass", "hunter2-hunter2", "west", "first \"line\"\nsecond line",
		"hunter2-hunter2-and-more", "")
	for _, row := range []struct{ text, hidden string }{
		{"DefaultEndpointsProtocol=https;AccountName=store;AccountKey=" + key + ";EndpointSuffix=core.windows.net", key[:20]},
		{"the key is " + key + ".", key[:20]},
		{"BlobEndpoint=https://s;SharedAccessSignature=sv=2024&sig=c2VjcmV0", "c2VjcmV0"},
		{"GET https://s.blob.core.windows.net/c?sv=2024&sig=c2VjcmV0%3D&se=1", "c2VjcmV0"},
		{"Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOi.eyJhdWQiOiJodHRwczov.c2lnbmF0dXJl", "eyJhdWQ"},
		{"Bearer abcdefghijklmnop", "abcdefgh"},
		{"got token eyJ0eXAiOiJKV1QiLCJhbGciOi.eyJhdWQiOiJodHRwczov.c2lnbmF0dXJl", "eyJhdWQ"},
		{"InstrumentationKey=11111111-2222-3333-4444-555555555555;IngestionEndpoint=https://x", "11111111-2222"},
		{"client_id=1&client_secret=sEcReT~1&grant_type=x", "sEcReT"},
		{`{"client_secret": "sEcReT~1"}`, "sEcReT"},
		{`"{\"access_token\":\"sEcReT-1\"}"`, "sEcReT"},
		{"DOCKER_REGISTRY_SERVER_PASSWORD=sEcReT", "sEcReT"},
		{"x-functions-key: sEcReT", "sEcReT"},
		{"POST https://app/api/run?code=sEcReT==", "sEcReT"},
		{"host key abcdefghijklmnopqrstuvwxyz0123456789AzFuABCDEFG==", "abcdefghij"},
		{"https://user:sEcReT@registry.example.com/v2/", "sEcReT"},
		{"the value hunter2-hunter2 is invalid", "hunter2"},
		{"the value hunter2-hunter2-and-more is invalid", "and-more"},
		{"the value first \"line\"\n  second line is invalid", "second"},
		{`the value "first \"line\"\nsecond line" is invalid`, "second"},
		{"password registry-pass", "registry-pass"},
	} {
		got := Explain("create container web", "", hide,
			terraformFailed(creating+"unexpected status 400 (400 Bad Request) with error: BadRequest: "+row.text))
		if strings.Contains(got.Message, row.hidden) || !strings.Contains(got.Message, secret.Hidden) {
			t.Errorf("message %q holds %q", got.Message, row.hidden)
		}
		if cause := got.Err.Error(); strings.Contains(cause, row.hidden) || !strings.Contains(cause, secret.Hidden) {
			t.Errorf("cause %q holds %q", cause, row.hidden)
		}
		if twice := hide.Hide(hide.Hide(row.text)); twice != hide.Hide(row.text) {
			t.Errorf("hidden twice: %q", twice)
		}
	}
}

func TestPlainTextStays(t *testing.T) {
	const plain = "creating Linux App Service in west: Code=\"Unauthorized\" https://localhost:443/x: Client secret " +
		"expired"
	if got := NewSecrets("west").Hide(plain); got != plain {
		t.Errorf("got %q, want it unchanged", got)
	}
}
