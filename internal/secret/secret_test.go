package secret

import "testing"

// TestEachForm writes a secret as the programs do that print it.
func TestEachForm(t *testing.T) {
	const value = `p"a<s>s\w ${x}/ö?`
	hide := New(value, "first line\nsecond line", "1", "")
	for name, text := range map[string]string{
		"plain": value, "JSON": `p\"a<s>s\\w ${x}/ö?`, "JSON for HTML": `p\"a\u003cs\u003es\\w ${x}/ö?`,
		"JSON in JSON": `p\\\"a<s>s\\\\w ${x}/ö?`, "HCL": `p"a<s>s\w $${x}/ö?`, "HCL in quotes": `p\"a<s>s\\w $${x}/ö?`,
		"a query": `p%22a%3Cs%3Es%5Cw+%24%7Bx%7D%2F%C3%B6%3F`, "a path": `p%22a%3Cs%3Es%5Cw%20$%7Bx%7D%2F%C3%B6%3F`,
		"base64": "cCJhPHM+c1x3ICR7eH0vw7Y/", "a line": "second line", "a token": "eyJ0eXAiOiJKV1Q.eyJhdWQiOiJodHRwczov.c2ln",
	} {
		if got := hide.Hide("<" + text + ">"); got != "<"+Hidden+">" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	const plain = `1 command "line" p"a`
	if got := hide.Hide(plain); got != plain {
		t.Errorf("got %q, want it as it was", got)
	}
}
