package gate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/policy"
)

// Decision is what the answers of policies mean.
type Decision struct {
	Verdicts []api.PolicyVerdict
	// Override is nil when none was asked for.
	Override *api.PolicyOverride
	// Digest is that of the policies that were asked. Others may be in force by now.
	Digest string

	asked     Context
	sets      []policy.Set
	misuse    string // why the override that was asked for is refused, "" if it is not
	contact   string
	overrides []string // who may override, if only soft sets refuse
}

// limits of what is kept and said of one verdict.
const (
	maxMessages     = 100
	maxMessageRunes = 1000
	saidMessages    = 5
)

// minReason is the number of characters that the reason of an override has at least.
const minReason = 10

// judge decides what answers mean for who asks. all are the policies that there are, whether they were asked or not.
func judge(asked Context, said []policy.Verdict, all []policy.Set, contact string) Decision {
	d := Decision{asked: asked, contact: contact}
	may := maySkip(asked.Requester)
	if asked.Override != nil {
		override := *asked.Override
		override.Allowed = slices.ContainsFunc(all, may)
		d.Override, d.misuse = &override, misuse(asked, override.Allowed)
	}
	for _, v := range said {
		d.sets = append(d.sets, v.Set)
		one := api.PolicyVerdict{
			Set: v.Set.Name, Digest: v.Digest, Enforcement: string(v.Set.Enforcement), Result: api.PolicyAllow,
			Deny: texts(v.Deny), Warn: texts(v.Warn), Exceptions: v.Exceptions,
		}
		switch {
		case v.Err != nil:
			one.Result, one.Error = api.PolicyError, plain(v.Err.Error())
		case len(v.Deny) > 0:
			one.Result = api.PolicyDeny
		case len(v.Warn) > 0:
			one.Result = api.PolicyWarn
		}
		if d.Override != nil && d.misuse == "" && one.Refuses() && may(v.Set) {
			one.Result = api.PolicyOverridden
		}
		d.Verdicts = append(d.Verdicts, one)
	}
	refusing := 0
	for i, v := range d.Verdicts {
		if v.Refuses() {
			refusing++
			if v.Enforcement == string(policy.Soft) {
				d.overrides = append(d.overrides, d.sets[i].Override...)
				refusing--
			}
		}
	}
	if refusing > 0 {
		d.overrides = nil // a hard set refuses, too
	}
	return d
}

// misuse returns why an override that was asked for is refused.
func misuse(asked Context, may bool) string {
	switch {
	case !may:
		return fmt.Sprintf("the label %s asks for an override, and %s may override none of the policies: remove the label",
			api.OverrideLabel, asked.Requester)
	case len([]rune(asked.Override.Reason)) < minReason:
		return fmt.Sprintf("the label %s gives the reason %q, which is shorter than %d characters: say why",
			api.OverrideLabel, asked.Override.Reason, minReason)
	}
	return ""
}

// maySkip returns the function that reports whether a requester may override a policy.
func maySkip(r api.Requester) func(policy.Set) bool {
	return func(s policy.Set) bool { return s.Enforcement == policy.Soft && mayOverride(r, s.Override) }
}

// mayOverride reports whether a verified requester is among those who may.
func mayOverride(r api.Requester, listed []string) bool {
	return slices.ContainsFunc(listed, func(entry string) bool {
		kind, value, _ := strings.Cut(entry, ":")
		switch r.Kind {
		case api.RequesterUnix:
			return kind == "uid" && r.UID != nil && strconv.FormatUint(uint64(*r.UID), 10) == value ||
				kind == "user" && r.User == value || kind == "group" && slices.Contains(r.Groups, value)
		case api.RequesterMTLS:
			return kind == "cn" && r.CommonName == value || kind == "san" && slices.Contains(r.Names, value)
		}
		return false
	})
}

// CheckOverride returns an error unless an entry of a list of who may override has a form that can be compared.
func CheckOverride(entry string) error {
	kind, value, ok := strings.Cut(entry, ":")
	if ok && value != "" {
		switch kind {
		case "uid":
			if _, err := strconv.ParseUint(value, 10, 32); err == nil {
				return nil
			}
		case "user", "group", "cn", "san":
			return nil
		}
	}
	return fmt.Errorf("%q: use uid:0, user:NAME, group:NAME, or cn:NAME and san:NAME of client certificates", entry)
}

