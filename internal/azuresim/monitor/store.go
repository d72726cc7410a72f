package monitor

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// Sink takes rows of telemetry. Store is one.
type Sink interface {
	// Append adds one row to a table; see Store.Append.
	Append(table string, row map[string]any)
}

// Config sets up a Store.
type Config struct {
	// IngestionDelay returns the time after which queries see a row. It is called once for each row; nil means no delay.
	IngestionDelay func() time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// maxRows is the service's limit on the rows of a result.
const maxRows = 500_000

// Store keeps the tables in memory. Its methods may be called from several goroutines.
type Store struct {
	delay  func() time.Duration
	now    func() time.Time
	limit  int
	schema map[string][]column

	mu   sync.Mutex
	rows map[string][]stored
}

// stored is a row that queries see once it has arrived.
type stored struct {
	vals    row
	arrived time.Time
}

// New returns a Store with empty tables.
func New(cfg Config) *Store {
	s := &Store{delay: cfg.IngestionDelay, now: cfg.Now, limit: maxRows, schema: schema(), rows: map[string][]stored{}}
	if s.delay == nil {
		s.delay = func() time.Duration { return 0 }
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Append adds a row, which shows in queries after the ingestion delay. TimeGenerated defaults to now, ItemCount to 1
// and Type to the table's name. A row with a TenantId shows only in the Log Analytics workspace of that id, another row
// in all.
//
// Values are strings, bools, integers, floats, time.Time, and for dynamic columns anything that encoding/json can
// encode; nil is null. Messages are trimmed and cut as Application Insights does. Append panics on an unknown table or
// column and on a value of the wrong type: these are errors of the program.
func (s *Store) Append(table string, values map[string]any) {
	cols, ok := s.schema[table]
	if !ok {
		panic(fmt.Sprintf("monitor: append to unknown table %s", table))
	}
	now := s.now()
	r := stored{vals: make(row, len(cols)), arrived: now.Add(s.delay())}
	known := 0
	for i, c := range cols {
		v, ok := values[c.name]
		if ok {
			known++
		}
		if v == nil {
			switch c.name {
			case "TimeGenerated":
				v = now
			case "ItemCount":
				v = 1
			case "Type":
				v = table
			}
		}
		if r.vals[i], ok = valueOf(c.kind, v); !ok {
			panic(fmt.Sprintf("monitor: append to %s: %T is not a value of column %s %s", table, v, c.name, c.kind))
		}
		if c.name == "Message" {
			r.vals[i] = kept(r.vals[i].(string))
		}
	}
	if known != len(values) {
		for name := range values {
			if !slices.ContainsFunc(cols, func(c column) bool { return c.name == name }) {
				panic(fmt.Sprintf("monitor: append to %s: unknown column %s", table, name))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[table] = append(s.rows[table], r)
}

// maxMessage is the number of UTF-16 code units that Application Insights keeps of a trace's message: TrimAndTruncate
// and MaxMessageLength in Microsoft.ApplicationInsights/Extensibility/Implementation/Property.cs of
// https://github.com/microsoft/ApplicationInsights-dotnet
const maxMessage = 32_768

// kept returns what Application Insights keeps of a message.
func kept(message string) string {
	message = strings.TrimSpace(message)
	if len(message) <= maxMessage { // in bytes, of which there are as many as code units, or more
		return message
	}
	units := utf16.Encode([]rune(message))
	return string(utf16.Decode(units[:min(len(units), maxMessage)]))
}

// valueOf returns v as a column of kind k holds it.
func valueOf(k kind, v any) (any, bool) {
	if v == nil {
		return k.null(), true
	}
	rv := reflect.ValueOf(v)
	switch k {
	case kString:
		if rv.Kind() == reflect.String {
			return rv.String(), true
		}
	case kInt, kLong:
		if rv.CanInt() {
			return rv.Int(), true
		}
	case kReal:
		if rv.CanFloat() {
			return rv.Float(), true
		}
		if rv.CanInt() {
			return float64(rv.Int()), true
		}
	case kBool:
		if rv.Kind() == reflect.Bool {
			return rv.Bool(), true
		}
	case kDatetime:
		if t, ok := v.(time.Time); ok {
			return t.UTC().Truncate(tick), true
		}
	case kDynamic:
		return toDynamic(v)
	}
	return nil, false
}

// visible returns the rows of a table that a Log Analytics workspace sees now.
func (s *Store) visible(table, workspace string, now time.Time) []row {
	tenant := slices.IndexFunc(s.schema[table], func(c column) bool { return c.name == "TenantId" })
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []row
	for _, r := range s.rows[table] {
		owner := r.vals[tenant].(string)
		if !r.arrived.After(now) && (owner == "" || strings.EqualFold(owner, workspace)) {
			out = append(out, r.vals)
		}
	}
	return out
}

// schema returns the tables with their columns (Azure Monitor's table reference).
func schema() map[string][]column {
	common := func(cols ...column) []column {
		return append(cols,
			column{"OperationId", kString}, column{"OperationName", kString}, column{"ParentId", kString},
			column{"AppRoleName", kString}, column{"AppRoleInstance", kString}, column{"AppVersion", kString},
			column{"SDKVersion", kString}, column{"ClientIP", kString}, column{"ItemCount", kInt},
			column{"Properties", kDynamic}, column{"ResourceGUID", kString}, column{"SourceSystem", kString},
			column{"TenantId", kString}, column{"Type", kString}, column{"_ResourceId", kString},
			column{"_SubscriptionId", kString},
		)
	}
	return map[string][]column{
		"AppTraces": common(
			column{"TimeGenerated", kDatetime}, column{"Message", kString}, column{"SeverityLevel", kInt},
		),
		"AppRequests": common(
			column{"TimeGenerated", kDatetime}, column{"Id", kString}, column{"Name", kString}, column{"Url", kString},
			column{"Success", kBool}, column{"ResultCode", kString}, column{"DurationMs", kReal}, column{"Source", kString},
			column{"Measurements", kDynamic},
		),
	}
}
