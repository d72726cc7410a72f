package appimage

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
)

// Base returns the stand-in for Microsoft's azure-functions/base:4: nothing but the Functions host. program is the
// path of its executable, which must behave as package funchost says. Shared libraries that it needs are in the image,
// too.
func Base(program string) (v1.Image, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("build base image: %w", err)
	}
	files := map[string]File{
		funchost.Folder + "/" + funchost.Program: {Content: content, Mode: 0o755},
		"/etc/passwd":                            {Content: []byte("root:x:0:0:root:/root:/bin/sh\n"), Mode: 0o644},
		"/etc/group":                             {Content: []byte("root:x:0:\n"), Mode: 0o644},
	}
	needed, err := Libraries(program)
	if err != nil {
		return nil, fmt.Errorf("build base image: %w", err)
	}
	for _, library := range needed {
		if content, err = os.ReadFile(library); err != nil {
			return nil, fmt.Errorf("build base image: %w", err)
		}
		files[library] = File{Content: content, Mode: 0o755}
	}
	// As in github.com/Azure/azure-functions-docker, host/4/bookworm/dotnet.
	return Build(files, []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"AzureWebJobsScriptRoot=/home/site/wwwroot", "HOME=/home", "FUNCTIONS_WORKER_RUNTIME=dotnet",
		"DOTNET_USE_POLLING_FILE_WATCHER=true", "ASPNETCORE_CONTENTROOT=" + funchost.Folder,
		"ASPNETCORE_URLS=http://+:80",
	}, nil, funchost.Folder+"/"+funchost.Program)
}

// IsStatic reports whether an executable of this machine needs neither a loader nor shared libraries.
func IsStatic(program string) (bool, error) {
	loader, _, err := links(program)
	return loader == "", err
}

// Libraries returns the paths of the shared libraries that an executable of this machine needs, its loader among them;
// none for a static one.
func Libraries(program string) ([]string, error) {
	var found []string
	folders := []string{"/lib64", "/lib", "/usr/lib64", "/usr/lib", "/usr/local/lib"}
	for queue := []string{program}; len(queue) > 0; queue = queue[1:] {
		loader, needed, err := links(queue[0])
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", queue[0], err)
		}
		if loader != "" {
			target, err := filepath.EvalSymlinks(loader)
			if err != nil {
				return nil, err
			}
			folders = append([]string{filepath.Dir(target)}, folders...) // Debian has the libraries beside the loader
			found = append(found, loader)
		}
		for _, name := range needed {
			at := slices.IndexFunc(folders, func(dir string) bool {
				_, err := os.Stat(filepath.Join(dir, name))
				return err == nil
			})
			if at < 0 {
				return nil, fmt.Errorf("libraries of %s: %s: %w", queue[0], name, fs.ErrNotExist)
			}
			library := path.Join(folders[at], name)
			if !slices.ContainsFunc(found, func(f string) bool { return path.Base(f) == name }) {
				found, queue = append(found, library), append(queue, library)
			}
		}
	}
	return found, nil
}

// links returns the loader that an ELF file names, and the libraries that it needs.
func links(file string) (loader string, needed []string, err error) {
	f, err := elf.Open(file)
	if _, ok := errors.AsType[*elf.FormatError](err); ok {
		return "", nil, nil // a script
	}
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			content := make([]byte, p.Filesz)
			if _, err := p.ReadAt(content, 0); err != nil {
				return "", nil, err
			}
			loader = string(content[:max(0, len(content)-1)])
		}
	}
	needed, err = f.ImportedLibraries()
	return loader, needed, err
}
