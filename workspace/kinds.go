package workspace

import "path/filepath"

// Kind of a workspace.
type Kind string

// Kinds of workspaces.
const (
	KindContainer   Kind = "container"
	KindServicePlan Kind = "service-plan"
	KindFoundation  Kind = "foundation"
)

// FoundationID is the name of the foundation's workspace.
const FoundationID = "foundation"

// ServicePlanWorkspace returns the name of the workspace of a service plan.
func ServicePlanWorkspace(id string) string { return plansDir + "/" + id }

// KindOf returns the kind of the workspace with a name: FoundationID, what ServicePlanWorkspace has returned, or a
// container's id.
func KindOf(name string) Kind {
	switch {
	case name == FoundationID:
		return KindFoundation
	case filepath.Dir(name) == plansDir:
		return KindServicePlan
	default:
		return KindContainer
	}
}

// nameOf returns the name of the workspace in a folder.
func (m *Manager) nameOf(dir string) string {
	if dir == m.ServicePlanPath(filepath.Base(dir)) {
		return ServicePlanWorkspace(filepath.Base(dir))
	}
	return filepath.Base(dir)
}
