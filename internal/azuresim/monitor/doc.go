// Package monitor is the Log Analytics side of the simulator: it keeps rows of the Application Insights tables and
// answers the query API over them, POST /v1/workspaces/{id}/query.
//
// It owns tables, their ingestion delay, and the part of KQL that package logs sends. It must not know who appends
// rows, and it checks no tokens: package azuresim does. It imports no package of this module, and not testing.
//
//	store := monitor.New(monitor.Config{IngestionDelay: func() time.Duration { return 2 * time.Second }})
//	store.Append("AppTraces", map[string]any{"Message": "hello", "SeverityLevel": 1, "AppRoleName": "app"})
//	mux.Handle("/v1/workspaces/", store)
//
// # Language
//
// The subset is strict: the package refuses everything that is not listed here, with its name and position, as a
// SyntaxError or a SemanticError in the form of the API. Types are checked even where there are no rows. Names are
// case-sensitive. A new query in package logs that needs more has to add it here, with a test.
//
//	query     = ( Table | union ) { "|" operator }
//	union     = "union" "isfuzzy" "=" "true" leg { "," leg }
//	leg       = Table | "(" "datatable" "(" name ":" type { "," name ":" type } ")" "[" "]" ")"
//	operator  = "where" expr
//	          | "extend" name "=" expr { "," name "=" expr }
//	          | "project" item { "," item }             item = column | name "=" expr
//	          | "order" "by" key { "," key }            key = column ( "asc" | "desc" )
//	          | "take" integer
//	          | "summarize" "arg_min" "(" column { "," column } ")" "by" column { "," column }
//	expr      = or-terms of and-terms of comparisons, by "or" and "and"; "not" is a function
//	comparison= value [ op value | "in" "(" value { "," value } ")" | "between" "(" value ".." value ")" ]
//	op        = "==" | "!=" | "=~" | "<=" | ">=" | "endswith"
//	value     = primary { "." name }
//	primary   = literal | column | function "(" expr { "," expr } ")"
//	literal   = "text" | 1 | -1 | datetime(2026-01-31T12:00:00Z) | dynamic(JSON)
//	type      = string int long real bool datetime dynamic
//	function  = array_index_of coalesce extract iff isnotempty not parse_json row_cumsum strcat string_size
//	            todatetime tolong tostring
//
// As in Kusto, nulls come first in ascending and last in descending order; a string is never null; null == null and
// null <= x are null, null != x is true; "and", "or" and "not" have three values, and where drops a null. A union
// passes over tables that do not exist, but fails when none does. A dynamic value has to be cast before it is compared.
// =~ and endswith ignore case. iff treats a null condition as false; coalesce passes over empty strings as well;
// array_index_of counts from 0, is -1 for a value that is not in the array, and null if its first argument is not an
// array. arg_min's columns keep their names; of a group in which its first column is null throughout it picks any row.
// take behind order takes the first rows in that order; row_cumsum is refused where rows have no order.
//
// A result ends at 500,000 rows, with a PartialError beside the rows, as the service does.
package monitor
