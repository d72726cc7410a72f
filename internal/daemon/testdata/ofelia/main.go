// Ofelia sends what a job-run of ofelia 0.3 sends, with the client that ofelia uses: ofelia IMAGE COMMAND... It runs
// the job once and prints the container's output. Ofelia itself is no module that can be had from Go's proxy.
package main

import (
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	docker "github.com/fsouza/go-dockerclient"
)

func main() {
	log.SetFlags(0)
	client, err := docker.NewClientFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	if err := run(client, os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

// run pulls, creates a container without a name, starts it, asks every 100 ms whether it still runs, reads its logs
// and removes it without force.
func run(client *docker.Client, image string, command []string) (err error) {
	repository, tag := docker.ParseRepositoryTag(image)
	registry, _, _ := strings.Cut(repository, "/")
	pull := docker.PullImageOptions{Repository: repository, Registry: registry, Tag: tag}
	if err := client.PullImage(pull, docker.AuthConfiguration{}); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	created, err := client.CreateContainer(docker.CreateContainerOptions{
		Config:     &docker.Config{Image: image, Cmd: command, User: "root", AttachStdout: true, AttachStderr: true},
		HostConfig: &docker.HostConfig{}, NetworkingConfig: &docker.NetworkingConfig{},
	})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() {
		if failed := client.RemoveContainer(docker.RemoveContainerOptions{ID: created.ID}); failed != nil && err == nil {
			err = fmt.Errorf("remove: %w", failed)
		}
	}()
	started := time.Now()
	if err := client.StartContainer(created.ID, &docker.HostConfig{}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	running := true
	for running {
		time.Sleep(100 * time.Millisecond)
		//nolint:staticcheck // ofelia calls the older form
		info, err := client.InspectContainer(created.ID)
		if err != nil {
			return fmt.Errorf("inspect: %w", err)
		}
		if running = info.State.Running; !running && info.State.ExitCode != 0 {
			return fmt.Errorf("error non-zero exit code: %d", info.State.ExitCode)
		}
	}
	return client.Logs(docker.LogsOptions{
		Container: created.ID, OutputStream: os.Stdout, ErrorStream: os.Stderr,
		Stdout: true, Stderr: true, Since: started.Unix(),
	})
}
