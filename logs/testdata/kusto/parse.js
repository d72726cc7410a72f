// Reads a list of queries from stdin, gives each to Microsoft's Kusto parser, and prints the list of its diagnostics for
// each. The tables are those of tables.json, in a database without other names.
"use strict";
const fs = require("fs");
const path = require("path");

require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

const tables = JSON.parse(fs.readFileSync(path.join(__dirname, "tables.json"), "utf8"));
const symbols = Object.entries(tables).map(([name, types]) => {
  const columns = Object.entries(types).flatMap(([type, names]) => names.map((column) => `${column}:${type}`));
  return Symbols.TableSymbol.From(`(${columns.join(", ")})`).WithName(name);
});
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));

const queries = JSON.parse(fs.readFileSync(0, "utf8"));
console.log(JSON.stringify(queries.map((query) => {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, i) => {
    const d = found.getItem(i);
    return `${d.Severity} ${d.Code} at ${d.Start}: ${d.Message}`;
  });
})));
