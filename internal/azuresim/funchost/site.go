package funchost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	errTooManyRestarts = errors.New(
		"exceeded http worker restart retry count for runtime: custom. Shutting down Functions Host")
	errNotCustom = errors.New(
		"FUNCTIONS_WORKER_RUNTIME is not custom: the host looks for functions of another language")
)

// site is what host.json and function.json of the image describe.
type site struct {
	scriptRoot string // folder of host.json
	executable string // "": host.json is missing, and there is no function
	args       []string
	workDir    string
	forward    bool
	prefix     string
	timeout    time.Duration
	functions  []function
}

// function is one HTTP function.
type function struct {
	name    string
	route   *regexp.Regexp
	methods []string
	level   string
	simple  bool // exactly one HTTP trigger and one HTTP output: the host forwards only those
}

// load reads host.json and function.json.
func (h *host) load() (*site, error) {
	if h.getenv("FUNCTIONS_WORKER_RUNTIME") != "custom" {
		return nil, errNotCustom
	}
	if value := h.getenv("WEBSITE_RUN_FROM_PACKAGE"); value != "" && value != "0" {
		return nil, errors.New("WEBSITE_RUN_FROM_PACKAGE: the package, which is missing, hides wwwroot")
	}
	if h.getenv("CONTAINER_NAME") != "" {
		// The host takes it for a sign of Linux Consumption and ends (github.com/Azure/azure-functions-host/issues/11222).
		return nil, errors.New("CONTAINER_NAME is set: the host takes this for Linux Consumption and crashes")
	}
	// On App Service, the host looks for functions below HOME and not in AzureWebJobsScriptRoot
	// (github.com/Azure/azure-functions-host, WebScriptHostConfigurationSource.cs).
	s := &site{scriptRoot: h.path(path.Join("/", h.getenv("HOME"), "site/wwwroot"))}
	// The host creates a file of its own where host.json is missing (HostJsonFileConfigurationSource.cs).
	if err := s.readHostJSON(h); errors.Is(err, fs.ErrNotExist) {
		return &site{}, nil
	} else if err != nil {
		return nil, err
	}
	return s, s.readFunctions()
}

// path returns where a file of the image is.
func (h *host) path(name string) string {
	if h.Root == "" || strings.HasPrefix(name, h.Root+"/") {
		return name
	}
	return filepath.Join(h.Root, name)
}

// readHostJSON reads host.json, with the app settings that override it.
func (s *site) readHostJSON(h *host) error {
	content, err := os.ReadFile(filepath.Join(s.scriptRoot, "host.json"))
	if err != nil {
		return fmt.Errorf("read host.json: %w", err)
	}
	var host struct {
		FunctionTimeout string `json:"functionTimeout"`
		CustomHandler   *struct {
			Description struct {
				DefaultExecutablePath string   `json:"defaultExecutablePath"`
				WorkingDirectory      string   `json:"workingDirectory"`
				Arguments             []string `json:"arguments"`
			} `json:"description"`
			EnableForwarding bool `json:"enableForwardingHttpRequest"`
			EnableProxying   bool `json:"enableProxyingHttpRequest"`
		} `json:"customHandler"`
		Extensions struct {
			HTTP struct {
				RoutePrefix *string `json:"routePrefix"`
			} `json:"http"`
		} `json:"extensions"`
	}
	if err := json.Unmarshal(content, &host); err != nil {
		return fmt.Errorf("read host.json: %w", err)
	}
	if host.CustomHandler == nil || host.CustomHandler.Description.DefaultExecutablePath == "" {
		return errors.New("host.json names no customHandler.description.defaultExecutablePath")
	}
	expand := func(text string) string {
		return variable.ReplaceAllStringFunc(text, func(name string) string { return h.getenv(strings.Trim(name, "%")) })
	}
	d := host.CustomHandler.Description
	s.workDir = filepath.Join(s.scriptRoot, expand(d.WorkingDirectory))
	if executable := expand(d.DefaultExecutablePath); path.IsAbs(executable) {
		s.executable = h.path(executable)
	} else {
		s.executable = filepath.Join(s.workDir, executable)
	}
	for i, argument := range d.Arguments {
		d.Arguments[i] = expand(argument)
	}
	s.args = splitArguments(d.Arguments)
	s.forward = host.CustomHandler.EnableForwarding || host.CustomHandler.EnableProxying
	s.prefix = "api"
	if p := host.Extensions.HTTP.RoutePrefix; p != nil {
		s.prefix = strings.Trim(*p, "/")
	}
	timeout := host.FunctionTimeout
	if v := h.getenv("AzureFunctionsJobHost__functionTimeout"); v != "" {
		timeout = v
	}
	s.timeout, err = parseTimeout(timeout)
	return err
}