// Refused reports whether the policies stand in the way.
func (d Decision) Refused() bool {
	return d.misuse != "" || slices.ContainsFunc(d.Verdicts, api.PolicyVerdict.Refuses)
}

// silent reports whether no policy has anything to say.
func (d Decision) silent() bool {
	return d.misuse == "" && !slices.ContainsFunc(d.Verdicts, func(v api.PolicyVerdict) bool {
		return v.Result != api.PolicyAllow
	})
}

// Warnings returns what policies warn of, and what they deny without standing in the way.
func (d Decision) Warnings() []string { return Warnings(d.Verdicts) }

// Warnings returns what verdicts warn of, and what they deny without standing in the way.
func Warnings(verdicts []api.PolicyVerdict) (list []string) {
	for _, v := range verdicts {
		for _, text := range v.Warn {
			list = append(list, fmt.Sprintf("policy %s warns: %s", v.Set, text))
		}
		if v.Refuses() {
			continue
		}
		for _, text := range v.Deny {
			if v.Result == api.PolicyOverridden {
				list = append(list, fmt.Sprintf("policy %s is overridden: %s", v.Set, text))
			} else {
				list = append(list, fmt.Sprintf("policy %s would refuse this if it was enforced: %s", v.Set, text))
			}
		}
		if v.Error != "" {
			list = append(list, fmt.Sprintf("policy %s cannot be evaluated: %s", v.Set, v.Error))
		}
	}
	return list
}

// Refusal is the error of what policies refuse. It wraps the *api.Error for the client.
type Refusal struct {
	Err *api.Error
	// Record is the number of the record in the audit trail.
	Record int64
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Err returns the *Refusal of a decision whose record has this number, or nil.
func (d Decision) Err(record int64) error {
	if !d.Refused() {
		return nil
	}
	kind, text, more := d.reasons(saidMessages)
	if more > 0 {
		text += fmt.Sprintf("; and %d more: sockerless-backend-azf audit show %d", more, record)
	}
	if len(d.overrides) > 0 && d.misuse == "" && d.asked.Action == Create {
		text += fmt.Sprintf(". These may override it (%s): --label %s=\"reason\"",
			strings.Join(d.overrides, ", "), api.OverrideLabel)
	}
	text += fmt.Sprintf(". Record %d", record)
	if d.contact != "" {
		text += "; " + d.contact
	}
	return &Refusal{Err: api.Errorf(kind, "%s", text), Record: record}
}

// Reasons returns why the policies refuse it, "" if they do not.
func (d Decision) Reasons() string {
	_, text, _ := d.reasons(maxMessages)
	return text
}

// reasons returns the kind of the error, up to most messages, and the number of those that are left out.
func (d Decision) reasons(most int) (kind api.Kind, text string, more int) {
	what := "the plan"
	switch {
	case d.asked.Stage == string(policy.StageRequest):
		what = "the request"
	case d.asked.Action == Foundation:
		what = "the plan of what containers share"
	case d.asked.Action == ServicePlan:
		what = "the plan of a service plan"
	}
	var parts []string
	kind = api.Internal
	if d.misuse != "" {
		kind, parts = api.Forbidden, append(parts, d.misuse)
	}
	for _, v := range d.Verdicts {
		switch {
		case !v.Refuses():
			continue
		case v.Error != "":
			parts = append(parts, fmt.Sprintf("policy %s cannot be evaluated: %s", v.Set, v.Error))
			continue
		}
		kind = api.Forbidden
		now := min(most, len(v.Deny))
		most, more = most-now, more+len(v.Deny)-now
		if now > 0 {
			parts = append(parts, fmt.Sprintf("policy %s refuses %s: %s", v.Set, what, strings.Join(v.Deny[:now], "; ")))
		}
	}
	return kind, strings.Join(parts, "; "), more
}

// texts returns messages in the form in which they are kept: a bounded number of bounded length, without characters
// that could change a line or a terminal.
func texts(messages []policy.Message) (list []string) {
	for i, m := range messages {
		if i == maxMessages {
			return append(list, fmt.Sprintf("%d more messages are not kept", len(messages)-i))
		}
		m.Text = plain(m.Text)
		list = append(list, m.String())
	}
	return list
}

// plain returns a text of a bounded length on one line, without control and format characters.
func plain(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if runes := []rune(text); len(runes) > maxMessageRunes {
		return string(runes[:maxMessageRunes]) + "…"
	}
	return text
}
