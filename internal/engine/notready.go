package engine

import (
	"fmt"
	"strings"

	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

// lacksHost reports whether the image that Azure runs is known and has no Functions host.
func lacksHost(c store.Container) bool {
	return c.Derived == nil && c.ImageConfig != nil && !protocol.HasHost(c.ImageConfig.Env)
}

// hostHome is HOME in Microsoft's images. On App Service, the Functions host looks for functions below HOME, whatever
// AzureWebJobsScriptRoot says (WebScriptHostConfigurationSource.cs in github.com/Azure/azure-functions-host).
const hostHome = "/home"

// imageHome returns the HOME that the image of a container sets, "" if none is known.
func imageHome(c store.Container) string {
	if c.ImageConfig == nil {
		return ""
	}
	for _, entry := range c.ImageConfig.Env {
		if home, ok := strings.CutPrefix(entry, "HOME="); ok {
			return home
		}
	}
	return ""
}

// noHost returns the reason for which an image without a Functions host does not run.
func noHost(image string) string {
	return fmt.Sprintf("image %s sets no %s, so it seems to hold no Functions host, without which Azure never starts it: "+
		"build it from mcr.microsoft.com/azure-functions/base:4", image, protocol.ScriptRootEnv)
}

// notReadyCause returns the likely cause of a failed run whose app did not come up, for the end of its message, or "".
func notReadyCause(c store.Container, failed *invoker.Error) string {
	switch {
	case failed.Kind != invoker.KindNotReady, strings.Contains(failed.Error(), "429"): // the latter is a busy Azure
		return ""
	case lacksHost(c):
		return "; " + noHost(c.Config.Image)
	}
	return "; likely causes are that Azure cannot pull the image, that the image holds no Functions host, that the " +
		"storage account is gone or refuses the app, or that the service plan has too little memory for one more app: " +
		"then remove containers, or use a larger service plan"
}
