// Package examples embeds the files of examples that programs of this project use. The folders hold what users read and
// run.
package examples

import "embed"

// Hello holds the functions of the example image, below hello/wwwroot.
//
//go:embed hello/wwwroot
var Hello embed.FS

// Policy holds the rules and the data of the example policy, below policy.
//
//go:embed policy/*.rego policy/data.yaml
var Policy embed.FS
