package protocol

import "strings"

// ScriptRootEnv is a variable of each image that is made from one of Microsoft's with a Functions host
// (github.com/Azure/azure-functions-docker, host/4).
const ScriptRootEnv = "AzureWebJobsScriptRoot"

// HasHost reports whether the environment of an image, as NAME=value, is that of one with a Functions host.
func HasHost(env []string) bool {
	for _, entry := range env {
		if strings.HasPrefix(entry, ScriptRootEnv+"=") {
			return true
		}
	}
	return false
}

// InstallFolder is the folder that a wrapped image has beside the files of the user's image. It holds azf-handler,
// ImageFile, LibrariesFile, the Functions host in HostFolder, and its home with the functions. azf-handler finds them
// from its own path, so that the folder may also lie elsewhere.
const (
	InstallFolder = "/.sockerless"
	ImageFile     = "image.json"
	// LibrariesFile names the folders with the Functions host's libraries, one in a line. It is empty for a static host.
	LibrariesFile = "libs"
	// HostFolder has the files of the image with the Functions host, whose program is HostProgram there.
	HostFolder  = "host"
	HostProgram = "azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"
)

// ImageVersion is the version of Image that this release writes and reads.
const ImageVersion = 1

// Image is the content of ImageFile: the user's image in a wrapped one. References have digests.
type Image struct {
	Version   int    `json:"version"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	// Base is the image with the Functions host.
	Base   string      `json:"base"`
	Config ImageConfig `json:"config"`
}

// ImageConfig is what a container takes from its image when it is started. Names are those of Docker's API.
type ImageConfig struct {
	Env        []string
	User       string
	WorkingDir string
	Entrypoint []string
	Cmd        []string
	StopSignal string
}
