package workspace

import "testing"

// TestIDsInAnotherCase has Azure answer ids in another case than they were sent in: nothing is to change for that.
func TestIDsInAnotherCase(t *testing.T) {
	m, sim := cloud(t)
	spec, shared := foundation(t, m)
	again, err := m.Foundation(t.Context(), shared, nil)
	if err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("the second plan of the foundation is %+v, %v", again.Operation.Plan, err)
	}
	existing, err := peer(t, m, func(*Config) {}).Foundation(t.Context(), named(shared), nil)
	if err != nil || existing.LogAnalyticsID != again.LogAnalyticsID {
		t.Errorf("as existing resources: got %+v, want %+v, %v", existing, again, err)
	}
	if again := servicePlan(t, m, FirstServicePlan); again.Operation.Plan != (Changes{}) {
		t.Errorf("the second plan of the service plan is %+v", again.Operation.Plan)
	}
	id, clientID := sim.Identity()
	spec.Identity = &Identity{ID: id, ClientID: clientID}
	for _, want := range []Changes{{Add: 1}, {}} {
		outputs, err := m.Provision(t.Context(), testID, spec, nil)
		if err != nil || outputs.Operation.Plan != want {
			t.Errorf("got %+v, %v, want %+v", outputs.Operation.Plan, err, want)
		}
	}
	wantDestroyed(t, m, sim)
}
