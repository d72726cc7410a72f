package examples

import "embed"

// Policy holds the rules and the data of the example policy, below policy.
//
//go:embed policy/*.rego policy/data.yaml
var Policy embed.FS
