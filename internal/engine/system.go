package engine

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// Ready implements api.Backend.
func (e *Engine) Ready(ctx context.Context) error {
	select {
	case <-e.stopping:
		return api.Errorf(api.Unavailable, "the daemon is stopping")
	default:
	}
	if _, err := e.cfg.Store.LastEvent(ctx); err != nil {
		return api.Errorf(api.Unavailable, "the database does not answer: %w", err)
	}
	return nil
}

// Version implements api.Backend.
func (e *Engine) Version(context.Context) api.Version {
	v := api.Version{
		Version: e.cfg.Version, APIVersion: api.APIVersion, MinAPIVersion: api.MinAPIVersion,
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, KernelVersion: kernelVersion(),
		Components: e.cfg.Components,
	}
	v.Platform.Name = "sockerless-backend-azf"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.GitCommit = setting.Value
			case "vcs.time":
				v.BuildTime = setting.Value
			}
		}
	}
	return v
}

// Info implements api.Backend. Processors and memory are those of the daemon's machine. The SKU of the service plan
// decides what a container has.
func (e *Engine) Info(ctx context.Context) (api.Info, error) {
	s := e.cfg.Settings
	host, err := os.Hostname()
	if err != nil {
		return api.Info{}, fmt.Errorf("read host name: %w", err)
	}
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return api.Info{}, fmt.Errorf("read memory size: %w", err)
	}
	info := api.Info{
		// An owner in a resource group identifies the daemon.
		ID:   uuid.NewSHA1(uuid.NameSpaceURL, []byte("azf:"+s.ResourceGroup+"/"+s.Owner)).String(),
		Name: host, ServerVersion: e.cfg.Version, Driver: "azf",
		DriverStatus: [][2]string{
			{"Resource Group", s.ResourceGroup}, {"Location", s.Location}, {"Storage Account", s.StorageAccount},
			{"Owner", s.Owner},
		},
		OSType: "linux", OperatingSystem: "Azure Functions (" + s.Location + ")", Architecture: "x86_64",
		KernelVersion: kernelVersion(), NCPU: runtime.NumCPU(), MemTotal: int64(memory.Totalram) * int64(memory.Unit),
		SystemTime: e.cfg.Store.Now().UTC().Format(time.RFC3339Nano), LoggingDriver: "log-analytics",
		IndexServerAddress: "https://index.docker.io/v1/",
	}
	info.Swarm.LocalNodeState = "inactive"
	info.CgroupDriver, info.CgroupVersion, info.DefaultRuntime = "none", "2", defaultRuntime
	info.Runtimes = map[string]api.Runtime{defaultRuntime: {}}
	info.RegistryConfig = &api.RegistryConfig{}
	// What Docker's clients warn of when it is false. None of it is a matter of this machine.
	info.MemoryLimit, info.SwapLimit, info.PidsLimit, info.IPv4Forwarding = true, true, true, true
	info.CPUCfsPeriod, info.CPUCfsQuota, info.CPUShares, info.CPUSet, info.OomKillDisable = true, true, true, true, true
	if sku := s.sku(); s.AppServicePlan == "" && !runsImages(sku) {
		info.Warnings = append(info.Warnings, "WARNING: "+noImagesWarning(sku))
	}
	orphans, err := e.orphanWarnings(ctx)
	if err != nil {
		return api.Info{}, err
	}
	policies, err := e.policyWarnings(ctx)
	if err != nil {
		return api.Info{}, err
	}
	plans, planWarnings, err := e.poolStatus(ctx)
	if err != nil {
		return api.Info{}, err
	}
	info.DriverStatus = append(info.DriverStatus, plans...)
	info.Warnings = slices.Concat(info.Warnings, planWarnings, e.strayWarnings(), orphans, e.trailWarnings(), policies,
		e.foundationWarnings())
	if p := e.derivedProblem.Load(); p != nil {
		info.Warnings = append(info.Warnings, "WARNING: "+*p)
	}
	if e.cfg.Wrapper != nil {
		derived, err := e.cfg.Store.CountDerived(ctx)
		if err != nil {
			return api.Info{}, err
		}
		info.DriverStatus = append(info.DriverStatus, [2]string{"Wrapped Images", strconv.Itoa(derived)})
	}
	if digest := e.cfg.Gate.Digest(); digest != "" {
		info.DriverStatus = append(info.DriverStatus, [2]string{"Policy Digest", digest})
	}
	counts, err := e.cfg.Store.CountContainers(ctx)
	if err != nil {
		return api.Info{}, err
	}
	for state, n := range counts {
		info.Containers += n
		if state == store.Running {
			info.ContainersRunning += n
		} else {
			info.ContainersStopped += n
		}
	}
	images, err := e.ImageList(ctx, api.ImageListOptions{})
	info.Images = len(images)
	api.NoNulls(&info)
	api.NoNulls(info.RegistryConfig)
	return info, err
}

// kernelVersion returns the release of the daemon's kernel, or "" if the kernel does not answer.
func kernelVersion() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// SystemDf implements api.Backend. Containers have no sizes, because nothing takes space here. An image's size is the
// one in its registry.
func (e *Engine) SystemDf(ctx context.Context) (api.DiskUsage, error) {
	images, err := e.ImageList(ctx, api.ImageListOptions{All: true})
	if err != nil {
		return api.DiskUsage{}, err
	}
	containers, err := e.ContainerList(ctx, api.ListOptions{All: true})
	if err != nil {
		return api.DiskUsage{}, err
	}
	df := api.DiskUsage{Images: images, Containers: containers, Volumes: []api.Volume{}, BuildCache: []struct{}{}}
	users := map[string]int64{}
	for _, c := range containers {
		users[c.ImageID]++
		if c.State == api.ContainerState(store.Running) {
			df.ContainerUsage.ActiveCount++
		}
	}
	for i := range images {
		df.LayersSize += images[i].Size
		if images[i].Containers = users[images[i].ID]; images[i].Containers > 0 {
			df.ImageUsage.ActiveCount++
		}
	}
	df.ImageUsage.Items, df.ImageUsage.TotalCount, df.ImageUsage.TotalSize = images, int64(len(images)), df.LayersSize
	df.ContainerUsage.Items, df.ContainerUsage.TotalCount = containers, int64(len(containers))
	api.NoNulls(&df)
	return df, nil
}
