package azuresim

import (
	"strings"
	"testing"
)

func TestMemoryOfSKUs(t *testing.T) {
	t.Parallel()
	for names, memory := range map[string][]float64{
		"F1": {1}, "D1": {1}, "SHARED": {1}, "Y1": {1.5}, "FC1": {2},
		"B1 B2 B3": {1.75, 3.5, 7}, "S1 S2 S3": {1.75, 3.5, 7}, "EP1 EP2 EP3": {3.5, 7, 14}, "WS1 WS2 WS3": {3.5, 7, 14},
		"P1v2 P2v2 P3v2": {3.5, 7, 14}, "P0v3 P1v3 P2v3 P3v3": {4, 8, 16, 32}, "P0v4 P1v4 P2v4 P3v4": {4, 8, 16, 32},
		"P1mv3 P2mv3 P3mv3 P4mv3 P5mv3": {16, 32, 64, 128, 256}, "P1mv4 P2mv4 P3mv4 P4mv4 P5mv4": {16, 32, 64, 128, 256},
		"I1 I2 I3": {3.5, 7, 14}, "I1v2 I2v2 I3v2 I4v2 I5v2 I6v2": {8, 16, 32, 64, 128, 256},
		"I1mv2 I2mv2 I3mv2 I4mv2 I5mv2": {16, 32, 64, 128, 256},
	} {
		for i, name := range strings.Fields(names) {
			for _, spelt := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
				if sku, ok := skuOf(spelt); !ok || sku.memory != memory[i] {
					t.Errorf("%s has %v GB, %v; want %v", spelt, sku.memory, ok, memory[i])
				}
			}
		}
	}
	for _, name := range []string{"", "B", "B0", "B4", "B11", "P0v2", "P4v3", "P6mv4", "EP0", "I7v2", "xB1"} {
		if _, ok := skuOf(name); ok {
			t.Errorf("%q is a SKU", name)
		}
	}
	for name, family := range map[string]string{"B1": "B", "P1v3": "Pv3", "P0v4": "Pv4", "P2mv3": "Pmv3", "EP2": "EP"} {
		if got := familyOf(name); got != family {
			t.Errorf("%s is of the family %q, want %q", name, got, family)
		}
	}
}
