// Package monitor is the Log Analytics side of the simulator: it keeps rows of the Application Insights tables and answers the
// query API over them, POST and GET /v1/workspaces/{id}/query.
//
// It owns tables, their ingestion delay, and a subset of KQL. It must not know who appends rows, and it checks no tokens: that
// is the front's part. It imports nothing of ours and no testing package.
//
//	store := monitor.New(monitor.Config{IngestionDelay: func() time.Duration { return 2 * time.Second }})
//	store.Append("AppTraces", map[string]any{"Message": "hello", "SeverityLevel": 1, "AppRoleName": "app"})
//	mux.Handle("/v1/workspaces/", store)
//
// # Language
//
// The subset is strict: what is not below is refused with its name and position, as a SyntaxError or a SemanticError in the form
// of the API, and types are checked before a row is read. Names are case-sensitive. Comments run from // to the end of the line.
//
//	query     = source { "|" operator } [ ";" ]
//	source    = Table | union | datatable | "(" source { "|" operator } ")"
//	union     = "union" [ "isfuzzy" "=" ( "true" | "false" ) ] leg { "," leg }
//	leg       = Table | "(" source { "|" operator } ")"
//	datatable = "datatable" "(" name ":" type { "," name ":" type } ")" "[" [ literal { "," literal } ] "]"
//	operator  = "where" expr
//	          | "extend" item { "," item }              item = [ name "=" ] expr
//	          | "project" item { "," item }
//	          | "project-rename" new "=" old { "," new "=" old }
//	          | ( "order" | "sort" ) "by" key { "," key }
//	          | "top" integer "by" key                  key = expr [ "asc" | "desc" ] [ "nulls" ( "first" | "last" ) ]
//	          | ( "take" | "limit" ) integer
//	          | "count"
//	          | "distinct" ( "*" | column { "," column } )
//	          | "summarize" [ agg { "," agg } ] [ "by" item { "," item } ]
//	agg       = [ name "=" ] ( "count()" | "max(" expr ")" | "min(" expr ")" ) | "arg_min(" column "," column { "," column } ")"
//	expr      = or-terms of and-terms of comparisons, by "or" and "and"; "not" is a function
//	comparison= sum [ op sum | [ "!" ] "in" [ "~" ] "(" expr { "," expr } ")" | "between" "(" sum ".." sum ")" ]
//	op        = "==" "!=" "=~" "!~" "<" "<=" ">" ">=" and contains, has, startswith, endswith, each also with "!" in front
//	sum       = unary { ( "+" | "-" ) unary }
//	unary     = [ "-" ] primary { "." name | "[" ( string | integer ) "]" }
//	primary   = literal | column | function "(" [ expr { "," expr } ] ")" | "(" expr ")"
//	literal   = 'text' | "text" | @'verbatim' | @"verbatim" | 1 | 0x1f | 1.5 | 1d 2h 3m 4s 5ms | true | false
//	          | datetime(2026-01-31T12:00:00Z) | datetime(null) | dynamic(JSON)
//	type      = string int long real bool datetime timespan dynamic
//	function  = ago now tostring toint tolong todatetime parse_json todynamic isempty isnotempty strcat tolower
//	            ingestion_time bin not iff coalesce array_index_of
//
// As in Kusto, order and top are descending by default, nulls come first in ascending and last in descending order; a string is
// never null; null == null and null < x are null, null != x is true; "and", "or" and "not" have three values, and where drops a
// null. A union with isfuzzy=true passes over tables that do not exist, but fails when none does. A dynamic value compares by ==
// and != with a string, number or bool, and otherwise has to be cast. contains, has, startswith, endswith, =~ and in~ ignore
// case. has matches whole terms. iff takes a null condition for false; coalesce passes over empty strings as well; array_index_of counts
// from 0, is -1 for what is not in the array, and null for what is no array. arg_min's columns keep their names; of a group in which its
// first column is null throughout it picks any row. take behind order takes the first rows in that order.
//
// A result ends at 500,000 rows, with a PartialError beside the rows, as the service does.
package monitor
