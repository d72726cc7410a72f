package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// KeptPlan is the newest plan in a workspace that was applied to create or change its resources.
type KeptPlan struct {
	// Workspace is the name of the workspace, see KindOf. An archived one is that of a removed container or service plan.
	Workspace string
	Archived  bool
	// Plan is the path of the masked plan. Context is that of what Step.Keep has kept beside it, "" for a plan of an
	// earlier release.
	Plan, Context string
}

// KeptPlans lists the plans below the folder dir of all workspaces: the foundation, the service plans and the
// containers, each in the order of their ids, and then the archive. Workspaces in which nothing was applied are left
// out.
func KeptPlans(dir string, archived bool) (list []KeptPlan, err error) {
	if list, err = appendKept(list, filepath.Join(dir, FoundationID), FoundationID, false); err != nil {
		return nil, err
	}
	folders := []string{plansDir, containersDir}
	if archived {
		folders = append(folders, "archive")
	}
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list workspaces: %w", err)
		}
		for _, entry := range entries {
			name, _, _ := strings.Cut(entry.Name(), "-") // the second archived workspace of the same id is ID-2
			switch {
			case servicePlanPattern.MatchString(name):
				name = ServicePlanWorkspace(name)
			case !idPattern.MatchString(name):
				continue
			}
			if list, err = appendKept(list, filepath.Join(dir, folder, entry.Name()), name, folder == "archive"); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

func appendKept(list []KeptPlan, dir, name string, archived bool) ([]KeptPlan, error) {
	folders, _, err := operationFolders(dir)
	if err != nil {
		return nil, err
	}
	kept := KeptPlan{Workspace: name, Archived: archived}
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(folders))) {
		op, err := readVerdict(filepath.Join(folders[n], verdict))
		if err != nil {
			return nil, err
		}
		if op == nil || !op.Applied || op.Kind != string(applying) {
			continue
		}
		kept.Plan = filepath.Join(folders[n], maskedPlan)
		if path := filepath.Join(folders[n], contextFile); exists(path) {
			kept.Context = path
		}
		return append(list, kept), nil
	}
	if kept.Plan = filepath.Join(dir, "apply.plan.json"); exists(kept.Plan) { // as earlier releases kept it
		return append(list, kept), nil
	}
	return list, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
