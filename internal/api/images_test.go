package api_test

import (
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
)

const someDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseReference(t *testing.T) {
	for text, want := range map[string]string{
		"alpine":                                 "docker.io/library/alpine:latest",
		"alpine:3":                               "docker.io/library/alpine:3",
		"acme/app":                               "docker.io/acme/app:latest",
		"index.docker.io/acme/app":               "docker.io/acme/app:latest",
		"localhost/app":                          "localhost/app:latest",
		"127.0.0.1:5000/app:1":                   "127.0.0.1:5000/app:1",
		"registry.example.com/team/app:1.0":      "registry.example.com/team/app:1.0",
		"alpine@" + someDigest:                   "docker.io/library/alpine@" + someDigest,
		"registry.example.com/a:1@" + someDigest: "registry.example.com/a@" + someDigest,
	} {
		got, err := api.ParseReference(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                              `invalid reference format: "" is not of the form`,
		"a b":                           `invalid reference format: "a b" is not of the form`,
		"Alpine":                        "invalid reference format: repository name (library/Alpine) must be lowercase",
		"app:":                          "invalid reference format",
		"app@sha256:abc":                "invalid reference format",
		strings.Repeat("a", 64):         "invalid reference format: invalid repository name",
		strings.Repeat("a/", 200) + "a": "invalid reference format: repository name must not be more than 255 characters",
	} {
		got, err := api.ParseReference(text)
		if api.KindOf(err) != api.InvalidParameter || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

// FuzzReference expects that each parsed reference has a tag or a digest, and that parsing its string returns the
// same reference.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"alpine", "acme/app:1.0", "registry.example.com:5000/a/b__c:T", "a@" + someDigest, "a:1@" + someDigest,
		"docker.io/library/x", "index.docker.io/x", "[::1]:5000/x", "localhost/x", "Library/x", "a//b", ":", "@",
		someDigest, someDigest[7:], "a:" + strings.Repeat("t", 129), "ä",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := api.ParseReference(text)
		if err != nil {
			if api.KindOf(err) != api.InvalidParameter || !strings.HasPrefix(err.Error(), "invalid reference format") {
				t.Fatalf("%q: refused with %v", text, err)
			}
			return
		}
		_, tagged := ref.(reference.Tagged)
		_, digested := ref.(reference.Digested)
		if tagged == digested {
			t.Errorf("%q: %s has a tag: %t, a digest: %t", text, ref, tagged, digested)
		}
		if again, err := api.ParseReference(ref.String()); err != nil || again.String() != ref.String() {
			t.Errorf("%q: %s parses as %v, %v", text, ref, again, err)
		}
		// The familiar form of docker.io/localhost/x is the name of another image: a quirk that Docker has too.
		quirk := strings.HasPrefix(ref.String(), "docker.io/localhost/")
		familiar := reference.FamiliarString(ref)
		if again, err := api.ParseReference(familiar); err != nil || again.String() != ref.String() && !quirk {
			t.Errorf("%q: %q parses as %v, %v", text, familiar, again, err)
		}
	})
}