var variable = regexp.MustCompile(`%[^%]+%`)

// defaultTimeout is the host's on Premium and Dedicated service plans.
const defaultTimeout = 30 * time.Minute

// parseTimeout reads hh:mm:ss. It returns 0 for -1, which means no limit.
func parseTimeout(text string) (time.Duration, error) {
	switch text {
	case "":
		return defaultTimeout, nil
	case "-1":
		return 0, nil
	}
	var hours, minutes, seconds int
	if _, err := fmt.Sscanf(text, "%d:%d:%d", &hours, &minutes, &seconds); err != nil {
		return 0, fmt.Errorf("functionTimeout %q is not hh:mm:ss", text)
	}
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second, nil
}

// readFunctions reads the function.json in each folder beside host.json.
func (s *site) readFunctions() error {
	files, err := filepath.Glob(filepath.Join(s.scriptRoot, "*", "function.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var def struct {
			Bindings []struct {
				Type, Direction, AuthLevel string
				Route                      *string
				Methods                    []string
			}
		}
		name := filepath.Base(filepath.Dir(file))
		if err := json.Unmarshal(content, &def); err != nil {
			return fmt.Errorf("read function %s: %w", name, err)
		}
		outputs := 0
		f := function{name: name}
		for _, b := range def.Bindings {
			switch strings.ToLower(b.Type) {
			case "httptrigger":
				route := name
				if b.Route != nil {
					route = *b.Route
				}
				f.route = compileRoute(s.prefix + "/" + strings.Trim(route, "/"))
				f.level = strings.ToLower(b.AuthLevel)
				for _, m := range b.Methods {
					f.methods = append(f.methods, strings.ToUpper(m))
				}
			case "http":
				outputs++
			}
		}
		if f.route != nil {
			f.simple = len(def.Bindings) == 2 && outputs == 1
			s.functions = append(s.functions, f)
		}
	}
	return nil
}

// compileRoute knows {name}, {name?}, {name:constraint} (the constraint is not checked) and {*rest}.
func compileRoute(route string) *regexp.Regexp {
	var pattern strings.Builder
	for segment := range strings.SplitSeq(strings.Trim(route, "/"), "/") {
		switch {
		case strings.HasPrefix(segment, "{*"):
			pattern.WriteString("(?:/.*)?")
		case strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "?}"):
			pattern.WriteString("(?:/[^/]+)?")
		case strings.HasPrefix(segment, "{"):
			pattern.WriteString("/[^/]+")
		default:
			pattern.WriteString("/" + regexp.QuoteMeta(segment))
		}
	}
	return regexp.MustCompile("(?i)^" + pattern.String() + "/?$")
}

// find returns the function that answers a request. known reports whether the route exists for another method.
func (s *site) find(r *http.Request) (f function, known, ok bool) {
	for _, f := range s.functions {
		if !f.route.MatchString(r.URL.Path) {
			continue
		}
		if len(f.methods) == 0 || slices.Contains(f.methods, r.Method) {
			return f, true, true
		}
		known = true
	}
	return function{}, known, false
}
